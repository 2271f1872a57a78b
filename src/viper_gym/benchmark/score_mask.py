"""Does a score in the picture decide the reward?

The paper's Figure 6: an expert's videos never show the other side ahead, so a model that sees the
score finds every frame behind the first lost point unlikely, however the game is played. The same
play is scored by models that see the score and that do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from viper_gym.data.episodes import Episode
from viper_gym.errors import VideoDataError
from viper_gym.likelihood.reward_model import VideoRewardModel

MANY = 5  # points


@dataclass(frozen=True)
class PointsLost:
    """Levels (nats a frame) of the same kind of play by how many points it has lost so far."""

    task: str
    levels: tuple[float | None, ...]
    """mean with 0, 1, 2, … points lost; None where no frame shows so many"""
    none: float
    """mean before the first"""
    many: float
    """mean with `MANY` and more"""
    example: tuple[float, ...]
    """of the episode that lost most: nats of every frame"""
    example_points: tuple[int, ...]
    """frames of it that show another point lost"""

    @property
    def change(self) -> float:
        return self.many - self.none


def points_lost(model: VideoRewardModel, task: str, episodes: list[Episode]) -> PointsLost:
    """Score episodes whose rewards are known (a point lost is a negative one).

    Raises:
        VideoDataError: no episode loses `MANY` points.
    """
    lost, scores = [], []
    for episode in episodes:
        assert episode.rewards is not None
        # rewards[t] is of the step that led to frame t + 1
        lost.append(np.concatenate([[0], np.cumsum(episode.rewards < 0)])[: len(episode.frames)])
        scores.append(model.log_prob(episode.frames[None], task)[0])
    points, values = np.concatenate(lost), np.concatenate(scores)  # (frames,)
    if points.max() < MANY:
        raise VideoDataError(
            f"no episode of '{task}' loses {MANY} points (most: {points.max()}): nothing to compare"
        )
    levels = [
        float(values[points == n].mean()) if (points == n).any() else None
        for n in range(points.max() + 1)
    ]
    most = int(np.argmax([p[-1] for p in lost]))
    return PointsLost(
        task,
        tuple(levels),
        float(values[points == 0].mean()),
        float(values[points >= MANY].mean()),
        tuple(map(float, scores[most])),
        tuple(int(t) for t in np.flatnonzero(np.diff(lost[most])) + 1),
    )

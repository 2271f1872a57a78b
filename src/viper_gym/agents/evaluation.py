"""Whole episodes by a policy's mean, and what they look like."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv

from viper_gym.agents.actions import ActionCodec
from viper_gym.agents.run_log import Means, at_end
from viper_gym.types import SUCCESS_INFO

STILL = 16  # grey levels: a picture that changes by less anywhere stands still


class Player(Protocol):
    """Plays in some environments; it may remember what it saw in each."""

    def __call__(self, frames: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Newest frames uint8 (n, H, W, 3), and which begin an episode -> actions (n, A)."""
        ...


def play_episodes(
    player: Player, envs: VectorEnv, actions: ActionCodec, seed: int, name: str = "return"
) -> tuple[Means, list[np.ndarray]]:
    """One episode in every environment.

    Args:
        name: of the sum of the environments' rewards among the figures.

    Returns:
        Figures (that sum, what the environments report, "success" where they tell: 1 for an
        episode that was solved at any step; and the share of steps in which the picture stands
        still), and the frames of each episode, uint8 (T, H, W, 3).
    """
    n, means = envs.num_envs, Means()
    frames, _ = envs.reset(seed=seed)
    films: list[list[np.ndarray]] = [[frame.copy()] for frame in frames]
    returns, ended = np.zeros(n), np.zeros(n, bool)
    solved = np.full(n, np.nan)  # until told
    first = np.ones(n, bool)
    while not ended.all():
        acted = player(frames, first)
        frames, rewards, terminated, truncated, infos = envs.step(actions.to_env(acted))
        first = ended.copy()
        returns += np.where(ended, 0.0, rewards)
        for i in np.flatnonzero(~ended):
            films[i].append(frames[i].copy())
        solved = np.fmax(solved, successes(infos, n))
        for i in np.flatnonzero((terminated | truncated) & ~ended):
            means.add(at_end(infos, int(i)) | {name: returns[i]})
            if not np.isnan(solved[i]):
                means.add({"success": solved[i]})
        ended |= terminated | truncated
    episodes = [np.stack(films.pop(0)) for _ in range(n)]  # one at a time is there twice
    means.add({"still": float(np.mean([still_share(e) for e in episodes]))})
    return means, episodes


def successes(infos: dict[str, Any], n: int) -> np.ndarray:
    """1 where a step says that the task is solved, 0 where that it is not, nan: float (n,)."""
    told = np.full(n, np.nan)
    for name in SUCCESS_INFO:
        values = np.asarray(infos.get(name))
        if values.shape != (n,):  # not told, or something else by that name
            continue
        said = np.asarray(infos.get(f"_{name}", np.ones(n)), bool)
        try:
            numbers = values[said].astype(float)
        except (TypeError, ValueError):
            continue
        told[said] = np.where(np.isnan(numbers), np.nan, numbers > 0)
    return told


def still_share(frames: np.ndarray) -> float:
    """Share of the later half's steps in which no pixel changes by more than `STILL`: 0…1.

    Args:
        frames: uint8 (T, H, W, 3).
    """
    late = frames[len(frames) // 2 :]
    if len(late) < 2:
        return 0.0
    # step by step: an episode of signed differences is several times its pictures
    changes = (np.abs(np.subtract(*pair, dtype=np.int16)).max() for pair in pairwise(late))
    return float(np.mean([change <= STILL for change in changes]))

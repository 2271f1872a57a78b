"""Does a picture that stops earn more than an expert who goes on?

The paper's section 4.2: with frames close together the likeliest next frame is the last one
again, and standing still pays. So clips of a moving expert are scored as they are, stopped in
the middle, and shuffled; and his episodes beside the same ones stopped there for good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from viper_gym.benchmark.metrics import share_of_pairs
from viper_gym.data.episodes import Episode
from viper_gym.likelihood.reward_model import VideoRewardModel

CLIP = 16  # frames scored behind the first window
MOST = 60  # clips of a task
MOVES = 4.0  # pixels that change between two frames, at the median of a clip


@dataclass(frozen=True)
class Clips:
    """Clips in which an expert moves, uint8 (n, span + length, H, W, 3), and two fakes of each."""

    real: np.ndarray
    frozen: np.ndarray
    """the first `span` frames, then the last of these again and again"""
    shuffled: np.ndarray
    span: int
    stops: tuple[tuple[int, int], ...]
    """of each clip: its expert and the frame it stops at"""


@dataclass(frozen=True)
class StandStill:
    """What stopping does on one task; levels in nats a frame."""

    task: str
    stride: int
    """environment steps between the frames of a window"""
    clips: int
    expert: float
    """mean of the frames whose frozen counterparts have nothing but that picture in view"""
    frozen: float
    wins: float
    """share of clips in which the expert is above its frozen counterpart there"""
    wins_from_start: float
    """share of pairs of an expert's episode and one that stays at an expert's first picture in
    which the expert's mean is the higher one"""
    wins_to_end: float
    """share of stops in the middle of a movement after which the rest of the episode is less
    likely than what the expert did instead"""
    advantage: tuple[float, ...]
    """expert above frozen, by the number of steps since the picture stopped (1, 2, …)"""


def moving_clips(
    experts: list[Episode], span: int, length: int = CLIP, until_solved: bool = False
) -> Clips | None:
    """Clips of `span + length` frames in which the last `length` move; None if there are none.

    Args:
        until_solved: leave out those that would be stopped where the task is solved already
            (episodes tell for how many steps, "success_steps", which are taken to be their last):
            who moves on then has done what he is paid for.
    """
    rng = np.random.default_rng(0)
    real, frozen, shuffled, stops = [], [], [], []
    for index, episode in enumerate(experts):
        frames = episode.frames
        for start in range(0, len(frames) - span - length + 1, 4 * CLIP):
            clip, stop = frames[start : start + span + length], start + span - 1
            unsolved = len(frames) - 1 - int(episode.meta.get("success_steps", 0))
            if not _moves(clip[span:]) or (until_solved and stop > unsolved):
                continue
            real.append(clip)
            frozen.append(
                np.concatenate([clip[:span], np.repeat(clip[span - 1 : span], length, 0)])
            )
            shuffled.append(clip[rng.permutation(len(clip))])
            stops.append((index, stop))
    if not real:
        return None
    pick = rng.permutation(len(real))[:MOST]

    def picked(items: list[np.ndarray]) -> np.ndarray:
        return np.stack([items[i] for i in pick])

    kept = tuple(stops[i] for i in pick)
    return Clips(picked(real), picked(frozen), picked(shuffled), span, kept)


def shares_against_frozen_and_shuffled(
    model: VideoRewardModel, task: str, experts: list[Episode]
) -> tuple[float, float]:
    """Shares of moving expert clips that score above themselves frozen, and shuffled."""
    clips = moving_clips(experts, _span(model))
    if clips is None:
        return float("nan"), float("nan")
    real, frozen, shuffled = (
        model.log_prob(c, task) for c in (clips.real, clips.frozen, clips.shuffled)
    )
    tail = (real - frozen)[:, clips.span :].mean(1)
    return float((tail > 0).mean()), float((real.mean(1) > shuffled.mean(1)).mean())


def stand_still(model: VideoRewardModel, task: str, experts: list[Episode]) -> StandStill | None:
    """What stopping does, step by step; None where no clip moves for long enough.

    Experts that failed ("success" of their episodes) are left out: a stop may well be better.
    """
    experts = [e for e in experts if e.meta.get("success", True)]
    span = _span(model)
    clips = moving_clips(experts, span, span + CLIP // 2, until_solved=True)
    if clips is None:
        return None
    real, frozen = (model.log_prob(c, task)[:, span:] for c in (clips.real, clips.frozen))
    at_rest = slice(span - 1, None)  # every frame of the window is the same picture by now
    means = real[:, at_rest].mean(1), frozen[:, at_rest].mean(1)
    whole = [model.log_prob(e.frames[None], task)[0] for e in experts]
    first = np.stack([np.repeat(e.frames[:1], span + CLIP // 2, 0) for e in experts])
    stays = [
        _to_end(values, len(e.frames)).mean()
        for values, e in zip(model.log_prob(first, task), experts, strict=True)
    ]
    goes_on = np.array([values.mean() for values in whole])
    to_end = [
        whole[i][t + 1 :].mean() > _to_end(values, len(whole[i]) - t - 1).mean()
        for values, (i, t) in zip(frozen, clips.stops, strict=True)
    ]
    return StandStill(
        task,
        model.config.frame_stride,
        len(real),
        float(means[0].mean()),
        float(means[1].mean()),
        float((means[0] > means[1]).mean()),
        share_of_pairs(goes_on, np.array(stays)),
        float(np.mean(to_end)),
        tuple(float(v) for v in (real - frozen).mean(0)),
    )


def _to_end(values: np.ndarray, length: int) -> np.ndarray:
    """Log-probabilities of a picture that stopped, (length,), of the first of them: once nothing
    else is in the window they repeat."""
    rest = np.full(max(0, length - len(values)), values[-CLIP // 2 :].mean())
    return np.concatenate([values, rest])[:length]


def _span(model: VideoRewardModel) -> int:
    return model.config.video_model.sequence_length * model.config.frame_stride


def _moves(clip: np.ndarray) -> bool:
    delta = np.abs(np.diff(clip.astype(np.int16), axis=0)).max(-1)  # (T-1, H, W)
    changed = (delta > 16).sum((1, 2))  # pixels a frame
    return bool(np.median(changed) >= MOVES)

"""Sampling frames and strided windows; windows never cross episodes.

A batch is a function of (seed, step) alone, so a resumed run sees exactly the batches the
unbroken run would have seen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from viper_gym.data.episodes import Episode

TRIES = 20  # places looked at for a window in which something moves
T = TypeVar("T")  # an episode, or its codes
FAR = 4  # windows before and behind, from which `WindowSampler.tampered` takes frames


@dataclass(frozen=True)
class Split(Generic[T]):
    """Episodes by task, held-out ones apart."""

    train: dict[str, list[T]]
    held_out: dict[str, list[T]]


def split_episodes(episodes: dict[str, list[T]], held_out: float = 0.1) -> Split[T]:
    """Hold out a share of each task's episodes, at equal distances (at least one where there are
    two; where there is one, it is in both).

    Not the last ones: videos come folder by folder, and the last folder may be the only one of
    its kind (of play `random` to `zero`, those who do nothing).
    """
    train, other = {}, {}
    for task, items in episodes.items():
        n = max(1, round(len(items) * held_out)) if len(items) > 1 else 0
        chosen = {int((i + 0.5) * len(items) / n) for i in range(n)}
        train[task] = [item for i, item in enumerate(items) if i not in chosen]
        other[task] = [items[i] for i in sorted(chosen)] or items
    return Split(train, other)


class FrameSampler:
    """Random frames; a task is drawn in proportion to 1 / sqrt(its share of foreground pixels).

    With equally many frames a task, the one whose picture moves most (a running cheetah
    before a moving floor) takes nearly the whole codebook.
    """

    def __init__(self, episodes: dict[str, list[Episode]], seed: int = 0):
        self._pools = {task: _Pool([e.frames for e in es]) for task, es in episodes.items()}
        self.tasks = list(self._pools)
        self._seed = seed
        self.background = {task: _background(pool, seed) for task, pool in self._pools.items()}
        moving = np.array([_foreground(self._pools[t], self.background[t]) for t in self.tasks])
        self.share = moving**-0.5 / (moving**-0.5).sum()
        """of a batch, a task"""

    def batch(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """uint8 frames (B, H, W, 3) and their task numbers (B,)."""
        rng = np.random.default_rng((self._seed, step))
        tasks = rng.choice(len(self.tasks), size, p=self.share)
        frames = []
        for number in tasks:
            pool = self._pools[self.tasks[number]]
            frames.append(pool[int(rng.integers(len(pool)))])
        return np.stack(frames), tasks


class _Pool:
    """The frames of several episodes, numbered one behind the other, where they are."""

    def __init__(self, episodes: list[np.ndarray]):
        self._episodes = episodes
        self._ends = list(accumulate(len(frames) for frames in episodes))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> np.ndarray:
        episode = bisect_right(self._ends, number)
        return self._episodes[episode][number - self._ends[episode]]  # from its end

    def some(self, numbers: Iterable[int]) -> np.ndarray:
        return np.stack([self[number] for number in numbers])


def _background(pool: _Pool, seed: int) -> np.ndarray:
    """Per-pixel median over some frames: what does not move. uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    pick = rng.choice(len(pool), min(len(pool), 300), replace=False)
    return np.median(pool.some(pick), axis=0).astype(np.uint8)


def _foreground(pool: _Pool, background: np.ndarray) -> float:
    """Mean share of pixels away from the background by more than 15 grey levels, at least 0.1 %."""
    some = pool.some(range(0, len(pool), max(1, len(pool) // 300))).astype(np.int16)
    return max(1e-3, float((np.abs(some - background).max(-1) > 15).mean()))


class Windows(NamedTuple):
    """A batch of windows."""

    codes: np.ndarray  # int64 (B, L, h, w)
    tasks: np.ndarray  # int (B,)
    bare: np.ndarray
    """bool (B, h, w): cells of which the window's episode somewhere shows the empty picture's code,
    so that what else they show has moved there or away"""
    counted: np.ndarray
    """float32 (B, L): 0 for frames that only repeat the first because the episode is yet to begin
    (nobody shows how long to wait), 1 for the others"""


class WindowSampler:
    """Strided windows of codes x_t, x_{t+s}, …, every task equally often.

    Args:
        pictures: the tasks' empty pictures (`empty_codes`), (tasks, h, w).
        waiting: share of the windows that hold an episode's first picture before it begins, so that
            a model learns what experts do after doing nothing at all.
        skipped: by task, how many frames at the beginning of each episode no window is taken from
            (`skip_beginnings`); none where it is left out.

    Raises:
        ValueError: what is left of an episode is shorter than a window.
    """

    def __init__(
        self,
        codes: dict[str, list[np.ndarray]],  # task -> episodes of (T, h, w)
        sequence_length: int,
        frame_stride: int,
        pictures: np.ndarray,
        seed: int = 0,
        waiting: float = 0.0,
        skipped: dict[str, list[int]] | None = None,
    ):
        self._codes, self._waiting = codes, waiting
        self._bare = {
            task: [(c == empty).any(0) for c in items]
            for (task, items), empty in zip(codes.items(), pictures, strict=True)
        }
        self.tasks = list(codes)
        self._length, self._stride, self._seed = sequence_length, frame_stride, seed
        self._span = (sequence_length - 1) * frame_stride + 1
        self._skipped = {
            task: (skipped or {}).get(task, [0] * len(items)) for task, items in codes.items()
        }
        starts = {
            task: [
                len(c) - begin - self._span + 1
                for c, begin in zip(items, self._skipped[task], strict=True)
            ]
            for task, items in codes.items()
        }
        if min(min(numbers) for numbers in starts.values()) < 1:
            raise ValueError(f"an episode has fewer than {self._span} frames (a window)")
        # each window equally likely: long episodes are drawn more often
        self._starts = {task: np.cumsum(numbers) for task, numbers in starts.items()}

    def batch(self, step: int, size: int) -> Windows:
        """The batch of a step; the same whenever it is asked for."""
        rng = np.random.default_rng((self._seed, step))
        tasks = (np.arange(size) + step) % len(self.tasks)
        windows, bare = [], []
        frames = np.arange(self._length)
        waits = np.zeros(size, np.int64)
        if self._waiting and self._length > 2:
            held = rng.integers(1, self._length - 1, size)
            waits = np.where(rng.random(size) < self._waiting, held, 0)
        for number, wait in zip(tasks, waits, strict=True):
            task = self.tasks[number]
            episode, start = self._place(task, rng)
            first = self._skipped[task][episode] if wait else start
            places = self._stride * np.maximum(frames - wait, 0) + first
            windows.append(self._codes[task][episode][places])
            bare.append(self._bare[task][episode])
        counted = (frames == 0) | (frames > waits[:, None])
        stacked = np.stack(windows).astype(np.int64)
        return Windows(stacked, tasks, np.stack(bare), counted.astype(np.float32))

    def tampered(self, step: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Codes (B, L, h, w) of windows that nobody plays, and their tasks (B,).

        Half of them hold one frame still, half have frames of about the same time in any order.
        They are taken where something moves: an expert who rests is a window that is played.
        """
        rng = np.random.default_rng((self._seed, step))
        tasks = (np.arange(size) + step) % len(self.tasks)
        windows = []
        for number in tasks:
            task = self.tasks[number]
            for _ in range(TRIES):
                episode, start = self._place(task, rng)
                codes = self._codes[task][episode]
                played = codes[start : start + self._span : self._stride]
                if (played != played[0]).any():
                    break
            low = max(start - FAR * self._span, self._skipped[task][episode])
            high = min(start + FAR * self._span, len(codes) - 1)
            places = rng.integers(low, high + 1, self._length)
            still = rng.random() < 0.5
            windows.append(codes[np.full_like(places, start) if still else places])
        return np.stack(windows).astype(np.int64), tasks

    def _place(self, task: str, rng: np.random.Generator) -> tuple[int, int]:
        """An episode of a task and the first frame of a window in it."""
        ends = self._starts[task]
        pick = int(rng.integers(ends[-1]))
        episode = int(np.searchsorted(ends, pick, side="right"))
        start = pick - (int(ends[episode - 1]) if episode else 0)
        return episode, self._skipped[task][episode] + start


def hold_end(codes: dict[str, list[np.ndarray]], frames: int) -> None:
    """Let the last frames of every episode (T, h, w) show its last picture, in place.

    Raises:
        ValueError: there is an episode that would show nothing else.
    """
    shortest = min(len(episode) for episodes in codes.values() for episode in episodes)
    if not 0 <= frames < shortest:
        raise ValueError(
            f"expected 0 to {shortest - 1} frames to hold still (the shortest episode has "
            f"{shortest}), got {frames}"
        )
    for episodes in codes.values():
        for episode in episodes:
            episode[len(episode) - frames :] = episode[-1]


def skip_beginnings(episodes: list[np.ndarray], last_frames: int) -> list[int]:
    """How many frames come before the last ones of each episode (0 `last_frames`: none do)."""
    return [max(0, len(episode) - last_frames) if last_frames else 0 for episode in episodes]


def beginnings(episodes: list[np.ndarray], last_frames: int, least: int) -> list[np.ndarray]:
    """What comes before the last frames, of the episodes that have at least so much of it."""
    ends = skip_beginnings(episodes, last_frames)
    return [episode[:end] for episode, end in zip(episodes, ends, strict=True) if end >= least]


def with_play(
    experts: Split[np.ndarray], play: Split[np.ndarray], last_frames: int, least: int
) -> Split[np.ndarray]:
    """Experts' tasks and behind them their play, to which what experts leave behind is added.

    An expert's video that is held out is held out of play, too.

    Args:
        play: of the same tasks in the same order, under names of their own.
        last_frames, least: see `beginnings`.
    """
    both = []
    for skilled, unskilled in ((experts.train, play.train), (experts.held_out, play.held_out)):
        added = (beginnings(videos, last_frames, least) for videos in skilled.values())
        names = zip(added, unskilled.items(), strict=True)
        both.append(skilled | {name: left + videos for left, (name, videos) in names})
    return Split(*both)


def empty_codes(codes: dict[str, list[np.ndarray]]) -> np.ndarray:
    """The commonest code of every cell: the picture with nothing of the agent in view.

    Args:
        codes: episodes of (T, h, w) a task.

    Returns:
        int64 (tasks, h, w), in the order of `codes`.
    """
    pictures = []
    for episodes in codes.values():
        frames = np.concatenate(episodes)
        cells = frames.reshape(len(frames), -1).T.astype(np.int64)
        commonest = [int(np.bincount(cell).argmax()) for cell in cells]
        pictures.append(np.reshape(commonest, frames.shape[1:]))
    return np.stack(pictures)

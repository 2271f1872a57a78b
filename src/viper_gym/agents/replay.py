"""Replay that stores every frame once: uint8, on disk or in memory, stacks built at sampling."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from viper_gym.errors import ReplayError


@dataclass(frozen=True)
class ReplayConfig:
    """How much is remembered."""

    buffer_size: int = 100_000
    """steps of all environments together; a frame of 64x64 takes 12 kB"""


class Batch(NamedTuple):
    """Transitions; frames are stacked over channels, the newest last."""

    observations: np.ndarray  # uint8 (B, H, W, 3k)
    actions: np.ndarray  # float32 (B, A)
    rewards: np.ndarray  # float32 (B,)
    discounts: np.ndarray  # float32 (B,), 0 where the episode was terminated
    next_observations: np.ndarray  # uint8 (B, H, W, 3k)


class SequenceBatch(NamedTuple):
    """Stretches of consecutive steps; a step holds a frame and what led to it."""

    frames: np.ndarray  # uint8 (B, T, H, W, 3)
    actions: np.ndarray  # float32 (B, T, A), 0 where an episode begins
    rewards: np.ndarray  # float32 (B, T), 0 where an episode begins
    terminal: np.ndarray  # bool (B, T), the frame ended its episode for good
    first: np.ndarray  # bool (B, T), the frame begins an episode


class FrameReplay:
    """A ring of steps for each environment.

    A slot holds a frame, the action that was taken there, and the reward and termination that
    followed. Stacks repeat the first frame of an episode; the last frame of one, where no action
    counts, is never sampled as an observation.

    With a folder the arrays are files: the operating system keeps what fits in memory, and a
    killed run finds them again. Every slot knows its number in the stream, so that slots which
    were overwritten after the last `save` are told from those that it counted.

    Args:
        config: size.
        num_envs: n.
        frame_shape: (H, W, 3).
        action_size: A.
        folder: where the arrays are kept; None keeps them in memory.
        labels_later: rewards are not known when steps are added; `set_rewards` gives them, and
            nothing is sampled before.

    Raises:
        ReplayError: the folder cannot be written, is full, or holds another shape.
    """

    def __init__(
        self,
        config: ReplayConfig,
        num_envs: int,
        frame_shape: tuple[int, int, int],
        action_size: int,
        folder: Path | None = None,
        labels_later: bool = False,
    ):
        self.config, self.num_envs, self._labels_later = config, num_envs, labels_later
        self.slots = max(config.buffer_size // num_envs, 2)
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            "frames": (frame_shape, np.uint8),
            "actions": ((action_size,), np.float32),
            "rewards": ((), np.float32),
            "terminated": ((), np.bool_),
            "first": ((), np.bool_),
            "numbers": ((), np.int64),
        }
        self._folder = folder
        self._description = json.dumps(
            {k: [self.slots, num_envs, *s, np.dtype(d).name] for k, (s, d) in shapes.items()}
        )
        self._head = 0  # frames written so far, of each environment
        self._known = np.zeros(num_envs, np.int64)  # steps before this number have their rewards
        self._began = np.zeros(num_envs, np.int64)  # number of the newest episode's first frame
        # what `save` wrote was found (refused before anything is touched)
        self.restored = folder is not None and self._restore()
        self._arrays = {
            name: _array(folder, name, (self.slots, num_envs, *shape), dtype)
            for name, (shape, dtype) in shapes.items()
        }
        if not self.restored:
            self._arrays["numbers"][:] = -1
        self._lost = self._forget_lost()

    @staticmethod
    def bytes_needed(config: ReplayConfig, frame_shape: tuple[int, int, int]) -> int:
        """What a full buffer takes, actions aside."""
        return config.buffer_size * (int(np.prod(frame_shape)) + 16)

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return int(self._valid().sum())

    @property
    def steps_known(self) -> int:
        """Steps of all environments, so far, whose rewards are known; a resumed replay does not
        count those that were written over behind its last `save`."""
        return int(self._known.sum()) - self._lost

    def _forget_lost(self) -> int:
        """How many of the steps that `save` counted are not to be counted, since newer ones were
        written over its ring? Those without rewards go as well: who resumes begins new episodes,
        and nobody will label these."""
        stream = np.arange(self._low(), self._head)
        numbers, lost = self._arrays["numbers"], 0
        for env, known in enumerate(self._known):
            numbers[stream[stream > known] % self.slots, env] = -1
            labelled = stream[stream < known]
            there = numbers[labelled % self.slots, env] == labelled
            lost += 0 if there.all() else int(known - there.sum())
        return lost

    def add(
        self,
        frames: np.ndarray,
        first: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        terminated: np.ndarray,
    ) -> None:
        """Remember one frame of every environment, and what was done there.

        Args:
            frames: uint8 (n, H, W, 3).
            first: bool (n,), the frame begins an episode.
            actions: float32 (n, A), taken at the frame.
            rewards: float (n,), that followed.
            terminated: bool (n,), the step ended the episode for good.

        The last frame of an episode is added like any other (what follows it is not looked at),
        then the first frame of the next.
        """
        slot = self._head % self.slots
        values = (frames, actions, rewards, terminated, first, self._head)
        names = ("frames", "actions", "rewards", "terminated", "first", "numbers")
        for name, value in zip(names, values, strict=True):
            self._arrays[name][slot] = value
        self._began[first] = self._head
        self._head += 1
        if not self._labels_later:
            self._known[:] = self._head

    def newest_episode(self, env: int) -> np.ndarray:
        """Frames of the episode that an environment added to last: uint8 (T, H, W, 3).

        Raises:
            ReplayError: its first frames are overwritten already.
        """
        if self._began[env] < self._low():
            raise ReplayError(
                f"an episode of more than {self.slots} steps does not fit in the replay: raise "
                "buffer_size"
            )
        return self._arrays["frames"][np.arange(self._began[env], self._head) % self.slots, env]

    def set_rewards(self, env: int, rewards: np.ndarray) -> None:
        """Rewards float (T - 1,) of the steps of `newest_episode`."""
        start = int(self._began[env])
        self._arrays["rewards"][np.arange(start, start + len(rewards)) % self.slots, env] = rewards
        self._known[env] = start + len(rewards)

    def sample(self, size: int, frame_stack: int, rng: np.random.Generator) -> Batch:
        """Uniform transitions; observations are the newest `frame_stack` frames.

        Raises:
            ReplayError: nothing can be sampled yet.
        """
        number, env = self._draw(size, rng, self._is_transition)
        a, slot = self._arrays, number % self.slots
        return Batch(
            self._stacks(number, env, frame_stack),
            a["actions"][slot, env],
            a["rewards"][slot, env],
            1.0 - a["terminated"][slot, env].astype(np.float32),
            self._stacks(number + 1, env, frame_stack),
        )

    def sample_sequences(self, size: int, length: int, rng: np.random.Generator) -> SequenceBatch:
        """Uniform stretches of `length` steps of one environment; they may cross episodes.

        Raises:
            ReplayError: no stretch of this length has been added yet.
        """

        def is_stretch(number: np.ndarray, env: np.ndarray) -> np.ndarray:
            # whole and unbroken, with one step before, whose action and reward lead into it
            steps, last = number[:, None] + np.arange(length + 1), number + length
            there = (self._arrays["numbers"][steps % self.slots, env[:, None]] == steps).all(1)
            return there & (last < self._head) & (last <= self._known[env]) & (length < self.slots)

        number, env = self._draw(size, rng, is_stretch)
        steps = number[:, None] + np.arange(1, length + 1)  # (B, T)
        a, here, before = self._arrays, steps % self.slots, (steps - 1) % self.slots
        rows = env[:, None]
        first = a["first"][here, rows]
        return SequenceBatch(
            a["frames"][here, rows],
            a["actions"][before, rows] * ~first[..., None],
            a["rewards"][before, rows] * ~first,
            a["terminated"][before, rows] & ~first,
            first,
        )

    def _draw(
        self,
        size: int,
        rng: np.random.Generator,
        accept: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Uniform (number, environment) pairs that `accept` takes: int (2, size)."""
        found: list[np.ndarray] = []
        for _ in range(100):  # nearly every slot is valid, so rejection is quick
            number = rng.integers(self._low(), max(self._low() + 1, self._head), 2 * size)
            env = rng.integers(0, self.num_envs, 2 * size)
            ok = accept(number, env)
            found.append(np.stack([number[ok], env[ok]]))
            if sum(f.shape[1] for f in found) >= size:
                return np.concatenate(found, axis=1)[:, :size]
        if self._head > self.slots:
            raise ReplayError(
                f"the replay keeps {self.slots} steps an environment, fewer than what is sampled "
                "at once needs: raise buffer_size"
            )
        raise ReplayError(
            f"the replay holds {self._head} steps an environment, too few to sample from: add more"
        )

    def _low(self) -> int:
        """Number of the oldest step."""
        return max(0, self._head - self.slots)

    def _is_transition(self, number: np.ndarray, env: np.ndarray) -> np.ndarray:
        """The frame is there, and so is the next one of its episode."""
        a, here, after = self._arrays, number % self.slots, (number + 1) % self.slots
        there = (a["numbers"][here, env] == number) & (a["numbers"][after, env] == number + 1)
        known = (number < self._known[env]) & (number + 1 < self._head)
        return there & ~a["first"][after, env] & known

    def _valid(self) -> np.ndarray:
        numbers = np.arange(self._low(), self._head)[:, None]
        return self._is_transition(numbers, np.arange(self.num_envs)[None])

    def _stacks(self, number: np.ndarray, env: np.ndarray, k: int) -> np.ndarray:
        """The newest frames up to `number`: uint8 (B, H, W, 3k)."""
        a = self._arrays
        chosen = [number]
        for _ in range(k - 1):  # one step back, unless that would leave the episode or the ring
            newest, before = chosen[0], chosen[0] - 1
            kept = a["numbers"][before % self.slots, env] == before
            back = kept & ~a["first"][newest % self.slots, env]
            chosen.insert(0, np.where(back, before, newest))
        pixels = a["frames"].view(f"V{a['frames'].shape[-1]}")[..., 0]  # (slots, n, H, W)
        # whole pixels are copied, in half the time that three bytes each would take
        stacks = np.empty((len(number), *pixels.shape[2:], k), pixels.dtype)  # (B, H, W, k)
        for i, n in enumerate(chosen):
            stacks[..., i] = pixels[n % self.slots, env]
        return stacks.view(np.uint8)

    def save(self) -> None:
        """Write to disk what `__init__` will find; a replay without a folder has nothing to."""
        if self._folder is None:
            return
        for array in self._arrays.values():
            assert isinstance(array, np.memmap)
            array.flush()
        temporary = self._folder / "replay.tmp"
        temporary.write_text(
            json.dumps(
                {
                    "head": self._head,
                    "known": self._known.tolist(),
                    "began": self._began.tolist(),
                    "arrays": self._description,
                }
            )
        )
        os.replace(temporary, self._folder / "replay.json")

    def _restore(self) -> bool:
        assert self._folder is not None
        path = self._folder / "replay.json"
        if not path.exists():
            return False
        try:
            saved = json.loads(path.read_text())
            shapes, head = saved["arrays"], int(saved["head"])
            known, began = np.array(saved["known"], int), np.array(saved["began"], int)
        except (ValueError, KeyError, TypeError) as error:
            raise ReplayError(
                f"{path} is damaged or foreign: {error!r}. Train anew without resume, or in "
                "another folder"
            ) from error
        of_envs = known.shape == began.shape == self._known.shape
        if shapes != self._description or not of_envs:
            raise ReplayError(
                f"{self._folder} holds a replay of another shape ({shapes}), expected "
                f"{self._description}: resume with the settings it was made with"
            )
        self._head = head
        self._known[:], self._began[:] = known, began
        return True


def _reserve(file: IO[bytes], size: int) -> None:
    if hasattr(os, "posix_fallocate"):  # Linux
        os.posix_fallocate(file.fileno(), 0, size)
        return
    block = bytes(1 << 20)
    for start in range(0, size, len(block)):
        file.write(block[: size - start])


def _array(folder: Path | None, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros in memory, or a file of that size, which is opened if it is there."""
    if folder is None:
        return np.zeros(shape, dtype)
    path = folder / f"{name}.bin"
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            if file.tell() != size:
                # reserved now: a disk that fills up later would kill the process at a write
                os.ftruncate(file.fileno(), 0)
                _reserve(file, size)
    except OSError as error:
        raise ReplayError(
            f"cannot keep {size / 1e9:.1f} GB of replay in {path}: {error}. Choose another folder, "
            "a smaller buffer_size, or make room (an earlier run's is in previous/)"
        ) from error
    return np.memmap(path, dtype, "r+", shape=shape)

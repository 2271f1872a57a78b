"""One recorded episode, stored losslessly, written atomically."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from viper_gym.errors import VideoDataError


@dataclass
class Episode:
    """Frames and, where known, task rewards.

    `frames[t]` is what the agent saw after t environment steps (frame 0 is the reset
    frame); `rewards[t]` belongs to the step that returned `frames[t + 1]`.
    """

    frames: np.ndarray  # uint8 (T, H, W, 3)
    rewards: np.ndarray | None = None  # float32 (T - 1,)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def task_return(self) -> float:
        """Sum of the task rewards; NaN where they are unknown."""
        return float("nan") if self.rewards is None else float(self.rewards.sum())

    def save(self, path: Path) -> None:
        """Write a compressed npz; a reader never sees half a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        arrays: dict[str, np.ndarray] = {
            "frames": self.frames,
            "meta": np.array(json.dumps(self.meta)),
        }
        if self.rewards is not None:
            arrays["rewards"] = self.rewards.astype(np.float32)
        try:
            with temporary.open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Episode:
        """Read what `save` wrote, or any npz with an array named `frames`.

        Raises:
            VideoDataError: not an npz, no frames in it, truncated, or rewards that do not fit.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                if "frames" not in data:
                    raise VideoDataError(
                        f"{path}: expected an array 'frames', found {sorted(data)}"
                    )
                meta = json.loads(str(data["meta"])) if "meta" in data else {}
                rewards = data["rewards"] if "rewards" in data else None
                episode = cls(data["frames"], rewards, meta)
                steps = len(episode.frames) - 1
                if steps < 0:
                    raise VideoDataError(f"{path}: no frame in it")
                if not isinstance(meta, dict):
                    raise VideoDataError(f"{path}: expected 'meta' to be a JSON object, got {meta}")
        except (VideoDataError, MemoryError):  # the latter is not the file's fault
            raise
        except Exception as error:  # of damaged files also zlib's, tokenize's, …
            raise VideoDataError(f"{path}: not a readable episode file ({error})") from error
        if rewards is not None and rewards.shape != (steps,):
            raise VideoDataError(
                f"{path}: expected {steps} rewards for {steps + 1} frames (one a step; the first "
                f"frame has none), got shape {rewards.shape}"
            )
        return episode

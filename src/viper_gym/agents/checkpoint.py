"""A run's checkpoint: written whole or not at all, never of a run that has diverged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from viper_gym.agents.replay import FrameReplay
from viper_gym.errors import TrainingError

NAME = "state.pt"


class Checkpoint:
    """`state.pt` in the folder of a run.

    Args:
        folder: of the run.
        settings: what a resumed run must share: JSON, compared with those of the checkpoint.
    """

    def __init__(self, folder: Path, settings: str):
        self.path, self._folder, self._settings = folder / NAME, folder, settings

    def save(self, state: dict[str, Any], replay: FrameReplay) -> None:
        """Write both; the last good one stays until this is whole.

        Raises:
            TrainingError: nothing can be written, or the state holds numbers that are not finite.
        """
        # of the agent alone: a bonus of the user's own may hold what it likes
        bad = sorted(_not_finite(state["agent"]))
        if bad:  # a loss may have been finite, its gradient not
            raise self.diverged(", ".join(bad[:3]), state["step"])
        temporary = self.path.with_suffix(".tmp")
        try:
            torch.save({**state, "settings": self._settings}, temporary)
            replay.save()
            os.replace(temporary, self.path)
        except (OSError, RuntimeError) as error:
            raise self.unwritable(error) from error

    def load(self) -> dict[str, Any] | None:
        """What was saved; None without a checkpoint.

        Raises:
            TrainingError: it is damaged, foreign or of other settings.
        """
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            saved = json.loads(state["settings"])
        except (RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"{self.path} is damaged or foreign: {error!r}. Train anew without resume, or in "
                "another folder. (A bonus of your own has to keep tensors, numbers and lists of "
                "them in its state)"
            ) from error
        now = json.loads(self._settings)
        different = sorted(k for k in saved if saved[k] != now.get(k))
        if different:
            raise TrainingError(
                f"{self.path} was made with other settings: "
                + ", ".join(f"{k}={saved[k]} (now {now.get(k)})" for k in different)
            )
        return state

    def unwritable(self, error: Exception) -> TrainingError:
        kept = "No checkpoint was written yet: make room and run again"
        if self.path.exists():
            kept = "The last checkpoint is intact: make room and run again with resume"
        return TrainingError(f"cannot write to {self._folder}: {error}. {kept}")

    def diverged(self, what: str, step: int) -> TrainingError:
        kept = "No checkpoint was written yet"
        if self.path.exists():
            kept = f"The last checkpoint ({self.path}) is of before"
        return TrainingError(
            f"{what} is not finite at step {step}: training has diverged. {kept}. Train anew with "
            "a lower learning rate, or with rewards in bounds (reward_clip) if they are huge"
        )


def _not_finite(state: Any, name: str = "") -> Iterator[str]:
    """Names of what holds NaN or infinite numbers."""
    if isinstance(state, Tensor):
        if state.is_floating_point() and not bool(torch.isfinite(state).all()):
            yield name
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from _not_finite(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, (list, tuple)):
        for number, value in enumerate(state):
            yield from _not_finite(value, f"{name}.{number}")

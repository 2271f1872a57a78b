"""Named errors: each message says what was expected, what came and what to do."""

from __future__ import annotations

import errno
import math
from typing import Any

UNWRITABLE = frozenset(
    {errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}
)
"""of an `OSError`: the disk is full, the file too large, the quota used up, the folder not ours"""


class ViperGymError(Exception):
    """Base class of every error this package raises on purpose."""


class DependencyNotInstalled(ViperGymError, ImportError):
    """An optional package is missing; the message holds the pip line that installs it."""


class RenderingUnavailable(ViperGymError, RuntimeError):
    """No OpenGL backend could draw a frame; the message names the library to install."""


class SimulatorUnavailable(ViperGymError, RuntimeError):
    """A simulator that no package index brings cannot start; the message lists what is missing."""


class FrameMismatch(ViperGymError, ValueError):
    """Frames of another size, dtype or layout than the video model was trained on."""


class PreprocessingMismatch(ViperGymError, ValueError):
    """The environment's camera, action repeat, … differ from what the bundle records."""


class UnknownTask(ViperGymError, KeyError):
    """The suite or the bundle does not know this task."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class CheckpointError(ViperGymError, ValueError):
    """A bundle is incomplete, truncated, of a foreign format, or does not fit its config."""


class HubUnavailable(CheckpointError):
    """The Hub cannot be reached, or may not be asked, and the cache has no complete copy."""


class VideoDataError(ViperGymError, ValueError):
    """A folder or file of videos is empty, unreadable or too short."""


class NonFiniteLikelihood(ViperGymError, FloatingPointError):
    """The model produced NaN or infinity: its weights are broken."""


class DeviceUnavailable(ViperGymError, ValueError):
    """This machine, or this build of PyTorch, has no such device."""


class TrainingError(ViperGymError, RuntimeError):
    """Training cannot start or go on (unusable folder, mismatched resume, …)."""


class ReplayError(ViperGymError, RuntimeError):
    """A replay cannot be kept (no space, another shape), or holds nothing to sample yet."""


def require_positive(**values: float | None) -> None:
    """Settings that have to be above 0; None is none.

    Raises:
        TrainingError: naming the first that is not.
    """
    for name, value in values.items():
        if value is not None and not value > 0:
            raise TrainingError(f"{name}: expected more than 0, got {value}")


def require_not_negative(**values: float | None) -> None:
    """Settings that have to be 0 or above; None is none.

    Raises:
        TrainingError: naming the first that is not.
    """
    for name, value in values.items():
        if value is not None and not value >= 0:
            raise TrainingError(f"{name}: expected 0 or more, got {value}")


def require_between(low: float, high: float, **values: float) -> None:
    """Settings that have to be from `low` to `high`.

    Raises:
        TrainingError: naming the first that is not.
    """
    for name, value in values.items():
        if not low <= value <= high:
            raise TrainingError(f"{name}: expected {low:g} to {high:g}, got {value}")


def finite(name: str, value: Any) -> float:
    """A number that a user gave, as a float.

    Raises:
        ValueError: it is none, or not finite.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return number

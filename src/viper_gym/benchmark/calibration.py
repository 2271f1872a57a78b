"""Set the zero and the one of a task's reward scale (design section 3.5)."""

from __future__ import annotations

from dataclasses import replace

from viper_gym.benchmark.audit import TaskAudit
from viper_gym.checkpoints.bundle import BundleConfig, Calibration
from viper_gym.errors import CheckpointError


def calibrate(config: BundleConfig, audit: TaskAudit) -> BundleConfig:
    """A config whose scale of the audited task is: best cheap behaviour 0, expert 1.

    Raises:
        CheckpointError: a cheap behaviour is at or above the expert's level; such a reward
            teaches that behaviour, whatever its scale.
    """
    low, high = audit.levels[audit.best_cheap], audit.levels["expert"]
    if low >= high:
        raise CheckpointError(
            f"'{audit.task}': the cheap behaviour '{audit.best_cheap}' scores {low:.2f} nats a "
            f"frame, the expert {high:.2f}; look at the camera, the data and the reconstructions"
        )
    counts = ", ".join(f"{n} {k}" for k, n in audit.episodes.items())
    levels = Calibration(low, high, f"0 = {audit.best_cheap}, 1 = expert; {counts}")
    return replace(config, calibration={**config.calibration, audit.task: levels})

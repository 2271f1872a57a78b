"""Set the zero and the one of a task's reward scale (design section 3.5)."""

from __future__ import annotations

from dataclasses import replace

from viper_gym.benchmark.audit import TaskAudit
from viper_gym.checkpoints.bundle import BundleConfig, Calibration
from viper_gym.errors import CheckpointError

# An empty picture is audited, but sets no zero: the cameras are chosen so that nobody can
# leave the picture (docs/decisions.md), and in some tasks it is likelier than any behaviour.
REACHABLE = ("zero", "small", "constant", "random", "frozen", "settled")


def calibrate(config: BundleConfig, audit: TaskAudit) -> BundleConfig:
    """A config whose scale of the audited task is: best cheap behaviour 0, expert 1.

    Levels are those of the second halves of episodes: what a behaviour pays in the long run;
    of a cheap behaviour the episodes that pay best, because those are what an agent finds.

    Raises:
        CheckpointError: a cheap behaviour is at or above the expert's level; such a reward
            teaches that behaviour, whatever its scale.
    """
    low, cheap = max((audit.best_late[name], name) for name in REACHABLE if name in audit.beats)
    high = audit.late_levels["expert"]
    if low >= high:
        raise CheckpointError(
            f"'{audit.task}': the cheap behaviour '{cheap}' scores {low:.2f} nats a frame, the "
            f"expert {high:.2f}; look at the camera, the data and the reconstructions"
        )
    counts = ", ".join(f"{n} {k}" for k, n in audit.episodes.items())
    levels = Calibration(low, high, f"0 = {cheap}, 1 = expert, late in episodes; {counts}")
    return replace(config, calibration={**config.calibration, audit.task: levels})

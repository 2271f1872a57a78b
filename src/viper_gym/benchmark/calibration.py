"""Set the zero and the one of a task's reward scale (design section 3.5)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from viper_gym.benchmark.audit import TaskAudit
from viper_gym.checkpoints.bundle import BundleConfig, Calibration
from viper_gym.data.episodes import Episode
from viper_gym.errors import CheckpointError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy

# An empty picture is audited, but sets no zero: the cameras are chosen so that nobody can
# leave the picture (docs/decisions.md), and in some tasks it is likelier than any behaviour.
IDLE = "zero"
REACHABLE = ("zero", "small", "constant", "random", "frozen", "settled")


def context_offsets(
    model: VideoRewardModel, task: str, experts: list[Episode]
) -> tuple[float, ...]:
    """What the number of context frames does to the likelihood of an expert's frame, nats a frame.

    The same frames are scored with 0, 1, … frames of context, so that the age of an episode does
    not enter. Entry c is the mean difference from what the model's policy sees once its window has
    been full, where the saw-tooth of `refresh` averages to 0.

    Args:
        experts: those shorter than a window and a frame are passed over.

    Returns:
        As many entries as the policy's window has frames; none in mode "joint", whose values are
        means over the window, and none where every episode is too short.
    """
    config, policy = model.config, model.policy
    length = policy.length(config.video_model.sequence_length)
    first = length * config.frame_stride
    frames = [e.frames for e in experts if len(e.frames) > first]
    if policy.mode == "joint" or not frames:
        return ()
    codes = [model.encode(f, model.task_numbers(task, len(f)))[None] for f in frames]
    means = []
    for window in range(1, length + 1):
        exact = ContextPolicy("exact", window=window)
        scores = [model.log_prob_of_codes(c, task, exact)[0, first:].sum((1, 2)) for c in codes]
        means.append(float(torch.cat(scores).mean()))
    steady = means[policy.kept(config.video_model.sequence_length) :]
    return tuple(round(m - float(np.mean(steady)), 4) for m in means)


def calibrate(
    config: BundleConfig, audit: TaskAudit, by_context: tuple[float, ...] = ()
) -> BundleConfig:
    """A config whose scale of the audited task is: best cheap behaviour 0, expert 1.

    Levels are those of the second halves of episodes: what a behaviour pays in the long run;
    of a cheap behaviour the episodes that pay best, because those are what an agent finds.

    Args:
        by_context: of `context_offsets`.

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
    idle = audit.best_late.get(IDLE, low)
    source = f"0 = {cheap}, 1 = expert, late in episodes; {counts}"
    levels = Calibration(low, high, source, idle, by_context)
    return replace(config, calibration={**config.calibration, audit.task: levels})

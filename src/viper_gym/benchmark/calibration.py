"""Set the zero and the one of a task's reward scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from viper_gym.benchmark.audit import Scored, worth
from viper_gym.benchmark.metrics import spearman
from viper_gym.benchmark.still import STILL
from viper_gym.benchmark.task_audit import AGENT, TaskAudit
from viper_gym.checkpoints.bundle import BundleConfig, Calibration
from viper_gym.data.episodes import Episode
from viper_gym.errors import CheckpointError
from viper_gym.likelihood.joint import joint_value
from viper_gym.likelihood.reward_model import VideoRewardModel, episode_rewards
from viper_gym.likelihood.scaling import LOWEST_FLOOR, RewardScale
from viper_gym.models.context import ContextPolicy

# An empty picture is audited, but sets no zero: the cameras are chosen so that nobody can
# leave the picture (docs/decisions.md), and in some tasks it is likelier than any behaviour.
REACHABLE = ("zero", "small", "constant", "random", AGENT, *STILL)
FLOORS = (0.0, -0.25, LOWEST_FLOOR)
CEILINGS = (1.5, 1.0, 0.5)  # with 0.25 a reacher's failures were paid like its successes
ALIKE = 0.02  # of rank correlation: no difference on a few dozen episodes


@torch.inference_mode()
def context_offsets(
    model: VideoRewardModel, task: str, experts: list[Episode], batch_size: int = 16
) -> tuple[float, ...]:
    """What the number of context frames does to the likelihood of an expert's frame, nats a frame.

    The same frames are scored with 0, 1, … frames of context, so that the age of an episode does
    not enter. Entry c is the mean difference from what the model's policy sees once its window has
    been full, where the saw-tooth of `refresh` averages to 0.

    Args:
        experts: those shorter than two windows are passed over.
        batch_size: windows a forward pass.

    Returns:
        As many entries as the policy's window has frames; none where every episode is too short.
        In mode "joint" they are of windows that hold c frames behind their first.
    """
    sequence, stride = model.config.video_model.sequence_length, model.config.frame_stride
    policy = model.policy_of(task)
    n = policy.length(sequence)
    span = (n - 1) * stride  # steps from the first frame of a window to its last
    sums, frames = torch.zeros(n, dtype=torch.float64), 0
    for episode in experts:
        T = len(episode.frames)
        if T <= 2 * span:
            continue
        codes = model.encode(episode.frames, model.task_numbers(task, T))
        starts = torch.arange(T - span, device=codes.device)
        places = starts[:, None] + stride * torch.arange(n, device=codes.device)  # (windows, n)
        scores = torch.cat(
            [model.log_prob_of_window(codes[part], task) for part in places.split(batch_size)]
        )  # (windows, n), nats a frame; column c has c frames of context
        if policy.mode == "joint":
            held = torch.arange(n, device=scores.device).expand(len(scores), -1)  # (windows, n)
            scores = torch.stack([_joint(scores, c) for c in held.T], 1)
        shared = (places >= span) & (places < T - span)  # frames that every column has
        sums += torch.where(shared, scores, 0).double().sum(0).cpu()
        frames += T - 2 * span
    if not frames:
        return ()
    means = (sums / frames).numpy()
    return tuple(round(float(m), 4) for m in means - means[policy.kept(sequence) :].mean())


def _joint(scores: Tensor, newest: Tensor) -> Tensor:
    """What windows (P, n) of which `newest` (P,) frames behind the first are there pay: (P,)."""
    return joint_value(scores[..., None, None], newest, scores.shape[1])[:, 0, 0]


def calibrate(
    config: BundleConfig,
    audit: TaskAudit,
    by_context: tuple[float, ...] = (),
    policy: ContextPolicy | None = None,
) -> BundleConfig:
    """A config whose scale of the audited task is: best cheap behaviour 0, expert 1.

    Levels are those of the second halves of episodes: what a behaviour pays in the long run;
    of a cheap behaviour the episodes that pay best, because those are what an agent finds.

    Args:
        by_context: of `context_offsets`.
        policy: with which the audit was made; None: the bundle's.

    Raises:
        CheckpointError: a cheap behaviour is at or above the expert's level, or below it by less
            than that level's standard error; such a reward teaches that behaviour, or chance,
            whatever its scale. Or there is no cheap behaviour.
    """
    reachable = [n for n in REACHABLE if n in audit.beats and n not in audit.unreachable]
    if not reachable:
        raise CheckpointError(
            f"'{audit.task}': expected episodes of a cheap behaviour ({', '.join(REACHABLE)}), got "
            f"{', '.join(audit.episodes)}: nothing says what is to pay 0"
        )
    low, cheap = max((audit.best_late[name], name) for name in reachable)
    high = audit.late_levels["expert"]
    if low >= high:
        raise CheckpointError(
            f"'{audit.task}': the cheap behaviour '{cheap}' scores {low:.2f} nats a frame, the "
            f"expert {high:.2f}; look at the camera, the data and the reconstructions"
        )
    if high - low < audit.late_error:
        raise CheckpointError(
            f"'{audit.task}': the expert is {high - low:.2g} nats a frame above the cheap "
            f"behaviour '{cheap}', and its own level is known to {audit.late_error:.2g} only: no "
            "scale can be made of that; look at the camera, the data and the reconstructions"
        )
    counts = ", ".join(f"{n} {k}" for k, n in audit.episodes.items())
    idle = audit.idle_late if np.isfinite(audit.idle_late) else None
    source = f"0 = {cheap}, 1 = expert, late in episodes; {counts}"
    own = None if policy == config.policy else policy
    levels = Calibration(low, high, source, idle, by_context, own)
    return replace(config, calibration={**config.calibration, audit.task: levels})


def with_bounds(config: BundleConfig, task: str, graded: list[Scored]) -> BundleConfig:
    """A config whose `reward_clip="calibrated"` ranks these graded rollouts of a task best."""
    levels, policy = config.calibration[task], config.policy_of(task)
    scale = RewardScale(levels.low, levels.high, offsets=levels.by_context)
    rewards = [episode_rewards(scale, rollout.log_prob, policy, config) for rollout in graded]
    levels = replace(levels, clip=ladder_bounds(rewards, worth(graded)))
    return replace(config, calibration={**config.calibration, task: levels})


def ladder_bounds(rewards: list[np.ndarray], returns: np.ndarray) -> tuple[float, float] | None:
    """Bounds of the scaled reward between which its sums rank graded rollouts best.

    Of bounds that are alike the highest floor and then the highest ceiling. No floor is below
    `LOWEST_FLOOR`, whatever it ranks: agents rarely learned there (docs/decisions.md, "Scale and
    bonus").

    Args:
        rewards: one float (T,) an episode, scaled and not clipped.
        returns: float (episodes,), what each is worth (`audit.worth`).

    Returns:
        (floor, ceiling), or None where the returns are unknown or all the same.
    """
    ranked = {
        (floor, ceiling): spearman(
            np.array([r.clip(floor, ceiling).sum() for r in rewards]), returns
        )
        for floor in FLOORS
        for ceiling in CEILINGS
    }
    best = max((rank for rank in ranked.values() if np.isfinite(rank)), default=None)
    if best is None:
        return None
    return next(bounds for bounds, rank in ranked.items() if rank >= best - ALIKE)

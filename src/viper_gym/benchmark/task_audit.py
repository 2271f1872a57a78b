"""What a reward audit found of one task: its figures, and what they mean in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from viper_gym.benchmark.climb import climb

IDLE = "zero"
AGENT = "agent"  # what agents that learned from the reward did, where they failed at the task
AGENT_PAID = 0.1  # of the expert's reward; more is worth settling on
STOP = "stop"  # an expert for a while, then zero actions
CHEAP = (IDLE, "small", "constant", "random", "frozen", "settled", "empty", AGENT)


@dataclass
class TaskAudit:
    """Figures of one task; shares of pairs are in 0…1, levels in nats a frame."""

    task: str
    levels: dict[str, float] = field(default_factory=dict)
    """behaviour -> mean log-probability"""
    levels_by_age: dict[str, dict[str, float]] = field(default_factory=dict)
    """behaviour -> age band (steps) -> mean log-probability of its episodes' frames of that age"""
    late_levels: dict[str, float] = field(default_factory=dict)
    """behaviour -> mean log-probability of the second half of its episodes"""
    late_error: float = float("nan")
    """standard error of the expert's late level, over its episodes"""
    best_late: dict[str, float] = field(default_factory=dict)
    """cheap behaviour -> 90th percentile of such means: agents find the better instances"""
    idle_late: float = float("nan")
    """highest such mean of an episode of zero actions: the most that doing nothing pays"""
    agent_paid: float = float("nan")
    """`best_late` of agents that failed, as a calibrated reward (1: expert); NaN without them"""
    episodes: dict[str, int] = field(default_factory=dict)
    auroc_random: float = float("nan")
    spearman: float = float("nan")
    spearman_clipped: float = float("nan")
    """rank correlation of the return under `reward_clip="calibrated"` with `worth`"""
    spearman_within: float = float("nan")
    spearman_success: float = float("nan")
    """rank correlation with the number of steps at which the task was solved; NaN where the
    environment does not tell"""
    paid_by_share: dict[str, float] = field(default_factory=dict)
    """share of the expert's task reward -> mean reward (`reward_clip="calibrated"`) of the steps of
    all but experts that earn it (`climb.SHARES`)"""
    beats: dict[str, float] = field(default_factory=dict)
    """behaviour -> share of pairs of episodes the expert wins; NaN where all of it did the task"""
    beats_by_age: dict[str, float] = field(default_factory=dict)
    """age band -> the lowest such share over the cheap behaviours"""
    worst_by_age: dict[str, str] = field(default_factory=dict)
    """age band -> the cheap behaviour with that share"""
    beats_cheap: float = float("nan")
    """the lowest share over behaviours, whole episodes and bands"""
    beats_frozen: float = float("nan")
    beats_shuffled: float = float("nan")
    best_cheap: str = ""
    gap: float = float("nan")
    """expert above the best cheap behaviour, in deviations of the expert's episode means"""
    successful_cheap: dict[str, int] = field(default_factory=dict)
    """cheap episodes left out because they did the task"""
    failed_experts: int = 0
    """expert episodes left out because they did not do the task"""
    unreachable: tuple[str, ...] = ()
    """behaviours that no agent can show here: they stand in `beats`, and are not judged by"""
    networks: dict[str, float | None] = field(default_factory=dict)
    """how well they fit the experts' videos (`network_figures`); empty where it was not measured"""
    verdict: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def verdict(audit: TaskAudit) -> list[str]:
    """What the figures mean, worst news first."""
    lines = []
    if audit.beats_cheap < 0.95:
        cheap = set(CHEAP) - set(audit.unreachable)  # "stop" did the task for a while
        whole = [(s, name) for name, s in audit.beats.items() if name in cheap]
        aged = [
            (share, f"{audit.worst_by_age[band]} at steps {band}")
            for band, share in audit.beats_by_age.items()
        ]
        worst = min(whole + aged)
        lines.append(
            f"UNSAFE: the expert wins only {audit.beats_cheap:.0%} of the pairs against a cheap "
            f"behaviour ({worst[1]}); an agent may find it"
        )
    if audit.gap < 3:
        lines.append(f"WEAK: the gap to '{audit.best_cheap}' is {audit.gap:.1f} deviations (< 3)")
    if audit.agent_paid > AGENT_PAID:
        lines.append(
            f"WEAK: agents that failed are paid {audit.agent_paid:.0%} of the expert's reward; "
            "with --calibrate --agents they set the zero"
        )
    if audit.spearman < 0.9:
        lines.append(f"WEAK: rank correlation with the task return is {audit.spearman:.2f} (< 0.9)")
    if audit.beats_frozen < 0.95 and "frozen" not in audit.unreachable:
        lines.append(f"WEAK: a frozen picture wins {1 - audit.beats_frozen:.0%} of moving clips")
    if audit.beats_shuffled < 0.95:
        lines.append(f"WEAK: shuffled frames win {1 - audit.beats_shuffled:.0%} of moving clips")
    going_on = audit.beats.get(STOP, float("nan"))
    if going_on < 0.95:
        lines.append(
            "WEAK: an expert that stops half-way is paid as much as one that goes on, or more, in "
            f"{1 - going_on:.0%} of the pairs"
        )
    unknown = {
        "no cheap behaviour to hold the expert against": audit.beats_cheap,
        "the gap in deviations (two experts or more)": audit.gap,
        "no graded episodes whose rewards differ: whether returns are ranked": audit.spearman,
    }
    lines += [f"NOT MEASURED: {what}" for what, figure in unknown.items() if np.isnan(figure)]
    lines += [
        f"NOT MEASURED: '{name}': each of its {count} episodes did the task, or nearly"
        for name, count in audit.successful_cheap.items()
        if count and count == audit.episodes.get(name) and name != STOP
    ]
    lines = lines or [
        "OK: no cheap behaviour comes near the expert, and graded rollouts are ranked"
    ]
    # what follows takes nothing from an OK: where an expert rests there is no motion to be seen,
    # and where what was done stays done, stopping is no failure
    for what, figure in (
        ("frozen pictures", audit.beats_frozen),
        ("shuffled frames", audit.beats_shuffled),
    ):
        if np.isnan(figure):
            lines.append(
                f"NOT MEASURED: no clip (of a window and more) in which an expert moves: {what}"
            )
    if audit.episodes.get(STOP) and np.isnan(going_on):
        lines.append(
            "NOT MEASURED: no expert that stopped half-way failed at the task: whether going on is "
            "paid more"
        )
    return lines


def summary(audit: TaskAudit) -> dict[str, Any]:
    """The documented keys of `evaluate --json` for one task."""
    return {
        "auroc_random": audit.auroc_random,
        "spearman": audit.spearman,
        "spearman_clipped": audit.spearman_clipped,
        "spearman_within": audit.spearman_within,
        "spearman_success": audit.spearman_success,
        "paid_by_share": audit.paid_by_share,
        "climb": climb(audit.paid_by_share),
        "beats_frozen": audit.beats_frozen,
        "beats_shuffled": audit.beats_shuffled,
        "beats_cheap": audit.beats_cheap,
        "best_cheap": audit.best_cheap,
        "gap_sd": audit.gap,
        "beats": audit.beats,
        "beats_by_age": audit.beats_by_age,
        "worst_by_age": audit.worst_by_age,
        "levels": audit.levels,
        "levels_by_age": audit.levels_by_age,
        "best_late": audit.best_late,
        "idle_late": audit.idle_late,
        "agent_paid": audit.agent_paid,
        "episodes": audit.episodes,
        "successful_cheap": audit.successful_cheap,
        "failed_experts": audit.failed_experts,
        "unreachable": list(audit.unreachable),
        "networks": audit.networks,
        "verdict": audit.verdict,
    }

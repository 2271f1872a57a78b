"""The reward audit: would an agent that maximises this reward do the task?

Separation of expert and random says little: a prototype had an AUROC of 0.99 and paid 0.88
of the expert's reward for hanging still. So the expert is held against every cheap
behaviour, over whole episodes and at equal episode age, and the reward has to rank a ladder
of graded rollouts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from viper_gym.benchmark.metrics import gap_in_deviations, share_of_pairs, spearman
from viper_gym.benchmark.stand_still import shares_against_frozen_and_shuffled
from viper_gym.benchmark.still import Episodes, still_episodes, success_limit
from viper_gym.data.episodes import Episode
from viper_gym.errors import VideoDataError
from viper_gym.likelihood.reward_model import VideoRewardModel

AGE_BANDS = ((50, 100), (100, 250), (250, 500))  # steps; the first 50 are judged apart
BEST = 0.9  # quantile; the very luckiest pictures (a pole stopped upright) nobody can hold

IDLE = "zero"
AGENT = "agent"  # what agents that learned from the reward did, where they failed at the task
AGENT_PAID = 0.1  # of the expert's reward; more is worth settling on
CHEAP = (IDLE, "small", "constant", "random", "frozen", "settled", "empty", AGENT)


@dataclass
class TaskAudit:
    """Figures of one task; shares of pairs are in 0…1, levels in nats a frame."""

    task: str
    levels: dict[str, float] = field(default_factory=dict)
    """behaviour -> mean log-probability"""
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
    beats: dict[str, float] = field(default_factory=dict)
    """behaviour -> share of pairs of episodes the expert wins"""
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
    verdict: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Scored:
    """An episode and the log-probability of its frames, nats (T,)."""

    episode: Episode
    log_prob: np.ndarray

    @property
    def late_mean(self) -> float:
        """Mean over the second half: what the behaviour pays once it has settled."""
        return float(self.log_prob[len(self.log_prob) // 2 :].mean())

    @property
    def mean(self) -> float:
        """Mean over the steps of the episode (the reset frame earns nothing)."""
        return float(self.log_prob[1:].mean())


def score_episodes(
    model: VideoRewardModel,
    task: str,
    episodes: Episodes,
    on_episode: Callable[[], None] = lambda: None,
) -> dict[str, list[Scored]]:
    """Score every episode with the batch engine."""
    scored: dict[str, list[Scored]] = {}
    for behaviour, items in episodes.items():
        for episode in items:
            log_prob = model.log_prob(episode.frames[None], task)[0]
            scored.setdefault(behaviour, []).append(Scored(episode, log_prob))
            on_episode()
    return scored


def audit_task(
    model: VideoRewardModel,
    task: str,
    episodes: Episodes,
    cheap: tuple[str, ...] = CHEAP,
    on_episode: Callable[[], None] = lambda: None,
    unreachable: tuple[str, ...] = (),
) -> tuple[TaskAudit, dict[str, list[Scored]]]:
    """Audit one task on episodes of several behaviours.

    Args:
        episodes: "expert" is needed; "graded", "stop" and the cheap ones are used if there.
        on_episode: called after each scored episode, for progress.
        unreachable: behaviours that no agent can show: measured, not judged.

    Raises:
        VideoDataError: no expert did the task, or an episode has no step.
    """
    for behaviour, items in episodes.items():
        if any(len(e.frames) < 2 for e in items):
            raise VideoDataError(
                f"{task}: an episode of '{behaviour}' has one frame; expected two or more (the "
                "first is the reset's, which earns nothing)"
            )
    episodes = {**episodes, **still_episodes(episodes)}
    scored = score_episodes(model, task, episodes, on_episode)
    counts = {k: len(v) for k, v in scored.items()}
    audit = TaskAudit(task, episodes=counts, unreachable=unreachable)
    returns = [s.episode.task_return for items in scored.values() for s in items]
    worst = min((r for r in returns if np.isfinite(r)), default=np.nan)
    experts = scored["expert"] = _only_successes(scored["expert"], worst)
    audit.failed_experts = audit.episodes["expert"] - len(experts)
    if not experts:
        raise VideoDataError(
            f"{task}: none of {audit.failed_experts} episodes of 'expert' did the task ('success' "
            "in their files): nothing to hold others against"
        )
    limit = success_limit(float(np.mean([s.episode.task_return for s in experts])), worst)
    expert_means = np.array([s.mean for s in experts])
    audit.levels = {k: float(np.mean([s.mean for s in v])) for k, v in scored.items()}
    audit.late_levels = {k: float(np.mean([s.late_mean for s in v])) for k, v in scored.items()}
    if len(experts) > 1:
        late = [s.late_mean for s in experts]
        audit.late_error = float(np.std(late, ddof=1) / np.sqrt(len(late)))
    if "random" in scored:
        audit.auroc_random = share_of_pairs(expert_means, _means(scored["random"]))
    if "graded" in scored:
        audit.spearman, audit.spearman_within = _rank_correlations(scored["graded"])
        solved = [s.episode.meta.get("success_steps", np.nan) for s in scored["graded"]]
        audit.spearman_success = spearman(_means(scored["graded"]), np.array(solved, float))
        if model.is_calibrated(task):
            paid = [
                model.scaled(s.log_prob, task, clip="calibrated").mean() for s in scored["graded"]
            ]
            audit.spearman_clipped = spearman(np.array(paid), worth(scored["graded"]))
    _against_cheap(audit, scored, cheap, limit)
    if AGENT in audit.best_late and model.is_calibrated(task):
        scale = model.scale(task)
        audit.agent_paid = (audit.best_late[AGENT] - scale.low) / (scale.high - scale.low)
    if "stop" in scored:
        stopped = _only_failures(scored["stop"], limit)
        audit.successful_cheap["stop"] = len(scored["stop"]) - len(stopped)
        audit.beats["stop"] = share_of_pairs(expert_means, _means(stopped))
    audit.beats_frozen, audit.beats_shuffled = shares_against_frozen_and_shuffled(
        model, task, [s.episode for s in experts]
    )
    audit.verdict = verdict(audit)
    return audit, scored


def worth(items: list[Scored]) -> np.ndarray:
    """float (episodes,): steps at which the task was solved where all tell it, else task returns.

    (Dense rewards of a manipulation task may pay more for idling than for a short success.)
    """
    solved = [s.episode.meta.get("success_steps") for s in items]
    if None not in solved:
        return np.array(solved, float)
    return np.array([s.episode.task_return for s in items])


def _means(items: list[Scored]) -> np.ndarray:
    return np.array([s.mean for s in items])


def _only_successes(experts: list[Scored], worst: float) -> list[Scored]:
    best = max((r for s in experts if np.isfinite(r := s.episode.task_return)), default=np.nan)
    limit = success_limit(best, worst)
    # NaN (unknown rewards) counts as a success: then every video given is an expert's
    return [s for s in experts if s.episode.meta.get("success", not s.episode.task_return < limit)]


def _only_failures(items: list[Scored], limit: float) -> list[Scored]:
    # NaN returns (unknown rewards, made-up videos) count as failures
    return [s for s in items if not s.episode.meta.get("success", s.episode.task_return > limit)]


def _rank_correlations(graded: list[Scored]) -> tuple[float, float]:
    across = spearman(_means(graded), np.array([s.episode.task_return for s in graded]))
    within = [
        spearman(s.log_prob[1:], s.episode.rewards) for s in graded if s.episode.rewards is not None
    ]
    known = [w for w in within if np.isfinite(w)]
    return across, float(np.mean(known)) if known else float("nan")


def _against_cheap(
    audit: TaskAudit, scored: dict[str, list[Scored]], cheap: tuple[str, ...], limit: float
) -> None:
    experts = scored["expert"]
    means = _means(experts)
    candidates: dict[str, np.ndarray] = {}
    bands: dict[str, list[tuple[float, str]]] = {}
    for name in cheap:
        if name not in scored:
            continue
        items = _only_failures(scored[name], limit)
        audit.successful_cheap[name] = len(scored[name]) - len(items)
        if not items:
            continue
        audit.best_late[name] = float(np.quantile([s.late_mean for s in items], BEST))
        if name == IDLE:
            audit.idle_late = max(s.late_mean for s in items)
        audit.beats[name] = share_of_pairs(means, _means(items))
        if name in audit.unreachable:
            continue
        candidates[name] = _means(items)
        for first, last in AGE_BANDS:
            a, b = _band(experts, first, last), _band(items, first, last)
            if len(a) and len(b):
                bands.setdefault(f"{first}-{last}", []).append((share_of_pairs(a, b), name))
    if not candidates:
        return
    worst = {band: min(shares) for band, shares in bands.items()}
    audit.beats_by_age = {band: share for band, (share, _) in worst.items()}
    audit.worst_by_age = {band: name for band, (_, name) in worst.items()}
    audit.beats_cheap = min([*(audit.beats[n] for n in candidates), *audit.beats_by_age.values()])
    audit.best_cheap = max(candidates, key=lambda name: candidates[name].mean())
    audit.gap = gap_in_deviations(means, candidates[audit.best_cheap])


def _band(items: list[Scored], first: int, last: int) -> np.ndarray:
    """Mean log-probability of each episode between two ages (steps)."""
    return np.array([s.log_prob[first:last].mean() for s in items if len(s.log_prob) > first + 5])


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
    unknown = {
        "no cheap behaviour to hold the expert against": audit.beats_cheap,
        "the gap in deviations (two experts or more)": audit.gap,
        "no graded episodes whose rewards differ: whether returns are ranked": audit.spearman,
        "no clip in which an expert moves: frozen pictures": audit.beats_frozen,
        "no clip in which an expert moves: shuffled frames": audit.beats_shuffled,
    }
    lines += [f"NOT MEASURED: {what}" for what, figure in unknown.items() if np.isnan(figure)]
    return lines or ["OK: no cheap behaviour comes near the expert, and graded rollouts are ranked"]


def summary(audit: TaskAudit) -> dict[str, Any]:
    """The documented keys of `evaluate --json` for one task."""
    return {
        "auroc_random": audit.auroc_random,
        "spearman": audit.spearman,
        "spearman_clipped": audit.spearman_clipped,
        "spearman_within": audit.spearman_within,
        "spearman_success": audit.spearman_success,
        "beats_frozen": audit.beats_frozen,
        "beats_shuffled": audit.beats_shuffled,
        "beats_cheap": audit.beats_cheap,
        "best_cheap": audit.best_cheap,
        "gap_sd": audit.gap,
        "beats": audit.beats,
        "beats_by_age": audit.beats_by_age,
        "worst_by_age": audit.worst_by_age,
        "levels": audit.levels,
        "best_late": audit.best_late,
        "idle_late": audit.idle_late,
        "agent_paid": audit.agent_paid,
        "episodes": audit.episodes,
        "successful_cheap": audit.successful_cheap,
        "failed_experts": audit.failed_experts,
        "unreachable": list(audit.unreachable),
        "verdict": audit.verdict,
    }

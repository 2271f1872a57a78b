"""The reward audit: would an agent that maximises this reward do the task?

Separation of expert and random says little: a prototype had an AUROC of 0.99 and paid 0.88
of the expert's reward for hanging still. So the expert is held against every cheap
behaviour, over whole episodes and at equal episode age, and the reward has to rank a ladder
of graded rollouts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from viper_gym.benchmark.climb import paid_by_share
from viper_gym.benchmark.metrics import gap_in_deviations, share_of_pairs, spearman
from viper_gym.benchmark.stand_still import shares_against_frozen_and_shuffled
from viper_gym.benchmark.still import Episodes, late_reward, still_episodes, success_limit
from viper_gym.benchmark.task_audit import AGENT, CHEAP, IDLE, STOP, TaskAudit, verdict
from viper_gym.data.episodes import Episode
from viper_gym.envs.behaviours import EMPTY
from viper_gym.errors import VideoDataError
from viper_gym.likelihood.reward_model import VideoRewardModel

FIRST_STEPS = {"1-50": slice(1, 50)}  # whose levels are told, and which no share is made of
AGE_BANDS = {
    "50-100": slice(50, 100), "100-250": slice(100, 250), "250-500": slice(250, 500),
    "500+": slice(500, None),
}  # fmt: skip
"""steps at which episodes of equal age are compared"""
LEARNERS = ("zero", "small", "constant", "random", "graded", AGENT)  # who may be on the way
BEST = 0.9  # quantile; the very luckiest pictures (a pole stopped upright) nobody can hold


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
    made = still_episodes(episodes)
    episodes = {**episodes, **{name: [*episodes.get(name, []), *made[name]] for name in made}}
    scored = score_episodes(model, task, episodes, on_episode)
    counts = {k: len(v) for k, v in scored.items()}
    audit = TaskAudit(task, episodes=counts, unreachable=unreachable)
    worst = _worst(scored)
    unskilled = _unskilled(scored)
    experts = scored["expert"] = _only_successes(scored["expert"], worst, unskilled)
    audit.failed_experts = audit.episodes["expert"] - len(experts)
    if not experts:
        raise VideoDataError(
            f"{task}: none of {audit.failed_experts} episodes of 'expert' did the task ('success' "
            "in their files): nothing to hold others against"
        )
    known = [r for s in experts if np.isfinite(r := s.episode.task_return)]
    good = float(np.mean(known)) if known else float("nan")
    limit = success_limit(good, worst, unskilled)
    expert_means = np.array([s.mean for s in experts])
    audit.levels = {k: float(np.mean([s.mean for s in v])) for k, v in scored.items()}
    audit.late_levels = {k: float(np.mean([s.late_mean for s in v])) for k, v in scored.items()}
    audit.levels_by_age = {k: _levels_by_age(v) for k, v in scored.items()}
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
                model.scaled(s.log_prob, task, clip="calibrated").sum() for s in scored["graded"]
            ]
            audit.spearman_clipped = spearman(np.array(paid), worth(scored["graded"]))
    if model.is_calibrated(task):
        audit.paid_by_share = _paid_by_share(model, task, scored)
    _against_cheap(audit, scored, cheap, limit)
    if AGENT in audit.best_late and model.is_calibrated(task):
        scale = model.scale(task)
        audit.agent_paid = (audit.best_late[AGENT] - scale.low) / (scale.high - scale.low)
    if STOP in scored:
        stopped = _only_failures(scored[STOP], limit)
        audit.successful_cheap[STOP] = len(scored[STOP]) - len(stopped)
        audit.beats[STOP] = share_of_pairs(expert_means, _means(stopped))
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


def _unskilled(scored: dict[str, list[Scored]]) -> float:
    """The best mean return of those who do not try; NaN if none is known."""
    tried = [scored[name] for name in ("zero", "small", "constant", "random") if name in scored]
    means = [float(np.mean([s.episode.task_return for s in items])) for items in tried if items]
    return max((m for m in means if np.isfinite(m)), default=float("nan"))


def _worst(scored: dict[str, list[Scored]]) -> float:
    """The worst mean return of a behaviour (one disaster would make all else a success), the worst
    expert's where no other is known; NaN if none is."""
    known = {
        name: [r for s in items if np.isfinite(r := s.episode.task_return)]
        for name, items in scored.items()
    }
    means = [float(np.mean(r)) for name, r in known.items() if r and name != "expert"]
    return min(means or known["expert"], default=float("nan"))


def _only_successes(experts: list[Scored], worst: float, unskilled: float) -> list[Scored]:
    known = [r for s in experts if np.isfinite(r := s.episode.task_return)]
    limit = success_limit(float(np.median(known)) if known else np.nan, worst, unskilled)
    # NaN (unknown rewards) counts as a success: then every video given is an expert's
    return [s for s in experts if s.episode.meta.get("success", not s.episode.task_return < limit)]


def _only_failures(items: list[Scored], limit: float) -> list[Scored]:
    # NaN returns (unknown rewards, made-up videos) count as failures
    return [s for s in items if not s.episode.meta.get("success", s.episode.task_return > limit)]


def _paid_by_share(
    model: VideoRewardModel, task: str, scored: dict[str, list[Scored]]
) -> dict[str, float]:
    tried = [s for name in LEARNERS for s in scored.get(name, []) if s.episode.rewards is not None]
    paid = [model.scaled(s.log_prob, task, clip="calibrated") for s in tried]
    rewards = [s.episode.rewards for s in tried if s.episode.rewards is not None]
    return paid_by_share(paid, rewards, late_reward([s.episode for s in scored["expert"]]))


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
        # of a picture with nothing in it no return tells anything
        items = scored[name] if name == EMPTY else _only_failures(scored[name], limit)
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
        for band, steps in AGE_BANDS.items():
            a, b = _at_age(experts, steps), _at_age(items, steps)
            if len(a) and len(b):
                bands.setdefault(band, []).append((share_of_pairs(a, b), name))
    if not candidates:
        return
    worst = {band: min(shares) for band, shares in bands.items()}
    audit.beats_by_age = {band: share for band, (share, _) in worst.items()}
    audit.worst_by_age = {band: name for band, (_, name) in worst.items()}
    audit.beats_cheap = min([*(audit.beats[n] for n in candidates), *audit.beats_by_age.values()])
    audit.best_cheap = max(candidates, key=lambda name: candidates[name].mean())
    audit.gap = gap_in_deviations(means, candidates[audit.best_cheap])


def _levels_by_age(items: list[Scored]) -> dict[str, float]:
    """Age band -> mean log-probability a frame, over the episodes that reach it."""
    bands = {band: _at_age(items, steps) for band, steps in (FIRST_STEPS | AGE_BANDS).items()}
    return {band: float(means.mean()) for band, means in bands.items() if len(means)}


def _at_age(items: list[Scored], steps: slice) -> np.ndarray:
    """Mean log-probability of each episode at these steps, of those that go beyond the first 5."""
    return np.array([s.log_prob[steps].mean() for s in items if len(s.log_prob) > steps.start + 5])

"""Does a reward rise on the way to the task, or only where the task is done?

A reward may rank episodes well and still pay alike for all that falls short of the task: an agent
that never comes near it is then told nothing. A low figure warns and proves nothing
(docs/decisions.md, "whether there is a way up").
"""

from __future__ import annotations

import numpy as np

# shares of the task reward a step that experts end with
SHARES = {"0-20%": 0.0, "20-40%": 0.2, "40-60%": 0.4, "60-80%": 0.6, "80%+": 0.8}
NOTHING, DONE = "0-20%", "80%+"
ENOUGH = 50  # frames; fewer are an episode's moment


def paid_by_share(
    paid: list[np.ndarray], rewards: list[np.ndarray], expert: float
) -> dict[str, float]:
    """What the video reward pays where the task pays which share of the expert's.

    Args:
        paid: of each episode the video reward of its steps, (T - 1,).
        rewards: of each episode the task's, (T - 1,).
        expert: the task's reward a step once an expert does it.

    Returns:
        mean video reward of each of `SHARES` that `ENOUGH` steps have; empty where the expert is
        paid nothing or costs only.
    """
    if not paid or not expert > 0:
        return {}
    video, task = np.concatenate(paid), np.concatenate(rewards) / expert
    video, task = video[~np.isnan(task)], task[~np.isnan(task)]  # unknown ones are none's share
    names, starts = list(SHARES), list(SHARES.values())
    at = np.clip(np.searchsorted(starts, task, side="right") - 1, 0, None)
    counts = np.bincount(at, minlength=len(names))
    return {
        name: float(video[at == i].mean()) for i, name in enumerate(names) if counts[i] >= ENOUGH
    }


def climb(by_share: dict[str, float]) -> float:
    """Share of the reward's rise that comes before the task pays 80 % of the expert's reward.

    0: all who fall short are paid alike; 1: all of the rise comes before. NaN where the ends or
    what lies between them were not seen (tasks that pay all or nothing), or nothing rises.
    """
    between = [by_share[name] for name in list(SHARES)[1:-1] if name in by_share]
    if not between or NOTHING not in by_share or DONE not in by_share:
        return float("nan")
    low, high = by_share[NOTHING], by_share[DONE]
    return float(np.clip((max(between) - low) / (high - low), 0.0, 1.0)) if high > low else np.nan

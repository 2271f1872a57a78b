"""Videos that earn a high likelihood without doing anything, made from recorded episodes."""

from __future__ import annotations

import numpy as np

from viper_gym.data.episodes import Episode

STILL = ("frozen", "settled")
SETTLED = 40  # frames a picture is repeated
NEARLY = 0.8  # of the way from the worst to an expert: who does not try counts as no better
SUCCESS_SHARE = 0.5  # a "cheap" episode with more of the expert's return is not cheap


def success_limit(good: float, worst: float, unskilled: float = float("nan")) -> float:
    """The return, or reward, above which the task counts as done: half-way to an expert's.

    Args:
        good: what experts get; NaN, which nothing is below or above, if that is not known.
        worst: the least that anything got, from where it is counted if experts get less than 0.
        unskilled: what those get who do not try, from where it is counted if that is known: a pole
            that begins upright falls slowly, and that is most of an expert's return.
    """
    least = 0.0 if good > 0 else worst
    if np.isfinite(unskilled):  # where it is nearly an expert's, nearly that
        least = min(max(unskilled, worst), worst + NEARLY * (good - worst))
    return least + SUCCESS_SHARE * (good - least)


Episodes = dict[str, list[Episode]]  # behaviour -> episodes


def still_episodes(episodes: Episodes) -> Episodes:
    """Cheap videos that need no simulator, made from recorded ones.

    "frozen": an expert's first frame, repeated. "settled": a frame of a cheap episode, repeated
    (an agent may stop wherever such behaviour leads). Neither where the task was being done in it
    (a pole to be balanced begins upright): what only the task can hold is not cheap. "empty":
    nothing in view; if no such episodes are given, the median of all frames stands in (of experts
    who end in one pose that is the pose, hence the other behaviours' frames).
    """
    experts = episodes["expert"]
    length = min(len(e.frames) for e in experts)
    rewards = [e.rewards for items in episodes.values() for e in items if e.rewards is not None]
    worst = min((r.mean() for r in rewards), default=np.nan)  # of an episode: no single disaster
    limit = success_limit(late_reward(experts), worst)
    still = {
        "frozen": [
            Episode(np.repeat(e.frames[:1], length, 0))
            for e in experts[:10]
            if e.rewards is None or not e.rewards[:5].mean() > limit
        ]
    }
    if not still["frozen"]:
        del still["frozen"]
    if "empty" not in episodes:
        frames = np.concatenate([e.frames[::10] for items in episodes.values() for e in items])
        empty = np.median(frames, axis=0).astype(np.uint8)
        still["empty"] = [Episode(np.repeat(empty[None], length, 0))]
    settled = []
    for name in ("zero", "small", "constant", "random"):
        for episode in episodes.get(name, [])[:6]:
            last = len(episode.frames) - 1
            for t in (last // 8, last // 4, last // 2, last):
                near = episode.rewards[max(0, t - 20) : t] if episode.rewards is not None else 0.0
                if not np.mean(near) > limit:
                    settled.append(Episode(np.repeat(episode.frames[t][None], SETTLED, 0)))
    return {**still, "settled": settled} if settled else still


def late_reward(experts: list[Episode]) -> float:
    """Task reward a step that experts collect at the end of their episodes; NaN if unknown."""
    known = [e.rewards[-20:].mean() for e in experts if e.rewards is not None]
    return float(np.mean(known)) if known else float("nan")

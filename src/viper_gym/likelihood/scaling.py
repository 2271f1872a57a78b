"""From nats to reward.

Raw nats are hundreds and negative, and an environment that can end early then teaches the
agent to die. The calibrated scale maps the level of the best cheap behaviour to 0 and the
expert's to 1: with a random policy's level as zero, two prototypes
paid 0.8 for hanging still.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

ScaleKind = Literal["calibrated", "per_token", "raw"]
Clip = tuple[float, float] | Literal["calibrated"] | None
"""bounds of the scaled reward; "calibrated": the bundle's (`VideoRewardModel.scale`)"""
LOWEST_FLOOR = -0.5  # agents learned with floors from here to 0, and rarely below (docs/results)
CEILING = 1.5  # of the expert's reward: what is likelier than an expert is no better


def check_scale(kind: ScaleKind, clip: Clip) -> None:
    """Raises:
    ValueError: no such kind, bounds that are none, or calibrated ones for another scale.
    """
    if kind not in get_args(ScaleKind):
        raise ValueError(f"reward_scale must be calibrated, per_token or raw, got {kind!r}")
    if isinstance(clip, str) and (clip != "calibrated" or kind != "calibrated"):
        raise ValueError(
            "reward_clip must be two numbers, None or (where reward_scale is calibrated) "
            f"'calibrated'; got {clip!r} with reward_scale={kind!r}"
        )
    if clip is not None and not isinstance(clip, str):
        checked_bounds(clip)


def checked_bounds(clip: Any) -> tuple[float, float]:
    """Two bounds as floats; infinite ones leave a side open.

    Raises:
        ValueError: it is not a lower and a higher number.
    """
    try:
        low, high = map(float, clip)
    except (TypeError, ValueError):
        low = high = float("nan")
    if not low < high:
        raise ValueError(f"reward_clip must be a lower and a higher bound, got {clip!r}")
    return low, high


@dataclass(frozen=True)
class RewardScale:
    """reward = (log_prob - offset - low) / (high - low), clipped only if asked.

    Units: `low`, `high` and `offsets` in nats a frame.
    """

    low: float
    high: float
    clip: tuple[float, float] | None = None
    offsets: tuple[float, ...] = ()
    """what 0, 1, … frames of context add to a frame's value (`Calibration.by_context`)"""

    def __call__(self, log_prob: np.ndarray, context: np.ndarray) -> np.ndarray:
        """float (…) nats a frame, int (…) frames of context of each -> float64 (…)."""
        values = np.asarray(log_prob, np.float64)
        if self.offsets:
            values = values - np.asarray(self.offsets)[context]
        reward = (values - self.low) / (self.high - self.low)
        return reward if self.clip is None else np.clip(reward, *self.clip)

    @property
    def can_be_negative(self) -> bool:
        return self.clip is None or self.clip[0] < 0

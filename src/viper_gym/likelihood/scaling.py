"""From nats to reward.

Raw nats are hundreds and negative, and an environment that can end early then teaches the
agent to die. The calibrated scale maps the level of the best cheap behaviour to 0 and the
expert's to 1 (design section 3.5): with a random policy's level as zero, two prototypes
paid 0.8 for hanging still.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

ScaleKind = Literal["calibrated", "per_token", "raw"]


@dataclass(frozen=True)
class RewardScale:
    """reward = (log_prob - low) / (high - low), clipped only if asked.

    Units: `low` and `high` in nats a frame.
    """

    low: float
    high: float
    clip: tuple[float, float] | None = None

    def __call__(self, log_prob: np.ndarray) -> np.ndarray:
        """float (…) nats a frame -> float64 (…)."""
        reward = (np.asarray(log_prob, np.float64) - self.low) / (self.high - self.low)
        return reward if self.clip is None else np.clip(reward, *self.clip)

    @property
    def can_be_negative(self) -> bool:
        return self.clip is None or self.clip[0] < 0

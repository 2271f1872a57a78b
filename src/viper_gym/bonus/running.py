"""Running statistics: of samples seen, and the scale of a bonus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


class RunningMeanStd:
    """Mean and variance of all samples (B, *shape) seen (Chan et al. 1979, parallel variance)."""

    def __init__(self, shape: tuple[int, ...] = ()):
        self.mean = np.zeros(shape, np.float64)
        self.var = np.ones(shape, np.float64)
        self.count = 1e-4

    def update(self, batch: np.ndarray) -> None:
        n = len(batch)
        mean, var = batch.mean(0, dtype=np.float64), batch.var(0, dtype=np.float64)
        delta, total = mean - self.mean, self.count + n
        self.mean = self.mean + delta * n / total
        m2 = self.var * self.count + var * n + delta**2 * self.count * n / total
        self.var, self.count = m2 / total, total

    def state_dict(self) -> dict[str, Any]:
        """Tensors and a number, so that `torch.load(weights_only=True)` reads them."""
        return {
            "mean": torch.tensor(self.mean),
            "var": torch.tensor(self.var),
            "count": self.count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`."""
        self.mean, self.var = state["mean"].numpy().copy(), state["var"].numpy().copy()
        self.count = state["count"]


class BonusScale:
    """Divides errors by their root mean square over the newest samples.

    The bonus then stays about 1 on what the agent does now, and is several times that on what
    it never did.

    Args:
        horizon: about so many samples count; over the whole run a bonus would fade.
        clip: highest bonus.
    """

    def __init__(self, horizon: int, clip: float):
        self._horizon, self._clip = float(horizon), clip
        self._square = RunningMeanStd()

    def __call__(self, error: np.ndarray) -> np.ndarray:
        """Errors (B,) >= 0, which also enter the statistics -> bonus float32 (B,)."""
        error = error.astype(np.float64)
        self._square.update(error**2)
        self._square.count = min(self._square.count, self._horizon)
        bonus = error / np.sqrt(self._square.mean + 1e-30)
        return np.minimum(bonus, self._clip).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        return self._square.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`."""
        self._square.load_state_dict(state)

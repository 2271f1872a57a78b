"""Running statistics over all samples seen (Chan et al. 1979, parallel variance)."""

from __future__ import annotations

import numpy as np


class RunningMeanStd:
    """Mean and variance of samples (B, *shape); state is plain arrays."""

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

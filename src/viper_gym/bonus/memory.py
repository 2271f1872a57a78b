"""The newest samples, for updates to draw from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


class RecentMemory:
    """Keeps the newest `size` samples, each a row of one or more arrays, and draws from them.

    Args:
        size: samples kept.
        seed: of the draws.
    """

    def __init__(self, size: int, seed: int):
        self._size = size
        self._rng = np.random.default_rng(seed)
        self._columns: list[np.ndarray] = []  # (size, …) each, a ring
        self.added = 0
        """samples ever added"""

    def __len__(self) -> int:
        return min(self.added, self._size)

    def add(self, *columns: np.ndarray) -> None:
        """Copy m samples in, over the oldest ones: arrays (m, …)."""
        if not self._columns:
            self._columns = [np.zeros((self._size, *c.shape[1:]), c.dtype) for c in columns]
        m = len(columns[0])
        rows = np.arange(self.added, self.added + m)[-self._size :] % self._size
        for ring, new in zip(self._columns, columns, strict=True):
            ring[rows] = new[-self._size :]
        self.added += m

    def draw(self, n: int) -> list[np.ndarray]:
        """n samples with replacement: arrays (n, …), copies."""
        rows = self._rng.integers(len(self), size=n)
        return [ring[rows] for ring in self._columns]

    def mask(self, shape: tuple[int, ...], share: float) -> np.ndarray:
        """A random bool array of which about `share` is True; all of it for 1."""
        return np.ones(shape, bool) if share >= 1 else self._rng.random(shape) < share

    def state_dict(self) -> dict[str, Any]:
        """The samples and the state of the draws."""
        return {
            "columns": [torch.tensor(ring[: len(self)]) for ring in self._columns],
            "added": self.added,
            "rng": self._rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`; the sizes must be equal.

        Raises:
            ValueError: the state is of a memory of another size.
        """
        columns, added = [c.numpy() for c in state["columns"]], state["added"]
        if columns and len(columns[0]) != min(added, self._size):
            raise ValueError(f"this state's memory is not one of {self._size} samples")
        self._columns = []
        for column in columns:
            ring = np.zeros((self._size, *column.shape[1:]), column.dtype)
            ring[: len(column)] = column
            self._columns.append(ring)
        self.added = added
        self._rng.bit_generator.state = state["rng"]

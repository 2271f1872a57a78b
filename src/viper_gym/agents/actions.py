"""Actions as agents see them, and as environments take them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from viper_gym.errors import TrainingError


class ActionCodec:
    """Continuous actions become -1…1, discrete ones one-hot rows: float32 (n, size) either way.

    Raises:
        TrainingError: neither bounded continuous actions (A,) nor one choice among several (a Box
            of whole numbers is neither).
    """

    def __init__(self, space: gym.Space):
        self.discrete = isinstance(space, gym.spaces.Discrete)
        if isinstance(space, gym.spaces.Discrete):
            self.size, self._start = int(space.n), int(space.start)
            return
        if not isinstance(space, gym.spaces.Box) or not (
            space.is_bounded() and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
        ):
            raise TrainingError(
                f"expected bounded continuous actions (A,) or discrete ones, got {space}"
            )
        self.size = space.shape[0]
        self._low, self._high = space.low, space.high

    def to_env(self, actions: np.ndarray) -> np.ndarray:
        """float32 (n, size) -> what a vector environment takes: (n, A) of the space's dtype,
        within its bounds, or int64 (n,)."""
        if self.discrete:
            return self._start + actions.argmax(-1)
        low, high = self._low, self._high
        shares = (actions.astype(low.dtype) + 1) / 2
        return np.clip(low + shares * (high - low), low, high)  # rounding may lead outside

    def random(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Uniform actions: float32 (number, size)."""
        if self.discrete:
            return np.eye(self.size, dtype=np.float32)[rng.integers(0, self.size, number)]
        return rng.uniform(-1, 1, (number, self.size)).astype(np.float32)

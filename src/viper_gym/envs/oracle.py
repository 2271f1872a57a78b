"""Task oracles: small tanh-Gaussian actors trained from state and task reward with SAC.

The files are safetensors of `Dense_i.weight (out, in)` and `Dense_i.bias (out,)`; the
last pair gives the log standard deviation, which a deterministic oracle leaves unused.
`tools/train_oracle.py` makes them.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
from safetensors.numpy import load

from viper_gym.envs.tasks import dmc_task
from viper_gym.errors import UnknownTask


class Oracle:
    """Deterministic expert of a dmc task: state (n,) -> action in [-1, 1].

    Raises:
        UnknownTask: no oracle is bundled for this task.
    """

    def __init__(self, task: str):
        dmc_task(task)
        file = resources.files("viper_gym.envs") / "oracles" / f"{task}.safetensors"
        if not file.is_file():
            raise UnknownTask(f"no oracle is bundled for dmc task '{task}'")
        weights = load(file.read_bytes())
        self._hidden = [
            (weights[f"Dense_{i}.weight"], weights[f"Dense_{i}.bias"])
            for i in range(len(weights) // 2 - 2)
        ]
        mean = len(self._hidden)
        self._mean = (weights[f"Dense_{mean}.weight"], weights[f"Dense_{mean}.bias"])

    def reset(self, rng: np.random.Generator) -> None:
        """Nothing to reset: the oracle is a function of the state."""

    def __call__(self, state: np.ndarray) -> np.ndarray:
        x = state.astype(np.float32)
        for weight, bias in self._hidden:
            x = np.maximum(weight @ x + bias, 0.0)
        weight, bias = self._mean
        return np.tanh(weight @ x + bias)

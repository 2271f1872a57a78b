"""What agents of PyTorch networks share: precision, and snapshots to go on from."""

from __future__ import annotations

import copy
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn


class TorchAgent:
    """Base of agents; they set the attributes, and name what they consist of."""

    device: torch.device
    _bf16: bool
    _generator: torch.Generator
    _optimizers: dict[str, torch.optim.Optimizer]

    def _parts(self) -> dict[str, nn.Module]:
        """Everything that learns or follows, by name."""
        raise NotImplementedError

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self._bf16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def reseed(self, seed: int) -> None:
        """Let random numbers begin at a seed, so that what is played next hangs on nothing else."""
        self._generator.manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything needed to go on exactly."""
        return copy.deepcopy(
            {
                **{name: part.state_dict() for name, part in self._parts().items()},
                "optimizers": {k: o.state_dict() for k, o in self._optimizers.items()},
                "generator": self._generator.get_state(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo `state_dict`; on another kind of device random numbers begin anew (it warns)."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        drawn = state["generator"].cpu()
        if drawn.shape != self._generator.get_state().shape:
            warnings.warn(
                f"the checkpoint was made on another kind of device than {self.device.type}: "
                "random numbers begin anew",
                stacklevel=2,
            )
            return
        self._generator.set_state(drawn)

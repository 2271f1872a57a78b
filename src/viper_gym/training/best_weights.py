"""The weights that did best on held-out videos."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from viper_gym.training.loop import full_state, load_full_state

M = TypeVar("M", bound=nn.Module)


class BestWeights(nn.Module, Generic[M]):
    """A copy of a network on the CPU, as it was when its held-out loss was lowest.

    A module, so that checkpoints hold it and `loss`, which is infinite as long as nothing was
    considered (the copy is then the network as it was given).
    """

    loss: Tensor

    def __init__(self, network: M):
        super().__init__()
        self.network: M = copy.deepcopy(network).cpu()
        self.register_buffer("loss", torch.tensor(float("inf"), dtype=torch.float64))

    @torch.no_grad()
    def consider(self, network: M, loss: float) -> None:
        """Keep these weights if their loss is lower than every one before; NaN never is."""
        if loss < float(self.loss):
            self.loss.fill_(loss)
            load_full_state(self.network, full_state(network))

"""λ-returns of imagined trajectories, and the scale that advantages are divided by."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def lambda_return(rewards: Tensor, values: Tensor, discounts: Tensor, lambda_: float) -> Tensor:
    """Returns that mix n-step returns geometrically (DreamerV3, equation 7).

    R_t = r_t + γ_t ((1 - λ) v_{t+1} + λ R_{t+1}), and R_H = v_H behind the last step.

    Args:
        rewards: (H, B), of the step from state t to t + 1.
        values: (H + 1, B), of the states.
        discounts: (H, B), 0 where state t + 1 ends the episode.

    Returns:
        (H, B).
    """
    following, returns = values[-1], []
    for t in reversed(range(len(rewards))):
        mixed = (1 - lambda_) * values[t + 1] + lambda_ * following
        following = rewards[t] + discounts[t] * mixed
        returns.append(following)
    return torch.stack(returns[::-1])


class ReturnScale(nn.Module):
    """Range between the 5th and 95th percentile of returns, averaged over updates, at least 1.

    Dividing by it makes one entropy scale fit all rewards; where returns are small they are left
    as they are, so that noise is not blown up.
    """

    low: Tensor
    high: Tensor

    def __init__(self, decay: float = 0.99, percentiles: tuple[float, float] = (0.05, 0.95)):
        super().__init__()
        self._decay, self._percentiles = decay, percentiles
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @torch.no_grad()
    def update(self, returns: Tensor) -> Tensor:
        """Take in a batch of returns; gives the scale, ()."""
        marks = torch.tensor(self._percentiles, device=returns.device)
        low, high = torch.quantile(returns.detach().float().flatten(), marks)
        self.low.lerp_(low, 1 - self._decay)
        self.high.lerp_(high, 1 - self._decay)
        return (self.high - self.low).clamp(min=1.0)

"""Plan2Explore's bonus: how far an ensemble disagrees about the next latent (Sekar et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from viper_gym.bonus.networks import Ensemble


class LatentDisagreement(nn.Module):
    """Each member predicts the next step's latents from features and action."""

    def __init__(self, features: int, actions: int, latents: int, members: int, units: int):
        super().__init__()
        self.ensemble = Ensemble(members, (features + actions, units, units, latents))

    def loss(self, features: Tensor, actions: Tensor, first: Tensor, latents: Tensor) -> Tensor:
        """Squared error of the next latents, summed over members and dimensions: ().

        Their mean is thousands of times smaller, and its gradients drown in Adam's epsilon
        (docs/decisions.md).

        Args:
            features: (B, T, D).
            actions: (B, T, A), that led to each step.
            first: bool (B, T); what an episode begins with is not predicted.
            latents: (B, T, L).
        """
        inputs = torch.cat([features[:, :-1], actions[:, 1:]], -1).flatten(0, 1)
        target, counts = latents[:, 1:].flatten(0, 1), (~first[:, 1:]).flatten().float()
        error = (self.ensemble(inputs).float() - target).square().sum((0, 2))  # (B * (T - 1),)
        return (error * counts).sum() / counts.sum().clamp(min=1.0)

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        """Standard deviation over the members, averaged over dimensions: (H, B, …) -> (H, B)."""
        inputs = torch.cat([features, actions], -1)
        predicted = self.ensemble(inputs.flatten(0, -2)).float()  # (M, H * B, L)
        return predicted.std(0, correction=0).mean(-1).unflatten(0, inputs.shape[:-1])

"""The adversarial and perceptual terms of the VQ-GAN loss (paper Table 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from viper_gym.models.discriminator import Discriminator, DiscriminatorConfig, gradient_penalty
from viper_gym.optional import require


@dataclass(frozen=True)
class AdversarialConfig:
    """Weights of the terms beside L1; all zero leaves plain L1."""

    disc_weight: float = 0.0
    """weight of the adversarial term (paper: 0.1)"""
    gradient_penalty_weight: float = 1e8
    """of the mean squared pixel gradient; the paper gives the weight, not the normalisation"""
    perceptual_weight: float = 0.0
    """LPIPS weight (paper: 0.1); needs the extra `lpips`, which downloads VGG weights"""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)


class AdversarialLoss:
    """Owns the discriminator and its optimiser."""

    def __init__(
        self, config: AdversarialConfig, image_size: int, learning_rate: float, device: torch.device
    ):
        self.config = config
        self.discriminator: Discriminator | None = None
        self.optimizer: torch.optim.Optimizer | None = None
        self._lpips: Any = None
        if config.disc_weight > 0:
            self.discriminator = Discriminator(config.discriminator, image_size).to(device)
            self.optimizer = torch.optim.Adam(
                self.discriminator.parameters(), learning_rate, betas=(0.5, 0.9)
            )
        if config.perceptual_weight > 0:
            self._lpips = require("lpips", extra="lpips").LPIPS(net="vgg").to(device)

    def generator_term(self, reconstruction: Tensor, images: Tensor) -> Tensor:
        """What the tokenizer minimises beside L1: scalar."""
        total = torch.zeros((), device=images.device)
        if self.discriminator is not None:
            fooled = F.softplus(-self.discriminator(reconstruction)).mean()
            total = total + self.config.disc_weight * fooled
        if self._lpips is not None:
            total = (
                total + self.config.perceptual_weight * self._lpips(reconstruction, images).mean()
            )
        return total

    def discriminator_step(self, reconstruction: Tensor, images: Tensor) -> dict[str, float]:
        """One step of the discriminator (in fp32: the penalty is a second derivative)."""
        if self.discriminator is None or self.optimizer is None:
            return {}
        fake = self.discriminator(reconstruction.detach().float())
        real = self.discriminator(images)
        penalty = gradient_penalty(self.discriminator, images)
        loss = F.softplus(fake).mean() + F.softplus(-real).mean()
        total = loss + self.config.gradient_penalty_weight * penalty
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        return {"train/discriminator": loss.item(), "train/gradient_penalty": penalty.item()}

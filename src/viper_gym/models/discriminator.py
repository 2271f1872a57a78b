"""StyleGAN2-type image discriminator for the VQ-GAN (paper Table 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Paper Table 1."""

    base_features: int = 32
    max_features: int = 512
    mbstd_group_size: int = 4
    mbstd_num_features: int = 1


class _Block(nn.Module):
    """Residual block that halves the resolution."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.first = nn.Conv2d(in_features, in_features, 3, padding=1)
        self.second = nn.Conv2d(in_features, out_features, 3, padding=1)
        self.skip = nn.Conv2d(in_features, out_features, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.first(x), 0.2)
        y = F.leaky_relu(F.avg_pool2d(self.second(y), 2), 0.2)
        return (y + self.skip(F.avg_pool2d(x, 2))) / math.sqrt(2.0)


class Discriminator(nn.Module):
    """Images (B, 3, H, W) -> logits (B,), high for real ones."""

    def __init__(self, config: DiscriminatorConfig, image_size: int):
        super().__init__()
        if image_size < 8 or image_size & (image_size - 1):
            raise ValueError(f"expected 8, 16, 32, … pixels a side, got {image_size}")
        self.config = config
        levels = int(math.log2(image_size)) - 2  # down to 4x4
        widths = [min(config.base_features * 2**i, config.max_features) for i in range(levels + 1)]
        self.stem = nn.Conv2d(3, widths[0], 1)
        self.blocks = nn.Sequential(*(_Block(widths[i], widths[i + 1]) for i in range(levels)))
        self.final = nn.Conv2d(widths[-1] + config.mbstd_num_features, widths[-1], 3, padding=1)
        self.hidden = nn.Linear(16 * widths[-1], widths[-1])
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(F.leaky_relu(self.stem(images), 0.2))
        x = torch.cat([x, self._batch_deviation(x)], dim=1)
        x = F.leaky_relu(self.final(x), 0.2).flatten(1)
        return self.head(F.leaky_relu(self.hidden(x), 0.2))[:, 0]

    def _batch_deviation(self, x: Tensor) -> Tensor:
        """Standard deviation over groups of images, as extra feature maps (Karras et al. 2018)."""
        B, C, H, W = x.shape
        n = self.config.mbstd_num_features
        group = math.gcd(B, self.config.mbstd_group_size)
        y = x.float().view(group, -1, n, C // n, H, W)
        y = (y.var(0, unbiased=False) + 1e-8).sqrt().mean((2, 3, 4))  # (B / group, n)
        return y.repeat(group, 1)[..., None, None].expand(B, n, H, W).to(x.dtype)


def gradient_penalty(discriminator: Discriminator, real: Tensor) -> Tensor:
    """Mean squared gradient of the logits by the pixels of real images (R1)."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.pow(2).mean()

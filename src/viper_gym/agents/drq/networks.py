"""Networks of DrQ (paper Table 4; Yarats et al. 2021)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_STD = (-10.0, 2.0)  # bounds of the policy's log standard deviation


def random_shift(frames: Tensor, pad: int, generator: torch.Generator | None = None) -> Tensor:
    """Each picture moved by up to `pad` pixels, its border repeated: (B, H, W, C) -> the same.

    Whole pixels, as in DrQ ("random crop"); one shift a row of the batch. The pictures can stay
    bytes, which moves a quarter of the memory.
    """
    B, H, W, _ = frames.shape
    shift = torch.randint(-pad, pad + 1, (2, B), generator=generator, device=frames.device)
    rows = shift[0][:, None] + torch.arange(H, device=frames.device)  # (B, H)
    columns = shift[1][:, None] + torch.arange(W, device=frames.device)  # (B, W)
    first = torch.arange(B, device=frames.device)[:, None, None] * H
    rows, columns = rows.clamp(0, H - 1)[:, :, None], columns.clamp(0, W - 1)[:, None, :]
    pixels = (first + rows) * W + columns  # (B, H, W), of B * H * W
    # five times faster than three index tensors (CPU)
    return frames.flatten(0, 2).index_select(0, pixels.flatten()).view(frames.shape)


def as_images(frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 (B, H, W, C) -> (B, C, H, W) in -0.5…0.5, laid out channels last."""
    # in place: a new buffer of this size costs ten times what the arithmetic does; and bf16
    # holds x - 127.5 exactly, so only the division rounds
    return frames.permute(0, 3, 1, 2).to(dtype).sub_(127.5).div_(255.0)


class Encoder(nn.Module):
    """Convolutions behind each other: `as_images` (B, C, H, W) -> features (B, D).

    Raises:
        ValueError: no layers, or not as many strides as widths.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        widths: tuple[int, ...],
        strides: tuple[int, ...],
    ):
        super().__init__()
        if not widths:
            raise ValueError("an encoder needs at least one layer")
        if len(strides) != len(widths):
            raise ValueError(f"{len(widths)} layers need as many strides, got {strides}")
        layers: list[nn.Module] = []
        for width, stride in zip(widths, strides, strict=True):
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.ReLU(inplace=True)]
            channels = width
        self.layers = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            self.width = self.layers(torch.zeros(1, _in(layers[0]), *size)).shape[1]
        self.apply(_orthogonal)

    def forward(self, frames: Tensor) -> Tensor:
        return self.layers(frames)


def _in(layer: nn.Module) -> int:
    assert isinstance(layer, nn.Conv2d)
    return layer.in_channels


def _orthogonal(module: nn.Module) -> None:
    """As in DrQ: the gain of a ReLU for convolutions, 1 for linear layers, so that a new policy's
    mean is near zero and not at the ends of tanh."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        gain = math.sqrt(2.0) if isinstance(module, nn.Conv2d) else 1.0
        nn.init.orthogonal_(module.weight.flatten(1), gain)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _head(features: int, latent: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, latent), nn.LayerNorm(latent), nn.Tanh())


def _mlp(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class Actor(nn.Module):
    """Gaussian squashed by tanh, on features of the critics' encoder."""

    def __init__(self, features: int, latent: int, hidden: tuple[int, ...], actions: int):
        super().__init__()
        self.latent, self.policy = _head(features, latent), _mlp(latent, hidden, 2 * actions)
        self.apply(_orthogonal)

    def forward(
        self, features: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, D) -> sampled actions (B, A) in -1…1, their log-density (B,), mean actions (B, A)."""
        mean, log_std = self.policy(self.latent(features)).float().chunk(2, -1)
        low, high = LOG_STD
        log_std = low + 0.5 * (high - low) * (torch.tanh(log_std) + 1)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        raw = mean + log_std.exp() * noise
        return raw.tanh(), tanh_normal_log_prob(raw, mean, log_std), mean.tanh()


def tanh_normal_log_prob(raw: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """ln of the density of tanh(raw), raw ~ N(mean, exp(log_std)): (B, A) -> (B,)."""
    gaussian = -0.5 * ((raw - mean) / log_std.exp()) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
    # ln(1 - tanh(x)^2), in the form that does not overflow
    jacobian = 2 * (math.log(2.0) - raw - F.softplus(-2 * raw))
    return (gaussian - jacobian).sum(-1)


class Critic(nn.Module):
    """Q values of an ensemble that shares the latent: features (B, D), actions (B, A) -> (M, B)."""

    def __init__(
        self, features: int, latent: int, hidden: tuple[int, ...], actions: int, members: int
    ):
        super().__init__()
        self.latent = _head(features, latent)
        self.members = nn.ModuleList(_mlp(latent + actions, hidden, 1) for _ in range(members))
        self.apply(_orthogonal)

    def forward(self, features: Tensor, actions: Tensor) -> Tensor:
        x = torch.cat([self.latent(features), actions], -1)
        return torch.stack([member(x)[:, 0] for member in self.members]).float()

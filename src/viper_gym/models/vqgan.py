"""VQ-GAN tokenizer of the paper (Table 1), in the layout of the authors' release.

Encoder and decoder of Esser et al. 2021: residual blocks with GroupNorm and swish, one
level per entry of `ch_mult`, an attention block at the bottom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viper_gym.models.quantizer import VectorQuantizer
from viper_gym.models.tokenizer import FrameTokenizer, TokenizerConfig


@dataclass(frozen=True)
class VQGANConfig:
    """Shape of a `VQGAN`; the defaults are the paper's DMC column."""

    image_size: int = 64
    base_channels: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2)
    num_res_blocks: int = 1
    attn_resolutions: tuple[int, ...] = ()
    z_channels: int = 64
    codebook_size: int = 1024
    codebook_dim: int = 64
    commitment_weight: float = 0.25

    def __post_init__(self) -> None:
        halvings = len(self.ch_mult) - 1
        if self.image_size % 2**halvings:
            raise ValueError(f"{self.image_size} pixels cannot be halved {halvings} times")

    @property
    def grid_size(self) -> int:
        return self.image_size // 2 ** (len(self.ch_mult) - 1)


PAPER_DMC = VQGANConfig()
PAPER_ATARI = VQGANConfig(ch_mult=(1, 2, 2))
PAPER_RLBENCH = VQGANConfig(ch_mult=(1, 2, 2), num_res_blocks=2)


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups where the width allows it, eps 1e-6 (flax's default), as in the release."""
    return nn.GroupNorm(min(32, channels), channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions around a skip; a 1x1 convolution fits the skip's width."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        fits = in_channels == out_channels
        self.shortcut = nn.Identity() if fits else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h


class AttnBlock(nn.Module):
    """Single-head self-attention over the grid; without `project`, its values are added as is."""

    out: nn.Module

    def __init__(self, channels: int, project: bool = True):
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2) for f in (self.q, self.k, self.v))  # (B, HW, C)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(B, C, H, W))


class Downsample(nn.Module):
    """Halve the resolution: pad right and bottom, 3x3 convolution of stride 2."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Double the resolution: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _encoder(c: VQGANConfig) -> nn.Sequential:
    width = c.base_channels
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
    size = c.image_size
    for level, mult in enumerate(c.ch_mult):
        for _ in range(c.num_res_blocks):
            layers.append(ResnetBlock(width, c.base_channels * mult))
            width = c.base_channels * mult
            if size in c.attn_resolutions:
                layers.append(AttnBlock(width))
        if level < len(c.ch_mult) - 1:
            layers.append(Downsample(width))
            size //= 2
    layers += [ResnetBlock(width, width), AttnBlock(width), ResnetBlock(width, width)]
    layers += [group_norm(width), nn.SiLU(), nn.Conv2d(width, c.z_channels, 3, padding=1)]
    return nn.Sequential(*layers)


def _decoder(c: VQGANConfig) -> nn.Sequential:
    width = c.base_channels * c.ch_mult[-1]
    layers: list[nn.Module] = [nn.Conv2d(c.z_channels, width, 3, padding=1)]
    layers += [ResnetBlock(width, width), AttnBlock(width), ResnetBlock(width, width)]
    size = c.grid_size
    for level, mult in reversed(list(enumerate(c.ch_mult))):
        for _ in range(c.num_res_blocks + 1):
            layers.append(ResnetBlock(width, c.base_channels * mult))
            width = c.base_channels * mult
            if size in c.attn_resolutions:
                layers.append(AttnBlock(width))
        if level > 0:
            layers.append(Upsample(width))
            size *= 2
    layers += [group_norm(width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1)]
    return nn.Sequential(*layers)


class ConvConfig(TokenizerConfig, Protocol):
    """What a `ConvTokenizer` reads of its config."""

    @property
    def z_channels(self) -> int: ...
    @property
    def commitment_weight(self) -> float: ...


class ConvTokenizer(FrameTokenizer):
    """A codebook between a convolutional encoder and decoder, with 1x1 convolutions around it.

    Args:
        config: of the whole tokenizer.
        encoder: images (B, 3, H, W) -> (B, z_channels, h, w).
        decoder: (B, z_channels, h, w) -> images (B, 3, H, W).
    """

    def __init__(self, config: ConvConfig, encoder: nn.Sequential, decoder: nn.Sequential):
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.decoder = decoder
        self.quant_conv = nn.Conv2d(config.z_channels, config.codebook_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.codebook_dim, config.z_channels, 1)
        self.quantizer = VectorQuantizer(
            config.codebook_size, config.codebook_dim, config.commitment_weight
        )

    def latents(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, h, w, D)."""
        return self.quant_conv(self.encoder(images)).permute(0, 2, 3, 1)

    def encode(self, images: Tensor, task: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> indices int64 (B, h, w), whatever the task."""
        return self.quantizer.indices(self.latents(images))

    def decode(self, indices: Tensor, task: Tensor | None = None) -> Tensor:
        """Indices (B, h, w) -> images (B, 3, H, W), about [-1, 1]."""
        codes = F.embedding(indices, self.quantizer.codebook)
        return self._decode_codes(codes)

    def forward(self, images: Tensor, task: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (B, 3, H, W), quantiser loss, indices (B, h, w)."""
        q = self.quantizer(self.latents(images))
        return self._decode_codes(q.quantized), q.loss, q.indices

    def _decode_codes(self, codes: Tensor) -> Tensor:
        z = codes.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return self.decoder(self.post_quant_conv(z)).float()


class VQGAN(ConvTokenizer):
    """Frames to codes and back."""

    config: VQGANConfig

    def __init__(self, config: VQGANConfig):
        super().__init__(config, _encoder(config), _decoder(config))

"""A strictly local tokenizer: every code depends on the pixels of its own cell only.

Convolutions with normalisation over the image change codes in cells where nothing moved,
and the video model then spends its likelihood on that flicker (docs/decisions.md). Here
each cell is a small MLP of its pixels and its place, so an unchanged cell keeps its code
bit for bit; the decoder may look at neighbouring cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viper_gym.models.quantizer import VectorQuantizer


@dataclass(frozen=True)
class PatchVQConfig:
    """Shape of a `PatchVQ`."""

    image_size: int = 64
    """pixels, square"""
    patch_size: int = 8
    """pixels a cell; the grid has image_size / patch_size cells a side"""
    codebook_size: int = 512
    codebook_dim: int = 32
    width: int = 128
    commitment_weight: float = 0.1
    ema_decay: float = 0.98

    @property
    def grid_size(self) -> int:
        return self.image_size // self.patch_size


class _PointwiseBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.project = nn.Conv2d(2 * width, width, 1)
        nn.init.zeros_(self.project.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(F.silu(self.expand(F.silu(x))))


class _NeighbourBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class _PositionMap(nn.Module):
    def __init__(self, width: int, size: int):
        super().__init__()
        self.map = nn.Parameter(torch.randn(1, width, size, size) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.map


class PatchVQ(nn.Module):
    """Local patch encoder, LayerNorm'ed latents, EMA codebook, small decoder."""

    def __init__(self, config: PatchVQConfig):
        super().__init__()
        self.config = config
        width, patch, grid = config.width, config.patch_size, config.grid_size
        pixels = 3 * patch * patch
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(patch),
            nn.Conv2d(pixels, width, 1),
            _PositionMap(width, grid),
            _PointwiseBlock(width),
            _PointwiseBlock(width),
            nn.SiLU(),
            nn.Conv2d(width, config.codebook_dim, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.codebook_dim, width, 3, padding=1),
            _PositionMap(width, grid),
            _NeighbourBlock(width),
            _PointwiseBlock(width),
            _PointwiseBlock(width),
            nn.SiLU(),
            nn.Conv2d(width, pixels, 1),
            _PositionMap(pixels, grid),
            nn.PixelShuffle(patch),
        )
        self.quantizer = VectorQuantizer(
            config.codebook_size, config.codebook_dim, config.commitment_weight, config.ema_decay
        )

    def latents(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, h, w, D), unit variance a cell."""
        z = self.encoder(images).permute(0, 2, 3, 1).float()
        return F.layer_norm(z, (z.shape[-1],))

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> indices int64 (B, h, w)."""
        return self.quantizer.indices(self.latents(images))

    def decode(self, indices: Tensor) -> Tensor:
        """Indices (B, h, w) -> images (B, 3, H, W), about [-1, 1]."""
        codes = F.embedding(indices, self.quantizer.codebook)
        return self.decoder(codes.permute(0, 3, 1, 2)).float()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (B, 3, H, W), quantiser loss, indices (B, h, w)."""
        q = self.quantizer(self.latents(images))
        return self.decoder(q.quantized.permute(0, 3, 1, 2)).float(), q.loss, q.indices

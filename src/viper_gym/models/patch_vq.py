"""A strictly local tokenizer: every code depends on the pixels of its own cell only.

Convolutions with normalisation over the image change codes in cells where nothing moved,
and the video model then spends its likelihood on that flicker (docs/decisions.md). Here
each cell is a small MLP of its pixels, so an unchanged cell keeps its code bit for bit; the
decoder may look at neighbouring cells.

What enters is the difference from the task's background (its median picture): a cell that
shows only background is exactly zero wherever it is, so all of them share one code and the
codebook is left for what moves. With a moving camera the difference is simply an offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viper_gym.models.quantizer import VectorQuantizer
from viper_gym.models.tokenizer import FrameTokenizer


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
    num_tasks: int = 1
    """backgrounds held, one a task"""

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(f"patches of {self.patch_size} pixels do not fill {self.image_size}")

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


class PatchVQ(FrameTokenizer):
    """Local patch encoder, LayerNorm'ed latents, EMA codebook, small decoder."""

    config: PatchVQConfig
    background: Tensor

    def __init__(self, config: PatchVQConfig):
        super().__init__()
        self.config = config
        width, patch = config.width, config.patch_size
        pixels = 3 * patch * patch
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(patch),
            nn.Conv2d(pixels, width, 1),
            _PointwiseBlock(width),
            _PointwiseBlock(width),
            nn.SiLU(),
            nn.Conv2d(width, config.codebook_dim, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.codebook_dim, width, 3, padding=1),
            _NeighbourBlock(width),
            _PointwiseBlock(width),
            _PointwiseBlock(width),
            nn.SiLU(),
            nn.Conv2d(width, pixels, 1),
            nn.PixelShuffle(patch),
        )
        self.quantizer = VectorQuantizer(
            config.codebook_size, config.codebook_dim, config.commitment_weight, config.ema_decay
        )

        size = config.image_size
        self.register_buffer("background", torch.zeros(config.num_tasks, 3, size, size))

    def latents(self, images: Tensor, task: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], task int64 (B,) -> (B, h, w, D), unit variance a cell."""
        z = self.encoder(images - self.background[task]).permute(0, 2, 3, 1).float()
        return F.layer_norm(z, (z.shape[-1],))

    def encode(self, images: Tensor, task: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], task int64 (B,) -> indices int64 (B, h, w)."""
        return self.quantizer.indices(self.latents(images, task))

    def decode(self, indices: Tensor, task: Tensor) -> Tensor:
        """Indices (B, h, w), task (B,) -> images (B, 3, H, W), about [-1, 1]."""
        return self._decode_codes(F.embedding(indices, self.quantizer.codebook), task)

    def forward(self, images: Tensor, task: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (B, 3, H, W), quantiser loss, indices (B, h, w)."""
        q = self.quantizer(self.latents(images, task))
        return self._decode_codes(q.quantized, task), q.loss, q.indices

    def _decode_codes(self, codes: Tensor, task: Tensor) -> Tensor:
        difference = self.decoder(codes.permute(0, 3, 1, 2)).float()
        return self.background[task] + difference

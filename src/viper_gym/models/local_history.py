"""What was around a cell in the newest frames, as an input of its token.

A transformer first has to find, by attention, which of a thousand earlier tokens are the
same cell a frame ago; until it has, it cannot even copy the background. Handing every token
a small convolution of the preceding frames around its cell leaves attention the rest. It
sees earlier frames only, so the likelihood stays exact. The authors' layout has none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocalHistory(nn.Module):
    """3x3 neighbourhoods of the `frames` frames before each frame, as vectors of width `dim`."""

    def __init__(self, frames: int, codebook_dim: int, dim: int):
        super().__init__()
        self.frames = frames
        channels = frames * (codebook_dim + 1)  # one more channel: is there such a frame?
        self.neighbourhood = nn.Conv2d(channels, dim, 3, padding=1)
        self.mix = nn.Linear(dim, dim)

    def forward(self, indices: Tensor, earlier: Tensor, codebook: Tensor) -> Tensor:
        """Vectors of the frames' tokens.

        Args:
            indices: codes (B, T, h, w).
            earlier: codes of the `frames` frames before the first, (B, frames, h, w), oldest
                first; -1 where there is none.
            codebook: (K, C).

        Returns:
            (B, T * h * w, dim)
        """
        B, T, h, w = indices.shape
        k = self.frames
        history = torch.cat([earlier, indices], 1)
        stacked = torch.stack([history[:, k - j : k - j + T] for j in range(1, k + 1)], 2)
        present = (stacked >= 0).to(codebook.dtype)[..., None]  # (B, T, k, h, w, 1)
        vectors = F.embedding(stacked.clamp(min=0), codebook) * present
        features = torch.cat([vectors, present], -1).view(B * T, k, h, w, -1)
        features = features.to(self.mix.weight.dtype)
        features = features.permute(0, 1, 4, 2, 3).flatten(1, 2)  # (B T, k (C + 1), h, w)
        around = self.neighbourhood(features).flatten(2).transpose(1, 2)  # (B T, h w, dim)
        return self.mix(F.silu(around)).reshape(B, T * h * w, -1)


def no_frames(batch: int, frames: int, grid_size: int, device: torch.device) -> Tensor:
    """The `earlier` of a window's start: (B, frames, h, w) of -1."""
    shape = (batch, frames, grid_size, grid_size)
    return torch.full(shape, -1, dtype=torch.int64, device=device)

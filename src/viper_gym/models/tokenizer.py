"""What every tokenizer offers: frames to codes and back."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from torch import Tensor, nn

from viper_gym.models.quantizer import VectorQuantizer


class TokenizerConfig(Protocol):
    """The part of a tokenizer's config that others read."""

    @property
    def image_size(self) -> int: ...
    @property
    def grid_size(self) -> int: ...
    @property
    def codebook_size(self) -> int: ...
    @property
    def codebook_dim(self) -> int: ...


class FrameTokenizer(nn.Module):
    """Base class: images (B, 3, H, W) in [-1, 1], task numbers int64 (B,)."""

    config: TokenizerConfig
    quantizer: VectorQuantizer

    @abstractmethod
    def encode(self, images: Tensor, task: Tensor) -> Tensor:
        """Indices int64 (B, h, w)."""

    @abstractmethod
    def decode(self, indices: Tensor, task: Tensor) -> Tensor:
        """Images (B, 3, H, W), about [-1, 1]."""

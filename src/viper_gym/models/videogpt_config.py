"""The shape of a `VideoGPT`, which its blocks and its cache need to know, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Activation = Literal["quick_gelu", "gelu"]


@dataclass(frozen=True)
class VideoGPTConfig:
    """Shape of a `VideoGPT`."""

    sequence_length: int = 16
    """frames in a window, the scored one included"""
    grid_size: int = 8
    """codes a side; a frame has grid_size ** 2 tokens"""
    codebook_size: int = 1024
    codebook_dim: int = 64
    embed_dim: int = 256
    mlp_dim: int = 1024
    num_heads: int = 8
    num_layers: int = 8
    dropout: float = 0.0
    num_classes: int = 0
    """tasks the norms are conditioned on; 0 for an unconditional model"""
    local_frames: int = 0
    """preceding frames whose neighbourhood of a cell enters its token (`LocalHistory`); 0 is
    the authors' layout"""
    positions: Literal["axes", "tokens"] = "axes"
    """what the position vectors are learned for: each axis (t, h, w), the authors' layout, or
    each token of the window"""
    activation: Activation = "quick_gelu"
    norm_eps: float = 1e-6
    copy: bool = False
    """a learned gate that adds to the logit of the code its cell had a frame before, so that rare
    codes of things at rest are as sure to stay as common ones; needs `local_frames`"""

    def __post_init__(self) -> None:
        if self.positions not in ("axes", "tokens") or self.activation not in get_args(Activation):
            raise ValueError(
                f"positions {self.positions!r} and activation {self.activation!r}: expected "
                f"axes or tokens, and one of {sorted(get_args(Activation))}"
            )
        if self.sequence_length < 1:
            raise ValueError(
                f"sequence_length must be 1 or more frames, got {self.sequence_length}"
            )
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim must be a multiple of num_heads, got {self.embed_dim} and "
                f"{self.num_heads}"
            )
        if self.copy and not self.local_frames:
            raise ValueError("copy needs local_frames of at least 1, which tells what to copy")

    @property
    def tokens_per_frame(self) -> int:
        return self.grid_size**2

    @property
    def max_tokens(self) -> int:
        return self.sequence_length * self.tokens_per_frame

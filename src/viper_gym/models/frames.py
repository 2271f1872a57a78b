"""From uint8 frames to network input."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from viper_gym.errors import FrameMismatch

RESIZING = " (wrappers also take that of training videos which were resized)"


def check_frames(
    frames: np.ndarray | Tensor, image_size: int, ndim: int, otherwise: str = RESIZING
) -> None:
    """Check layout, size and dtype of frames (…, H, W, 3).

    Args:
        otherwise: which other size the caller takes, as the end of a sentence.

    Raises:
        FrameMismatch: naming what was expected and what came.
    """
    expected = f"uint8 (…, {image_size}, {image_size}, 3) with {ndim} dimensions"
    if str(frames.dtype).removeprefix("torch.") != "uint8":
        raise FrameMismatch(f"expected {expected}, got dtype {frames.dtype}: frames are 0…255")
    if 0 in frames.shape[:-3]:
        raise FrameMismatch(f"expected {expected}, got no frames: shape {tuple(frames.shape)}")
    if frames.ndim != ndim or tuple(frames.shape[-3:]) != (image_size, image_size, 3):
        raise FrameMismatch(
            f"expected {expected}, got shape {tuple(frames.shape)}: render at the model's own "
            f"size{otherwise}"
        )


def to_input(frames: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1], contiguous.

    Not channels last: those fp32 convolutions are less exact, enough to flip a near tie
    between two codes that the authors' code decides the other way (docs/decisions.md).
    """
    images = frames.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    return images.contiguous()


def to_uint8(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> uint8 (B, H, W, 3)."""
    pixels = images.float().clamp(-1, 1).add(1.0).mul(127.5).round()
    return pixels.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()

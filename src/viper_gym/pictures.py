"""How pictures of another size become those of a model, in training videos and in use alike."""

from __future__ import annotations

import numpy as np
from PIL import Image


def resize_all(frames: np.ndarray, size: int) -> np.ndarray:
    """`resize` of uint8 (n, H, W, 3)."""
    return np.stack([resize(frame, size) for frame in frames])


def resize(frame: np.ndarray, size: int) -> np.ndarray:
    """Area averaging of uint8 (H, W, 3) to (size, size, 3), whatever its proportions."""
    if frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BOX))

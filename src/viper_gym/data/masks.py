"""What of a picture counts: score and lives of a game are left out of training and reward.

A task's mask is `<data>/<task>/mask.png`, white where the picture counts and black where it is
emptied before anything else sees it (the authors' `mask_map`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from viper_gym.errors import VideoDataError

NAME = "mask.png"


def read_mask(path: Path, image_size: int) -> np.ndarray:
    """uint8 (H, W), 1 where the picture counts.

    Raises:
        VideoDataError: not a picture of this size in black and white.
    """
    try:
        picture = np.asarray(Image.open(path).convert("L"))
    except OSError as error:
        raise VideoDataError(f"{path}: not a readable picture ({error})") from error
    if picture.shape != (image_size, image_size):
        raise VideoDataError(
            f"{path}: expected a mask of {image_size}x{image_size}, got {picture.shape}"
        )
    levels = sorted(set(np.unique(picture).tolist()) - {0, 255})
    if levels:
        raise VideoDataError(f"{path}: a mask is black (0) and white (255) only, found {levels}")
    return (picture > 0).astype(np.uint8)


def write_mask(mask: np.ndarray, path: Path) -> None:
    """Save a mask (H, W) of zeros and ones as `read_mask` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((mask > 0).astype(np.uint8) * 255).save(path)


def load_masks(folder: Path, image_size: int) -> dict[str, np.ndarray]:
    """Task -> mask uint8 (H, W), of the tasks that have one.

    Raises:
        VideoDataError: see `read_mask`.
    """
    paths = sorted(folder.glob(f"*/{NAME}"))
    return {path.parent.name: read_mask(path, image_size) for path in paths}


def recorded_masks(folder: Path, image_size: int) -> dict[str, list[list[int]]]:
    """`load_masks`, as JSON has them."""
    return {task: mask.tolist() for task, mask in load_masks(folder, image_size).items()}

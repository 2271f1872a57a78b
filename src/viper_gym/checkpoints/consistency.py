"""Whether the parts of a bundle's config go together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from viper_gym.errors import CheckpointError
from viper_gym.models.patch_vq import PatchVQConfig

if TYPE_CHECKING:
    from viper_gym.checkpoints.bundle import BundleConfig, Calibration


def check_fit(config: BundleConfig, where: str) -> None:
    """Raises:
    CheckpointError: saying what does not go together.
    """
    tokenizer, video = config.tokenizer, config.video_model
    pairs = {
        "codebook_size": (tokenizer.codebook_size, video.codebook_size),
        "codebook_dim": (tokenizer.codebook_dim, video.codebook_dim),
        "grid_size": (tokenizer.grid_size, video.grid_size),
    }
    for name, (a, b) in pairs.items():
        if a != b:
            raise CheckpointError(f"{where}: tokenizer has {name} {a}, video model {b}")
    _check_plain(config, where)
    for policy in (config.policy, *map(config.policy_of, config.calibration)):
        try:
            policy.kept(video.sequence_length)
        except ValueError as error:
            raise CheckpointError(f"{where}: policy: {error}") from error
    for task, levels in config.calibration.items():
        if task not in config.tasks:
            known = ", ".join(config.tasks)
            raise CheckpointError(f"{where}: calibration of {task}, the tasks are {known}")
        window = config.policy_of(task).length(video.sequence_length)
        _check_levels(levels, window, f"{where}: calibration of {task}")
    size = tokenizer.image_size
    for task, mask in config.masks.items():
        if not _is_mask(mask, size) or task not in config.tasks:
            raise CheckpointError(
                f"{where}: the mask of '{task}' is not of a task, {size}x{size} of 0 and 1"
            )
    if isinstance(tokenizer, PatchVQConfig) and tokenizer.num_tasks != len(config.tasks):
        raise CheckpointError(
            f"{where}: {len(config.tasks)} tasks, but {tokenizer.num_tasks} tokenizer backgrounds"
        )
    needed = len(config.tasks) * (2 if config.contrast else 1)
    if needed > video.num_classes and (video.num_classes or config.contrast):
        raise CheckpointError(
            f"{where}: {len(config.tasks)} tasks need {needed} classes, the video model has "
            f"{video.num_classes}"
        )


def _is_mask(mask: object, size: int) -> bool:
    try:
        rows = torch.tensor(mask)
    except (TypeError, ValueError, RuntimeError):
        return False
    return rows.shape == (size, size) and bool(((rows == 0) | (rows == 1)).all())


def _check_plain(config: BundleConfig, where: str) -> None:
    stride, tasks = config.frame_stride, config.tasks
    if not isinstance(stride, int) or stride < 1:
        raise CheckpointError(f"{where}: frame_stride must be a whole number from 1, got {stride}")
    for name, values in (("preprocessing", config.preprocessing), ("masks", config.masks)):
        if not isinstance(values, dict):
            raise CheckpointError(f"{where}: {name} must be an object, a task each, got {values!r}")
    if not all(isinstance(said, dict) for said in config.preprocessing.values()):
        raise CheckpointError(f"{where}: preprocessing of a task must be an object")
    if not all(isinstance(t, str) for t in tasks) or len(set(tasks)) < len(tasks):
        raise CheckpointError(f"{where}: expected different names of tasks, got {list(tasks)}")


def _check_levels(levels: Calibration, window: int, where: str) -> None:
    if not -math.inf < levels.low < levels.high < math.inf:
        raise CheckpointError(
            f"{where}: low must be below high and both finite, got {levels.low} and {levels.high}"
        )
    idle = 0.0 if levels.idle is None else levels.idle
    if not all(map(math.isfinite, (idle, *levels.by_context))):
        raise CheckpointError(f"{where}: idle and by_context must be finite numbers")
    if levels.by_context and len(levels.by_context) != window:
        raise CheckpointError(
            f"{where}: by_context has {len(levels.by_context)} entries, the window {window} frames"
        )
    if (clip := levels.clip) is not None and not (len(clip) == 2 and clip[0] <= 0 < clip[1]):
        raise CheckpointError(
            f"{where}: clip must be a floor of at most 0 and a ceiling above it, got {clip}"
        )

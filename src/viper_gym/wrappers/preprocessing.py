"""Do the frames of this environment look like those the model was trained on?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from viper_gym.errors import PreprocessingMismatch
from viper_gym.types import RESIZED

VIEWED = ("image_size", "camera", "fovy")
DRAWN = (*VIEWED[1:], "free_camera", "robot", "render_quality", "action_repeat")
"""what a bundle records of videos that a suite drew"""
DARK = 1  # grey levels: pictures in 0…1 that were made uint8 have no more


def check_preprocessing(actual: dict[str, Any] | None, recorded: dict[str, Any], task: str) -> None:
    """Compare what the environment says of its frames with what the bundle records.

    Of environments that say nothing (no `preprocessing` attribute, a dict) only the size and dtype
    of their frames can be checked, when these come: that is warned of where the bundle says how its
    videos were drawn. Where a bundle says nothing and the environment has a choice of views (a
    converted checkpoint in a suite's id) that is warned of, too.

    Raises:
        PreprocessingMismatch: naming both values.
    """
    drawn = {name: recorded[name] for name in DRAWN if name in recorded}
    if not isinstance(actual, dict):  # None, or something of the user's by that name
        if drawn:
            warnings.warn(
                f"this environment does not say how its frames are drawn; the model's videos of "
                f"'{task}' have {_listed(drawn)}. Frames drawn otherwise (another view, quality, "
                "action repeat or way of resizing) are paid otherwise, up to an expert's reward "
                "for playing at random. Who knows them to be alike says so with an attribute of "
                f"the (vector) environment: preprocessing = {drawn}",
                stacklevel=4,
            )
        return
    if "fovy" in actual and not recorded.keys() - {RESIZED}:
        shown = _listed(actual)
        warnings.warn(
            f"this checkpoint does not say how its videos of '{task}' were drawn, this environment "
            f"draws with {shown}. If they had another view or action repeat, make the environment "
            "with that (gym.make(…, view={…}, render_quality=…, action_repeat=…): of a view "
            f"{', '.join(n for n in VIEWED if n in actual)}, as far as the suite lets one choose)",
            stacklevel=4,
        )
    keys = set(recorded) & set(actual)
    if "camera" in keys:  # who says where it looks from says these only where they are so
        keys |= (recorded.keys() | actual.keys()) & {"free_camera", "see_through"}
    different = [
        f"{key}: the model was trained with {recorded.get(key)!r}, the environment has "
        f"{actual.get(key)!r}"
        for key in sorted(keys)
        if recorded.get(key) != actual.get(key)
    ]
    if different:
        hint = (
            " (to decide less often, hold actions outside the reward: viper_gym.wrappers.hold)"
            if any(line.startswith("action_repeat") for line in different)
            else ""
        )
        raise PreprocessingMismatch(
            f"frames of '{task}' would not look like the training videos; "
            + "; ".join(different)
            + hint
        )


def warn_of_frames(
    frames: np.ndarray, recorded: dict[str, Any], image_size: int, task: str
) -> None:
    """Say so where an environment's first frames can hardly be what the model was trained on.

    Args:
        frames: uint8 (m, H, W, 3), as they come.
        recorded: what the bundle says of the task's videos.
        image_size: of the model, pixels a side.
    """
    if frames.dtype != np.uint8:  # refused elsewhere
        return
    if frames.size and frames.max() <= DARK:
        warnings.warn(
            f"the first frames of '{task}' are black (no value above {DARK} of 255), and black "
            "pictures may be paid more than an expert's. Pictures in 0…1 have to be multiplied by "
            "255 before they are made uint8; a renderer without OpenGL may draw nothing",
            stacklevel=5,
        )
    came, resized = list(frames.shape[1:3]), recorded.get(RESIZED)
    if resized is not None and came == [image_size] * 2 != list(resized):
        height, width = resized
        warnings.warn(
            f"the model's videos of '{task}' were resized from {height}x{width}, this environment "
            f"draws {came[0]}x{came[1]} itself: that looks otherwise, and is paid otherwise (an "
            "expert's reward may be far below what doing nothing should get). Let it draw "
            f'{height}x{width} (width= and height= of gym.make; view={{"image_size": {height}}} of '
            "a viper/ id), which is resized as the videos were",
            stacklevel=5,
        )


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())

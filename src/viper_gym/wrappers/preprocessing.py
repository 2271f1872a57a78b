"""Do the frames of this environment look like those the model was trained on?"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from viper_gym.errors import FrameMismatch, PreprocessingMismatch


def check_preprocessing(actual: dict[str, Any] | None, recorded: dict[str, Any], task: str) -> None:
    """Compare what the environment says of its frames with what the bundle records.

    Environments that say nothing (no `preprocessing` attribute) are only checked for the
    size and dtype of their frames, when these come.

    Raises:
        PreprocessingMismatch: naming both values.
    """
    if actual is None:
        return
    different = [
        f"{key}: the model was trained with {recorded[key]!r}, the environment has {actual[key]!r}"
        for key in sorted(set(recorded) & set(actual))
        if recorded[key] != actual[key]
    ]
    if different:
        raise PreprocessingMismatch(
            f"frames of '{task}' would not look like the training videos; " + "; ".join(different)
        )


def observation_is_image(space: gym.Space[Any]) -> bool:
    """uint8 (H, W, 3)."""
    return (
        isinstance(space, gym.spaces.Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[-1] == 3
    )


def rendered_frame(env: gym.Env[Any, Any]) -> np.ndarray:
    """A copy of what `render()` shows.

    Raises:
        FrameMismatch: render() gives no array (wrong render_mode).
    """
    frame = env.render()
    if not isinstance(frame, np.ndarray):
        raise FrameMismatch(
            "the observation is no image, so frames come from render(), which returned "
            f"{type(frame).__name__}: make the environment with render_mode='rgb_array'"
        )
    return np.array(frame)

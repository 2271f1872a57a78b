"""Do the frames of this environment look like those the model was trained on?"""

from __future__ import annotations

import warnings
from typing import Any

from viper_gym.errors import PreprocessingMismatch
from viper_gym.types import RESIZED


def check_preprocessing(actual: dict[str, Any] | None, recorded: dict[str, Any], task: str) -> None:
    """Compare what the environment says of its frames with what the bundle records.

    Environments that say nothing (no `preprocessing` attribute) are only checked for the
    size and dtype of their frames, when these come. Where a bundle says nothing and the environment
    has a choice of views (a converted checkpoint in a suite's id) that is warned of.

    Raises:
        PreprocessingMismatch: naming both values.
    """
    if not isinstance(actual, dict):  # None, or something of the user's by that name
        return
    if "fovy" in actual and not recorded.keys() - {RESIZED}:
        shown = ", ".join(f"{name} {value}" for name, value in actual.items())
        warnings.warn(
            f"this checkpoint does not say how its videos of '{task}' were drawn, this environment "
            f"draws with {shown}. If they had another view, make the environment with that "
            '(gym.make(…, view={"camera": 0, "fovy": None}, render_quality="full"))',
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

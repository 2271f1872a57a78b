"""Do the frames of this environment look like those the model was trained on?"""

from __future__ import annotations

from typing import Any

from viper_gym.errors import PreprocessingMismatch


def check_preprocessing(actual: dict[str, Any] | None, recorded: dict[str, Any], task: str) -> None:
    """Compare what the environment says of its frames with what the bundle records.

    Environments that say nothing (no `preprocessing` attribute) are only checked for the
    size and dtype of their frames, when these come.

    Raises:
        PreprocessingMismatch: naming both values.
    """
    if actual is None:
        return
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
        raise PreprocessingMismatch(
            f"frames of '{task}' would not look like the training videos; " + "; ".join(different)
        )

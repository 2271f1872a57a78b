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
    different = [
        f"{key}: the model was trained with {recorded[key]!r}, the environment has {actual[key]!r}"
        for key in sorted(set(recorded) & set(actual))
        if recorded[key] != actual[key]
    ]
    if different:
        raise PreprocessingMismatch(
            f"frames of '{task}' would not look like the training videos; " + "; ".join(different)
        )

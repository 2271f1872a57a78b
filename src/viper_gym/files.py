"""Files that a run leaves behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from viper_gym.errors import TrainingError

PREVIOUS = "previous"


def replace_text(path: Path, text: str) -> None:
    """Write a whole file anew; where that fails, what it held before stays.

    Raises:
        OSError: it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # of a full disk, it takes room
        raise


def set_aside(checkpoint: Path, *patterns: str) -> None:
    """Move what an earlier run left into the folder `previous` beside its checkpoint.

    A new run that was not meant loses nothing, and its pictures do not mix with old ones. One
    earlier run is kept. Nothing happens where there is no checkpoint: such files are of a run that
    did not come to one, and would replace those of the last which did.

    Args:
        checkpoint: moved last; an interrupted move is gone on with by the next.
        patterns: of names beside it, as `Path.glob` takes them.

    Raises:
        TrainingError: nothing can be moved, or `previous` is something else.
    """
    if not checkpoint.exists():
        return
    folder = checkpoint.parent
    kept, moving = folder / PREVIOUS, folder / f"{PREVIOUS}.partial"
    if kept.exists() and not (kept / checkpoint.name).exists():
        raise TrainingError(
            f"{kept} is no earlier run (no {checkpoint.name} in it), and one is to be moved there: "
            "rename it, or train into another folder"
        )
    try:
        moving.mkdir(exist_ok=True)
        for path in (p for pattern in patterns for p in sorted(folder.glob(pattern))):
            if (moving / path.name).is_dir():  # of a move that was interrupted
                shutil.rmtree(moving / path.name)
            os.replace(path, moving / path.name)
        os.replace(checkpoint, moving / checkpoint.name)
        if kept.exists():
            shutil.rmtree(kept)
        os.replace(moving, kept)
    except OSError as error:
        raise TrainingError(f"cannot move an earlier run into {kept}: {error}") from error

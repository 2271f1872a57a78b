"""Files that a run leaves behind."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def set_aside(checkpoint: Path, *patterns: str) -> None:
    """Move what an earlier run left into the folder `previous` beside its checkpoint.

    A new run that was not meant loses nothing, and its pictures do not mix with old ones. One
    earlier run is kept. Nothing happens where there is no checkpoint: such files are of a run that
    did not come to one, and would replace those of the last which did.

    Args:
        checkpoint: moved last, so that an interrupted move is made up for by the next.
        patterns: of names beside it, as `Path.glob` takes them.
    """
    if not checkpoint.exists():
        return
    folder = checkpoint.parent
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    shutil.rmtree(folder / "previous", ignore_errors=True)
    (folder / "previous").mkdir()
    for path in [*found, checkpoint]:
        os.replace(path, folder / "previous" / path.name)

"""Files that a run leaves behind."""

from __future__ import annotations

import os
from pathlib import Path


def set_aside(checkpoint: Path, log: Path) -> None:
    """Rename what an earlier run left to NAME.previous: a new one that was not meant loses nothing.

    One of each is kept. Nothing happens where there is no checkpoint: such a log is of a run that
    did not come to one, and would replace that of the last which did.
    """
    if checkpoint.exists():
        for path in (log, checkpoint):
            if path.exists():
                os.replace(path, path.with_name(f"{path.name}.previous"))

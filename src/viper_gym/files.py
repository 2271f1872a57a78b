"""Files that a run leaves behind."""

from __future__ import annotations

import os
from pathlib import Path


def set_aside(path: Path) -> None:
    """Rename what an earlier run left to NAME.previous: a new one that was not meant loses nothing.

    One is kept; nothing happens where there is no such file.
    """
    if path.exists():
        os.replace(path, path.with_name(f"{path.name}.previous"))

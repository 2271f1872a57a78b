"""How runs and bundles that are compared are called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def distinct_names(paths: Sequence[str | Path]) -> list[str]:
    """The last parts of paths, as few as tell them apart: runs/a/bundle -> bundle, or a/bundle."""
    # a link keeps its own name, "." gets one
    parts = [Path(os.path.abspath(p) if Path(p).exists() else p).parts for p in paths]
    for count in range(1, max(map(len, parts), default=0)):
        names = ["/".join(p[-count:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(p) for p in paths]

"""sha256 of files: `checkpoints.json` pins with them what a repository holds."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest(path: Path) -> str:
    """sha256 of a file, as hex; "no file" where there is none."""
    if not path.is_file():
        return "no file"
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def wrong_files(folder: Path, sha256: dict[str, str]) -> dict[str, str]:
    """File name -> what is wrong with it, for those of `sha256` that differ or are missing."""
    found = {name: digest(folder / name) for name in sha256}
    return {
        name: f"expected {sha256[name]}, found {is_now}"
        for name, is_now in found.items()
        if is_now != sha256[name]
    }

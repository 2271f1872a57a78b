"""`checkpoints.json`: which bundle serves which suite."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path


@dataclass(frozen=True)
class CheckpointEntry:
    """One row of `checkpoints.json`."""

    suite: str
    tasks: tuple[str, ...]
    bundled: str | None = None
    """folder below `viper_gym/assets` that serves offline"""
    repo_id: str | None = None
    """Hub repository; None until one is published"""
    revision: str | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    """file name -> hex digest, checked when the pinned revision is loaded"""


def _index_text() -> str:
    packaged = resources.files("viper_gym") / "checkpoints.json"
    if packaged.is_file():
        return packaged.read_text()
    # In an editable install the file is still at the top of the project.
    return (Path(__file__).parents[3] / "checkpoints.json").read_text()


def read_index() -> dict[str, CheckpointEntry]:
    """Suite name -> entry."""
    rows = json.loads(_index_text())
    return {
        suite: CheckpointEntry(suite, tuple(row.pop("tasks")), **row) for suite, row in rows.items()
    }

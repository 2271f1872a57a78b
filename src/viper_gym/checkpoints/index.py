"""`checkpoints.json`: which bundles serve which suite."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from viper_gym.errors import UnknownTask

logger = logging.getLogger("viper_gym")


@dataclass(frozen=True)
class CheckpointEntry:
    """One row of `checkpoints.json`."""

    alias: str
    """its name wherever a checkpoint is asked for"""
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
    """Alias -> entry. A suite's first bundle has the suite's name; the others say theirs."""
    rows = json.loads(_index_text())
    return {
        alias: CheckpointEntry(alias, row.pop("suite", alias), tuple(row.pop("tasks")), **row)
        for alias, row in rows.items()
    }


def entry_of(suite: str, task: str) -> CheckpointEntry | None:
    """What serves a task of a suite; None where nothing does."""
    entries = read_index().values()
    return next((e for e in entries if e.suite == suite and task in e.tasks), None)


def warn_of_others(checkpoint: str) -> None:
    """Log that the name of a suite with several bundles is taken for the first of them."""
    others = [e for e in read_index().values() if e.suite == checkpoint != e.alias]
    if others:
        own = ", ".join(read_index()[checkpoint].tasks)
        served = ", ".join(task for entry in others for task in entry.tasks)
        logger.warning(
            "'%s' without a task is the bundle of %s; pass task= for those of %s",
            checkpoint, own, served,
        )  # fmt: skip


def warn_of_first(checkpoint: str) -> None:
    """Log that what is done with the name of a suite is done with the first of its bundles."""
    others = [e for e in read_index().values() if e.suite == checkpoint != e.alias]
    if others:
        own = ", ".join(read_index()[checkpoint].tasks)
        named = "; ".join(f"'{e.alias}': {', '.join(e.tasks)}" for e in others)
        logger.warning(
            "'%s' is one bundle of several, that of %s; the others go by their own names (%s)",
            checkpoint, own, named,
        )  # fmt: skip


def audited_tasks(checkpoint: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Tasks of a checkpoint that are audited if none are named: those of its row, else all.

    A bundle may know tasks that a later one serves better, with another expert than its own.
    """
    entry = read_index().get(checkpoint)
    return known if entry is None else entry.tasks


def unknown_task(known: tuple[str, ...], task: str | None) -> UnknownTask:
    """The error for a task that a bundle has no class for, naming the bundle that has one."""
    if task is None:
        return UnknownTask(f"this bundle knows several tasks: choose one of {', '.join(known)}")
    aliases = [f"'{alias}'" for alias, entry in read_index().items() if task in entry.tasks]
    hint = f", which is in {' and '.join(aliases)}" if aliases else ""
    return UnknownTask(f"this bundle knows the tasks {', '.join(known)}; got {task!r}{hint}")

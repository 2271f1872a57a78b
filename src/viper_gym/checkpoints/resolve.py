"""How the name of a checkpoint becomes a folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from viper_gym.checkpoints.bundle import CONFIG
from viper_gym.checkpoints.hub_options import HubOptions
from viper_gym.checkpoints.index import CheckpointEntry, entry_of, read_index
from viper_gym.errors import CheckpointError, HubUnavailable

logger = logging.getLogger("viper_gym")


def resolve(
    checkpoint: str | Path,
    revision: str | None = None,
    options: HubOptions | None = None,
    task: str | Sequence[str | None] | None = None,
) -> Path:
    """The folder of a checkpoint: an alias, an existing folder, or a Hub repository.

    A folder with the name of an alias is given as a path, "./dmc" or a `Path`: the ids of a suite
    must not depend on what lies in the working directory. The folder that is returned is absolute,
    so that its name is no alias either.

    Args:
        task: what it is for, one or several; of a suite with several bundles the one that serves
            them is taken, without any its first.

    Raises:
        CheckpointError: none of them, or the Hub's answer (see `hub.download`); the tasks are
            served by different bundles.
    """
    if not str(checkpoint):  # would be the working folder
        raise CheckpointError("expected the name of a checkpoint, got an empty one")
    options = options or HubOptions()
    entry = read_index().get(checkpoint) if isinstance(checkpoint, str) else None
    if entry is not None and (Path(checkpoint) / CONFIG).is_file():
        logger.warning(
            "'%s' is taken for the checkpoint of that name; the folder beside it is './%s'",
            checkpoint, checkpoint,
        )  # fmt: skip
    if entry is None and Path(checkpoint).is_dir():
        if revision is not None:
            raise CheckpointError(f"{checkpoint} is a folder, which has no revision '{revision}'")
        return Path(checkpoint).absolute()
    if entry is not None:
        if checkpoint == entry.suite:
            entry = _serves(entry, [task] if isinstance(task, str) else task or [])
        return _of_entry(entry, revision, options)
    if isinstance(checkpoint, Path):
        raise CheckpointError(f"{checkpoint}: no such folder")
    if checkpoint.count("/") == 1 and not checkpoint.startswith((".", "/", "~")):
        return _download(checkpoint, revision, options, {})
    raise CheckpointError(
        f"'{checkpoint}' is neither a folder, nor an alias ({', '.join(read_index())}), "
        "nor a Hub repository (owner/name)"
    )


def _serves(first: CheckpointEntry, tasks: Sequence[str | None]) -> CheckpointEntry:
    """The bundle of a suite for some tasks; the first for those that none serves."""
    found = {t: entry_of(first.suite, t) or first for t in tasks if t is not None}
    names = {entry.alias for entry in found.values()}
    if len(names) > 1:
        which = ", ".join(f"{task} by '{entry.alias}'" for task, entry in found.items())
        raise CheckpointError(
            f"expected tasks of one bundle, got {which}: take them one at a time, or name a bundle"
        )
    return next(iter(found.values()), first)


def resolve_to_write(checkpoint: str, task: str | Sequence[str | None] | None = None) -> Path:
    """The folder of a checkpoint whose config is going to be changed.

    Raises:
        CheckpointError: see `resolve`; or it is the Hub's, whose cache keeps commits as they are.
    """
    folder = resolve(checkpoint, task=task)
    named = checkpoint in read_index() or not Path(checkpoint).is_dir()
    above = folder.resolve().parent  # a link to the cache is the cache
    cached = above.name == "snapshots" and above.parent.name.startswith("models--")
    if not is_bundled(folder) and (named or cached):
        raise CheckpointError(
            f"'{checkpoint}' is a copy of what the Hub has, which is not to be changed: write it "
            f"to a folder first (VideoRewardModel.from_pretrained('{checkpoint}').save_pretrained("
            "'FOLDER')), and give that"
        )
    return folder


def is_bundled(folder: Path) -> bool:
    """Whether a bundle's folder is part of this package."""
    return Path(str(resources.files("viper_gym") / "assets")).resolve() in folder.resolve().parents


def _of_entry(entry: CheckpointEntry, revision: str | None, options: HubOptions) -> Path:
    if entry.repo_id is not None:
        # the digests are those of the pinned revision
        hashes = entry.sha256 if revision in (None, entry.revision) else {}
        try:
            return _download(entry.repo_id, revision or entry.revision, options, hashes)
        except HubUnavailable as error:
            # any other failure, or a revision that was asked for, must not become another model
            if entry.bundled is None or revision is not None:
                raise
            logger.warning("%s; using the bundled small checkpoint instead", error)
    elif revision is not None:
        raise CheckpointError(
            f"checkpoint '{entry.alias}' is not on the Hub yet, so it has no revision "
            f"'{revision}': leave the revision out to get the bundled model"
        )
    folder = bundled_folder(entry.alias)
    logger.info("'%s': using the bundled checkpoint %s", entry.alias, entry.bundled)
    return folder


def bundled_folder(alias: str) -> Path:
    """The checkpoint of an alias that comes with this package and needs no network.

    Raises:
        CheckpointError: it has none.
    """
    bundled = read_index()[alias].bundled
    if bundled is None:
        raise CheckpointError(f"'{alias}' has neither a repository nor a bundled model")
    return Path(str(resources.files("viper_gym") / "assets" / bundled))


def _download(
    repo_id: str, revision: str | None, options: HubOptions, sha256: dict[str, str]
) -> Path:
    from viper_gym.checkpoints.hub import download  # the client takes long to import

    return download(repo_id, revision, options, sha256)

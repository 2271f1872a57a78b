"""`checkpoints.json`: which bundle serves which suite, and how a name becomes a folder."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from viper_gym.errors import CheckpointError, HubUnavailable

logger = logging.getLogger("viper_gym")


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


@dataclass(frozen=True)
class HubOptions:
    """How the Hub is asked, and where its files are kept; the names are the Hub client's."""

    cache_dir: str | Path | None = None
    """None: the client's own, `HF_HUB_CACHE`"""
    token: str | bool | None = field(default=None, repr=False)
    """None: that of `hf auth login` or `HF_TOKEN`; False: none"""
    local_files_only: bool = False
    """send no request; `HF_HUB_OFFLINE=1` does the same"""
    force_download: bool = False
    """fetch the files although they are in the cache"""


class PushedBundle(NamedTuple):
    """What a push made; with `commit` and `sha256` a row of `checkpoints.json` pins it."""

    url: str
    """of the commit, or of the pull request"""
    commit: str
    sha256: dict[str, str]
    """file name -> hex digest of what was sent"""


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


def resolve(
    checkpoint: str, revision: str | None = None, options: HubOptions | None = None
) -> Path:
    """The folder of a checkpoint: an existing folder, a suite's alias, or a Hub repository.

    Raises:
        CheckpointError: none of them, or the Hub's answer; see `hub.download`.
    """
    options = options or HubOptions()
    if Path(checkpoint).is_dir():
        return Path(checkpoint)
    entry = read_index().get(checkpoint)
    if entry is not None:
        return _of_entry(entry, revision, options)
    if checkpoint.count("/") == 1 and not checkpoint.startswith((".", "/", "~")):
        return _download(checkpoint, revision, options, {})
    raise CheckpointError(
        f"'{checkpoint}' is neither a folder, nor a suite ({', '.join(read_index())}), "
        "nor a Hub repository (owner/name)"
    )


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
            f"suite '{entry.suite}' is not on the Hub yet, so it has no revision '{revision}': "
            "leave the revision out to get the bundled model"
        )
    folder = bundled_folder(entry.suite)
    logger.info("suite '%s': using the bundled checkpoint %s", entry.suite, entry.bundled)
    return folder


def bundled_folder(suite: str) -> Path:
    """The checkpoint of a suite that comes with this package and needs no network.

    Raises:
        CheckpointError: the suite has none.
    """
    bundled = read_index()[suite].bundled
    if bundled is None:
        raise CheckpointError(f"suite '{suite}' has neither a repository nor a bundled model")
    return Path(str(resources.files("viper_gym") / "assets" / bundled))


def _download(
    repo_id: str, revision: str | None, options: HubOptions, sha256: dict[str, str]
) -> Path:
    from viper_gym.checkpoints.hub import download  # the client takes long to import

    return download(repo_id, revision, options, sha256)

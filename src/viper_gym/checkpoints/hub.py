"""The Hugging Face Hub; with `hub_failures` the only file that imports its client.

Only a bundle's own files are fetched or sent. A failure says repository, revision, files and
what to do, and leaves nothing behind that a second attempt would trip over.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    constants,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.utils import EntryNotFoundError, get_session

from viper_gym.checkpoints.bundle import CARD, CONFIG, TOKENIZER, VIDEO_MODEL, load_bundle
from viper_gym.checkpoints.card import is_generated, licence_of, model_card, pictures_of
from viper_gym.checkpoints.digests import wrong_files
from viper_gym.checkpoints.hub_failures import HUB_FAILURES, explain
from viper_gym.checkpoints.hub_options import HubOptions, PushedBundle
from viper_gym.errors import CheckpointError, HubUnavailable

logger = logging.getLogger("viper_gym")

_REQUIRED = (CONFIG, TOKENIZER, VIDEO_MODEL)
_WITHOUT_HUB = (
    ", or pass a local folder; local_files_only=True or HF_HUB_OFFLINE=1 keep to what is in the "
    "cache"
)
_TIMEOUT = 10.0  # seconds until a silent Hub counts as unreachable


class HubSettings(NamedTuple):
    """What huggingface_hub read from the environment."""

    cache: Path
    endpoint: str
    offline: bool


def hub_settings() -> HubSettings:
    """Where downloads are kept, where they come from, and whether they are switched off."""
    return HubSettings(
        Path(constants.HF_HUB_CACHE), constants.ENDPOINT, bool(constants.HF_HUB_OFFLINE)
    )


def head(url: str, timeout: float) -> int:
    """HTTP status of a HEAD request; `timeout` in seconds to connect, and to read."""
    return int(get_session().head(url, timeout=timeout).status_code)


@dataclass(frozen=True)
class _Source:
    """One revision of one repository, and how to get at it."""

    repo_id: str
    revision: str
    options: HubOptions

    def __str__(self) -> str:
        return f"'{self.repo_id}' at revision '{self.revision}'"

    def missing(self) -> list[str]:
        """The files of the bundle that the cache lacks."""
        return [name for name in _REQUIRED if self._cached(name) is None]

    def folder(self) -> Path | None:
        """The snapshot in the cache, if it is complete; asks nobody."""
        config = self._cached(CONFIG)
        return config.parent if config is not None and not self.missing() else None

    def _cached(self, name: str) -> Path | None:
        found = try_to_load_from_cache(
            self.repo_id, name, cache_dir=self.options.cache_dir, revision=self.revision
        )
        return Path(found) if isinstance(found, str) else None

    def newest(self) -> str | None:
        """The commit that the Hub has under the revision: one request."""
        api = HfApi(token=self.options.token)
        return api.model_info(self.repo_id, revision=self.revision, timeout=_TIMEOUT).sha

    def fetch(
        self,
        files: Iterable[str] = (*_REQUIRED, CARD),
        force: bool = False,
        commit: str | None = None,
    ) -> Path:
        """Download; the client resumes a broken transfer and moves whole files into the cache.

        The client notes the new commit of a branch before it has the files; where these break off,
        it would forget the commit before. Given the new `commit`, its files are fetched first.
        """
        try:
            for revision in dict.fromkeys((commit or self.revision, self.revision)):
                folder = snapshot_download(
                    self.repo_id,
                    revision=revision,
                    cache_dir=self.options.cache_dir,
                    token=self.options.token,
                    force_download=force and revision == (commit or self.revision),
                    allow_patterns=list(files),
                )
        except HUB_FAILURES as error:
            raise self.failure(error) from error
        if missing := self.missing():
            raise CheckpointError(
                f"{self} on {constants.ENDPOINT} has no {', '.join(missing)}: it is not a bundle, "
                "or an unfinished one. Check the name and the revision"
            )
        return Path(folder)

    def failure(self, error: BaseException) -> CheckpointError:
        files = ", ".join(self.missing() or _REQUIRED)
        where = f"{self} from {constants.ENDPOINT} (there is no folder of that name)"
        return explain(error, f"could not get {files} of {where}", _WITHOUT_HUB)


def download(
    repo_id: str,
    revision: str | None = None,
    options: HubOptions | None = None,
    sha256: dict[str, str] | None = None,
) -> Path:
    """The folder of a bundle, fetched into the Hub cache where it is not there yet.

    A commit that is in the cache is used without a request. A branch or tag is looked up; if the
    Hub cannot be reached, the cached snapshot of it serves, with a line in the log.

    Args:
        repo_id: owner/name.
        revision: branch, tag or commit; None is "main".
        options: see `HubOptions`.
        sha256: file name -> hex digest. A file of the cache that differs is fetched anew, once.

    Raises:
        HubUnavailable: no answer, or none allowed, and no complete copy in the cache.
        CheckpointError: no such repository, revision or file, no permission, or a wrong digest.
    """
    options = options or HubOptions()
    source = _Source(repo_id, revision or constants.DEFAULT_REVISION, options)
    offline = options.local_files_only or constants.HF_HUB_OFFLINE
    folder = _locate(source, offline)
    wrong = wrong_files(folder, sha256 or {})
    if wrong and not offline:
        logger.warning("%s: %s differs from its sha256, fetching it anew", source, ", ".join(wrong))
        try:
            folder = source.fetch(wrong, force=True)
        except HubUnavailable as error:
            raise _wrong_hash(source, folder, wrong) from error
        wrong = wrong_files(folder, sha256 or {})
    if wrong:
        raise _wrong_hash(source, folder, wrong)
    return folder


def _locate(source: _Source, offline: bool) -> Path:
    force = source.options.force_download
    if offline and force:
        raise CheckpointError(
            f"{source}: force_download needs the Hub, which local_files_only or HF_HUB_OFFLINE "
            "forbids"
        )
    try:
        known = source.folder()
    except ValueError as error:  # the client refuses the name
        raise CheckpointError(f"'{source.repo_id}' cannot be a repository: {error}") from error
    if force:
        known = None
    if known is not None and (offline or re.fullmatch("[0-9a-f]{40}", source.revision)):
        return known  # what a commit holds never changes
    if offline:
        raise HubUnavailable(
            f"{source}: {', '.join(source.missing())} not in the cache, and no request is allowed. "
            "Unset local_files_only and HF_HUB_OFFLINE once to fetch it, or pass a local folder"
        )
    try:
        commit = source.newest()
    except HUB_FAILURES as error:
        failure = source.failure(error)
        if known is None or not isinstance(failure, HubUnavailable):
            raise failure from error
        logger.warning(
            "the Hub cannot be reached (%s); using the cached commit %s of %s",
            type(error).__name__, known.name, source,
        )  # fmt: skip
        return known
    if known is not None and known.name == commit:
        return known
    return source.fetch(force=force, commit=commit if known is not None else None)


def _wrong_hash(source: _Source, folder: Path, wrong: dict[str, str]) -> CheckpointError:
    files = "; ".join(f"{folder / name}: {what}" for name, what in wrong.items())
    return CheckpointError(
        f"{source} is not what checkpoints.json pins by sha256 ({files}). The file is damaged or "
        "was replaced: delete it, or load again with the Hub in reach, which fetches it anew; if "
        "that does not help, do not use the repository"
    )


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    commit_message: str | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    license: str | None = None,
) -> PushedBundle:
    """Publish a bundle folder in one commit; repository and branch are made if need be.

    Config, weights, card and its pictures are sent, nothing else that may lie in the folder. A
    bundle without a card gets one.

    Args:
        folder: the bundle; it must load, strictly and with finite weights.
        repo_id: owner/name.
        private: of a repository that is made; None is the owner's default.
        commit_message: None names the tasks.
        token: with write permission; None takes that of `hf auth login` or `HF_TOKEN`.
        revision: branch; None is "main".
        create_pr: open a pull request instead.
        license: the Hub's identifier of a licence, for the card that is made. None keeps that of
            the bundle's card, or of the repository's.

    Raises:
        CheckpointError: the folder is no sound bundle (then nothing was sent), or the Hub refuses.
        HubUnavailable: the Hub cannot be reached; no part of the bundle was published.
    """
    if create_pr and revision not in (None, constants.DEFAULT_REVISION):
        raise CheckpointError("create_pr opens a pull request against main: leave revision out")
    if repo_id.count("/") != 1:
        raise CheckpointError(f"repository: expected owner/name, got '{repo_id}'")
    bundle = load_bundle(folder)
    made = bundle.card is None or is_generated(bundle.card)
    if license is not None and not made:
        raise CheckpointError(
            f"the bundle has a model card: put the licence into the metadata of its {CARD} instead"
        )
    sent = (*_REQUIRED, *pictures_of(folder))
    contents = {name: (folder / name).read_bytes() for name in sent}
    api = HfApi(token=token)
    try:
        if not create_pr:
            api.create_repo(repo_id, private=private, exist_ok=True)
            if revision not in (None, constants.DEFAULT_REVISION):
                api.create_branch(repo_id, branch=str(revision), exist_ok=True)
        card = bundle.card
        if made:  # a new one does not change the licence
            before = licence_of(bundle.card or "") or _published_licence(api, repo_id, revision)
            card = model_card(bundle.config, repo_id, license or before, pictures_of(folder))
        contents[CARD] = str(card).encode("utf-8")
        commit = api.create_commit(
            repo_id,
            [CommitOperationAdd(name, content) for name, content in contents.items()],
            commit_message=commit_message
            or f"Video reward model of {', '.join(bundle.config.tasks)}",
            revision=revision,
            create_pr=create_pr,
        )
    except HUB_FAILURES as error:
        target = f"'{repo_id}' (revision '{revision or constants.DEFAULT_REVISION}')"
        doing = f"could not push {folder} to {target} on {constants.ENDPOINT}"
        raise explain(error, doing) from error
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    return PushedBundle(commit.pr_url or commit.commit_url, commit.oid, hashes)


def _published_licence(api: HfApi, repo_id: str, revision: str | None) -> str | None:
    """The licence that a repository's card names, if there is one."""
    with TemporaryDirectory() as apart:  # the cache would take a lone card for the newest version
        try:
            card = api.hf_hub_download(repo_id, CARD, revision=revision, local_dir=apart)
        except EntryNotFoundError:
            return None
        return licence_of(Path(card).read_text("utf-8"))

"""The Hub's cache, and whether the Hub can be reached."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from viper_gym.diagnosis.findings import ChildFailed, Finding, in_child

REACH_SECONDS = 4.0
ROOM = 2e9  # bytes; a checkpoint of the paper's size has a tenth of it


def check(timeout: float) -> list[Finding]:
    """Look at the cache of this user and ask the Hub's front page.

    Args:
        timeout: seconds; a Hub that answers later counts as out of reach.
    """
    from viper_gym.checkpoints.hub import hub_settings

    settings = hub_settings()
    return [
        *check_cache(settings.cache, needed=not settings.offline),
        *check_reach(settings.endpoint, settings.offline, timeout),
    ]


def check_cache(cache: Path, needed: bool = True) -> list[Finding]:
    """Size of the cache, its disk's free room, and whether a file can be written.

    Args:
        needed: whether downloads will be tried; else a cache that is read-only is only noted.
    """
    size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file() and not f.is_symlink())
    existing = next(p for p in (cache, *cache.parents) if p.is_dir())
    free = shutil.disk_usage(existing).free
    found = f"{cache}: {size / 1e6:.0f} MB, {free / 1e9:.1f} GB free on its disk"
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        todo = "export HF_HOME=<a folder of yours>"
        status = "problem" if needed else "note"
        return [Finding("hub cache", status, f"{found}; not writable ({error.strerror})", todo)]  # type: ignore[arg-type]
    if free < ROOM:
        todo = "make room, or export HF_HOME=<a folder on another disk>"
        return [Finding("hub cache", "note", f"{found}: little room", todo)]
    return [Finding("hub cache", "ok", found)]


def check_reach(endpoint: str, offline: bool, timeout: float) -> list[Finding]:
    """Does the Hub answer? Being offline is no fault: the bundled checkpoints need no network."""
    serves = "the bundled checkpoints and what is in the cache still work"
    if offline:
        return [Finding("hub", "note", f"HF_HUB_OFFLINE is set: {serves}")]
    try:  # in a child: looking up a name may outlast every timeout
        status = in_child(f"{__name__}:ask", endpoint, timeout=min(timeout, REACH_SECONDS + 20))
    except ChildFailed as error:
        todo = "if you need other checkpoints: check network and proxy, or pass a local folder"
        reason = str(error)[:160]
        return [Finding("hub", "note", f"{endpoint} is out of reach ({reason}): {serves}", todo)]
    if status >= 400:
        todo = "a proxy or HF_ENDPOINT may be in the way"
        return [Finding("hub", "note", f"{endpoint} answers with status {status}: {serves}", todo)]
    return [Finding("hub", "ok", f"{endpoint} answers")]


def ask(endpoint: str) -> int:
    """HTTP status of the Hub's front page; to be run in a child."""
    from viper_gym.checkpoints.hub import head

    return head(endpoint, REACH_SECONDS)

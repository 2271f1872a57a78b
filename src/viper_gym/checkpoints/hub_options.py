"""What goes into a request to the Hub, and what a push gives back; no client needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple


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

    def __post_init__(self) -> None:
        if self.cache_dir is not None:  # one of the client's functions would take "~" as a name
            object.__setattr__(self, "cache_dir", Path(self.cache_dir).expanduser())


class PushedBundle(NamedTuple):
    """What a push made; with `commit` and `sha256` a row of `checkpoints.json` pins it."""

    url: str
    """of the commit, or of the pull request"""
    commit: str
    sha256: dict[str, str]
    """file name -> hex digest of what was sent"""

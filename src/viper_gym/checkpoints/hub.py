"""The Hugging Face Hub; the only file that imports huggingface_hub."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import get_session

from viper_gym.checkpoints.bundle import CARD, CONFIG, TOKENIZER, VIDEO_MODEL
from viper_gym.errors import CheckpointError


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


def download(repo_id: str, revision: str | None) -> Path:
    """Fetch a bundle into the Hub cache (or find it there); returns its folder.

    Raises:
        CheckpointError: naming repository and revision, and what to do.
    """
    files = [CONFIG, TOKENIZER, VIDEO_MODEL, CARD]
    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=files))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise CheckpointError(
            f"could not get '{repo_id}' at revision '{revision or 'main'}' from the Hub "
            f"({type(error).__name__}). Check the name and the network, or pass a local folder"
        ) from error

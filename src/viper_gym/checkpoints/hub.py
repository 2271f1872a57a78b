"""The Hugging Face Hub; the only file that imports huggingface_hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from viper_gym.checkpoints.bundle import CARD, CONFIG, TOKENIZER, VIDEO_MODEL
from viper_gym.errors import CheckpointError


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

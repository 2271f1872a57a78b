"""Where a picture is to go: said before a model runs for it."""

from __future__ import annotations

from pathlib import Path

from viper_gym.errors import VideoDataError


def check_out(out: Path, *kinds: str) -> None:
    """Make the folder of a picture.

    Raises:
        VideoDataError: a folder, or a kind of file that pictures are not written to.
    """
    if out.is_dir() or out.suffix.lower() not in kinds:
        raise VideoDataError(f"--out: expected a file ({', '.join(kinds)}), got {out}")
    out.parent.mkdir(parents=True, exist_ok=True)

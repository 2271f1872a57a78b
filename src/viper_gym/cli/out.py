"""Where a picture is to go: said before a model runs for it."""

from __future__ import annotations

from pathlib import Path

from viper_gym.errors import VideoDataError


def check_out(out: Path, *kinds: str, video: Path) -> None:
    """Make the folder of a picture.

    Args:
        video: what is read, which the picture must not replace.

    Raises:
        VideoDataError: a folder, a kind of file that pictures are not written to, the video, or a
            place in the folder that it is.
    """
    if out.is_dir() or out.suffix.lower() not in kinds:
        raise VideoDataError(f"--out: expected a file ({', '.join(kinds)}), got {out}")
    if out.exists() and video.exists() and out.samefile(video):
        raise VideoDataError(f"--out: {out} is the video itself: name another file")
    if video.is_dir() and out.absolute().parent.resolve() == video.resolve():
        raise VideoDataError(
            f"--out: {out} would be a picture of the video {video} from then on: name another place"
        )
    out.parent.mkdir(parents=True, exist_ok=True)

"""Any folder of videos as training data: one sub-folder a task.

A task folder may hold npz (array `frames`), mp4/avi/mkv/webm/gif files, and sub-folders of
PNG or JPEG pictures (each one video, in natural order of the names), at any depth. Lossless
input is best: codes of a lossy mp4 differ from those of live frames.
"""

from __future__ import annotations

import logging
import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from viper_gym.data.episodes import Episode
from viper_gym.data.masks import load_masks
from viper_gym.errors import VideoDataError
from viper_gym.pictures import resize, resize_all
from viper_gym.types import RESIZED

logger = logging.getLogger("viper_gym")

MOVIES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".gif")
PICTURES = (".png", ".jpg", ".jpeg")
LOSSY = (".mp4", ".avi", ".webm", ".mov", ".gif", ".jpg", ".jpeg")
RESTS = 1.8  # times a frame's time: a picture of a movie that is shown for longer is at rest
LONGEST = 1000  # frames of one picture: what is beyond is a fault in the file's times
# the last two are Pillow's, of broken pictures
UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, struct.error)
FRONT = "front_rgb"  # RLBench: <task>/variation0/episodes/episode0/front_rgb/12.png


def natural_key(path: Path) -> list[int | str]:
    """Sort key under which frame_2 comes before frame_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def read_video(path: Path, image_size: int | None = None) -> Episode:
    """Read one video: an npz, a movie file or a folder of pictures.

    Args:
        image_size: resize to this square size by area averaging (`meta` then says what from).

    Raises:
        VideoDataError: unreadable, or no frame in it.
    """
    if path.suffix.lower() == ".npz":
        return resized(Episode.load(path), image_size)
    try:
        pictures = _pictures(path) if path.is_dir() else _movie(path)
        # each at once: a movie at its own size may not fit in memory
        sizes: set[tuple[int, ...]] = set()
        frames = [_noted(f, sizes, image_size) for f in pictures]
    except VideoDataError:
        raise
    except UNREADABLE as error:
        raise VideoDataError(f"{path}: not a readable video ({error})") from error
    if not frames:
        raise VideoDataError(f"{path}: no frame in it")
    if len(sizes) > 1 and image_size is None:
        raise VideoDataError(f"{path}: frames of different sizes")
    size = list(sizes.pop()[:2])
    same = image_size is None or bool(sizes) or size == [image_size, image_size]
    return Episode(
        np.stack(frames), None, {"source": path.name, **({} if same else {RESIZED: size})}
    )


def resized(episode: Episode, size: int | None) -> Episode:
    """The episode at another square size, in pixels (`meta` says what from); None keeps its own."""
    frames = episode.frames
    pictures = frames.ndim == 4 and frames.dtype == np.uint8 and frames.shape[-1] == 3
    if size is None or not pictures or frames.shape[1:3] == (size, size):
        return episode  # of what are no pictures its user says so
    meta = {**episode.meta, RESIZED: list(frames.shape[1:3])}
    return Episode(resize_all(frames, size), episode.rewards, meta)


def _noted(frame: np.ndarray, sizes: set[tuple[int, ...]], size: int | None) -> np.ndarray:
    sizes.add(frame.shape)
    return frame if size is None else resize(frame, size)


def _movie(path: Path) -> Iterator[np.ndarray]:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoDataError(f"{path}: no picture in it, only sound")
            times = _times_shown(path)
            for number, frame in enumerate(container.decode(video=0)):
                picture = frame.to_ndarray(format="rgb24")
                for _ in range(times[number] if number < len(times) else 1):
                    yield picture
    except av.FFmpegError as error:  # not all of them are OSErrors
        raise VideoDataError(f"{path}: not a readable video ({error})") from error


def _times_shown(movie: Path) -> list[int]:
    """For how many frames each picture of a movie stands: files leave out what does not change.

    Most pictures are shown for one frame's time. Who is shown for nearly two or more stands for so
    many: frame rates that do not fit a file's clock make steps of one and a half.
    """
    import av

    with av.open(str(movie)) as container:
        told = [(p.pts, p.duration or 0) for p in container.demux(video=0) if p.pts is not None]
    told.sort()
    lasts = np.diff([begin for begin, _ in told]).astype(float)
    frame = float(np.median(lasts)) if len(lasts) > 1 else 0.0
    if not frame > 0:
        return [1] * len(told)
    lasts = np.append(lasts, told[-1][1]) / frame
    times = [round(last) if last >= RESTS else 1 for last in lasts]
    if max(times) > LONGEST:
        logger.warning(
            "%s: a picture is shown for %d frames' time; %d are read", movie, max(times), LONGEST
        )
    return [min(time, LONGEST) for time in times]


def _pictures(folder: Path) -> Iterator[np.ndarray]:
    for file in sorted(filter(_is_picture, folder.iterdir()), key=natural_key):
        try:
            picture = np.asarray(_eight_bits(Image.open(file)).convert("RGB"))
        except UNREADABLE as error:
            raise VideoDataError(f"{file}: not a readable picture ({error})") from error
        yield picture


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in PICTURES and not file.name.startswith(".")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey pictures of 16 bits are scaled (Pillow would cut all that is above 255)."""
    if not picture.mode.startswith("I"):
        return picture
    return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))


def warn_of_lossy(videos: Iterable[Path]) -> None:
    """Say so, once, if videos have been compressed with loss."""
    lossy = sorted({kind for video in videos if (kind := _loss(video))})
    if lossy:
        logger.warning(
            "%s videos have lost detail, and the codes of live frames differ from theirs: rewards "
            "of the one from a model or a scale of the other can be far off, in silence. Record "
            "npz (array 'frames') or PNG where you can",
            ", ".join(lossy),
        )


def _loss(video: Path) -> str:
    """The lossy kind of file that a video is kept in; "" for a lossless one."""
    names = [f.name for f in video.iterdir()] if video.is_dir() else [video.name]
    return next((kind for n in names if (kind := Path(n).suffix.lower()) in LOSSY), "")


def _below(folder: Path) -> Iterator[Path]:
    """Everything in a folder that is not hidden, also behind links to other folders."""
    walked: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(root)) in walked:  # a link that leads back
            folders.clear()
            continue
        walked.add(real)
        # .ipynb_checkpoints, macOS's ._clip.mp4
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = [name for name in files if not name.startswith(".")]
        yield from (Path(root) / name for name in (*folders, *files))


def find_videos(folder: Path) -> list[Path]:
    """Every video below a folder, in natural order.

    Of a demonstration that RLBench saved, the front camera alone: depth, masks and the other
    cameras beside it are no videos of the task.
    """
    found: list[Path] = []
    for path in sorted(_below(folder), key=natural_key):
        if path.name != FRONT and (path.parent / FRONT).is_dir():
            continue
        if path.is_file() and path.suffix.lower() in (".npz", *MOVIES):
            found.append(path)
        elif path.is_dir() and any(map(_is_picture, path.iterdir())):
            found.append(path)
    return found


def load_folder(
    folder: Path,
    image_size: int,
    min_frames: int,
    on_video: Callable[[Path], None] = lambda path: None,
) -> dict[str, list[Episode]]:
    """Load `folder/<task>/…` into memory: task -> episodes, behind their mask (`data.masks`).

    Raises:
        VideoDataError: no task folder, a task without videos, frames of another size, a video
            shorter than `min_frames`, or an unusable mask; the message names the file.
    """
    if not folder.is_dir():
        raise VideoDataError(
            f"{folder}: no such folder (`viper-gym collect --out {folder}` records some)"
        )
    tasks = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not tasks:
        raise VideoDataError(
            f"{folder}: expected one sub-folder a task ({folder.name}/walk/1.npz, …), found none"
        )
    masks = load_masks(folder, image_size)
    loaded: dict[str, list[Episode]] = {}
    found = {task: find_videos(task) for task in tasks}
    warn_of_lossy(path for paths in found.values() for path in paths)
    for task, paths in found.items():
        if not paths:
            raise VideoDataError(
                f"{task}: no videos (npz, {', '.join(MOVIES)}, or a folder of pictures for each, "
                f"{task.name}/1/0.png, …)"
            )
        for path in paths:
            episode = read_video(path, image_size)
            _check_episode(episode, path, image_size, min_frames)
            if task.name in masks:
                episode.frames *= masks[task.name][..., None]
            loaded.setdefault(task.name, []).append(episode)
            on_video(path)
    return loaded


def _check_episode(episode: Episode, path: Path, image_size: int, min_frames: int) -> None:
    shape, dtype = episode.frames.shape, episode.frames.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[1:] != (image_size, image_size, 3):
        raise VideoDataError(
            f"{path}: expected uint8 frames (T, {image_size}, {image_size}, 3), got {dtype} {shape}"
        )
    if shape[0] < min_frames:
        raise VideoDataError(
            f"{path}: {shape[0]} frames, expected {min_frames} or more (a window of L frames that "
            "are s steps apart spans (L - 1) s + 1, a tokenizer compares two)"
        )

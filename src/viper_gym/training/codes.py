"""From videos to what a video model trains on: codes, and what is recorded of the pictures."""

from __future__ import annotations

import logging
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from viper_gym.checkpoints.weights import frozen
from viper_gym.data.episodes import Episode
from viper_gym.data.masks import recorded_masks
from viper_gym.data.videos import load_folder
from viper_gym.errors import TrainingError
from viper_gym.models.frames import to_input
from viper_gym.models.patch_vq import PatchVQ
from viper_gym.models.precision import own_precision
from viper_gym.models.tokenizer import FrameTokenizer
from viper_gym.types import RESIZED

logger = logging.getLogger("viper_gym")

PREPROCESSING_KEYS = (
    "image_size",
    "camera",
    "fovy",
    "free_camera",
    "see_through",
    "render_quality",
    "action_repeat",
    "robot",
)


@torch.inference_mode()
def encode_episodes(
    tokenizer: FrameTokenizer, episodes: list[Episode], task: int, batch: int = 128
) -> list[np.ndarray]:
    """Codes of every frame: one int16 (T, h, w) an episode (int32 of very large codebooks)."""
    shape: Any = tokenizer.config
    kind = np.int16 if shape.codebook_size <= np.iinfo(np.int16).max + 1 else np.int32
    encoded = []
    device = next(tokenizer.parameters()).device
    for episode in episodes:
        frames = torch.from_numpy(episode.frames)
        parts = []
        for part in frames.split(batch):
            index = torch.full((len(part),), task, device=device)
            with own_precision(device):  # as in use: another precision, other codes
                parts.append(tokenizer.encode(to_input(part.to(device)), index))
        encoded.append(torch.cat(parts).cpu().numpy().astype(kind))
    return encoded


def encode_play(
    folder: Path,
    tokenizer: FrameTokenizer,
    tasks: tuple[str, ...],
    masks: dict[str, Any],
    min_frames: int,
    preprocessing: dict[str, dict[str, Any]],
) -> dict[str, list[np.ndarray]]:
    """Codes of unskilled play of every task: "TASK (play)" -> episodes, in the order of tasks.

    Raises:
        VideoDataError: the folder is unusable.
        TrainingError: it has other tasks, other masks than the experts' videos, or was recorded
            in another way (`preprocessing`, by task), so that the model would learn to tell that.
    """
    shape: Any = tokenizer.config
    episodes = load_folder(folder, shape.image_size, min_frames=min_frames)
    if recorded_masks(folder, shape.image_size) != masks:
        raise TrainingError(
            f"{folder} has other masks than the experts' videos (mask.png beside a task's): copy "
            "them there"
        )
    if tuple(episodes) != tasks:
        raise TrainingError(
            f"the experts' videos have the tasks {tasks}, {folder} {tuple(episodes)}"
        )
    for task, played in recorded_preprocessing(episodes).items():
        known = preprocessing[task]
        for key in (played.keys() & known.keys()) | {RESIZED}:  # not resized is known, too
            if played.get(key) != known.get(key):
                raise TrainingError(
                    f"{task}: {folder} was recorded with {key} {played.get(key)}, the experts' "
                    f"videos with {known.get(key)}: what would be learned is the difference"
                )
    return {
        f"{task} (play)": encode_episodes(tokenizer, items, number)
        for number, (task, items) in enumerate(episodes.items())
    }


def warn_of_unskilled(episodes: dict[str, list[Episode]], folder: Path) -> None:
    """Say so if videos that are to be experts' were recorded of something else (`collect`)."""
    told = {str(e.meta.get("behaviour", "expert")) for items in episodes.values() for e in items}
    if others := sorted(told - {"diverse", "expert"}):
        logger.warning(
            "%s: videos of %s are learned as an expert's; unskilled play belongs to --play, what "
            "is to be judged by to `evaluate`",
            folder, ", ".join(others),
        )  # fmt: skip


def warn_of_single(episodes: dict[str, list[Episode]], folder: Path) -> None:
    """Say so if no video of a task can be held out."""
    if single := [task for task, items in episodes.items() if len(items) == 1]:
        logger.warning(
            "%s: one video only of %s: held-out figures, and the weights that are chosen by them, "
            "are of the video that is learned",
            folder, ", ".join(single),
        )  # fmt: skip


def recorded_preprocessing(
    episodes: dict[str, list[Episode]], unseen: tuple[str, ...] = ()
) -> dict[str, dict[str, Any]]:
    """What the episodes of each task say of their camera; what none of them says is left out.

    Tasks without videos are to be seen as all others are, where those agree.

    Raises:
        TrainingError: two episodes of a task were recorded in different ways.
    """
    found: dict[str, dict[str, Any]] = {}
    for task, items in episodes.items():
        known = found.setdefault(task, {})
        sizes = [e.meta.get(RESIZED) for e in items]
        if sizes[0] and all(size == sizes[0] for size in sizes):
            known[RESIZED] = sizes[0]  # frames of that size are resized in use, too
        elif any(sizes):
            logger.warning(
                "%s: videos of several sizes were resized to one; render at the model's own size",
                task,
            )
        for key in PREPROCESSING_KEYS:
            for meta in (e.meta for e in items if key in e.meta):
                if meta[key] != known.setdefault(key, meta[key]):
                    raise TrainingError(
                        f"{task}: videos were recorded with {key} {known[key]} and {meta[key]}; "
                        "expected one way of looking at a task"
                    )
    first = next(iter(found.values()))
    shared = {k: v for k, v in first.items() if all(f.get(k) == v for f in found.values())}
    return {**found, **{task: dict(shared) for task in unseen}}


def fingerprint(videos: dict[str, list[np.ndarray]]) -> dict[str, str]:
    """What a run resumed must share with the run it continues: by task, its videos in words.

    Args:
        videos: frames or codes of episodes, by task.
    """
    words = {}
    for task, items in videos.items():
        check = 0
        for item in items:
            check = zlib.crc32(np.ascontiguousarray(item).data, check)
        words[task] = f"{len(items)} videos, {sum(map(len, items))} frames ({check:08x})"
    return words


def serve(tokenizer: FrameTokenizer, tasks: int) -> FrameTokenizer:
    """The tokenizer, able to encode this many tasks; further ones share the others' background.

    Raises:
        TrainingError: it holds backgrounds that differ, so that a further one cannot be known.
    """
    if not isinstance(tokenizer, PatchVQ) or len(tokenizer.background) == tasks:
        return tokenizer
    one = tokenizer.background[:1]
    if not torch.equal(tokenizer.background, one.expand_as(tokenizer.background)):
        raise TrainingError(
            "tasks without videos have no background picture of their own: train the tokenizer "
            "with --shared-background"
        )
    wider = PatchVQ(replace(tokenizer.config, num_tasks=tasks))
    wider.load_state_dict({**tokenizer.state_dict(), "background": one.repeat(tasks, 1, 1, 1)})
    return frozen(wider)


@torch.no_grad()
def round_to_half(tokenizer: FrameTokenizer) -> None:
    """To what float16 keeps, before anything is encoded: of two codes that are nearly one, a
    rounded tokenizer may take the other, in every cell of the background."""
    for weight in (*tokenizer.parameters(), *tokenizer.buffers()):
        if weight.is_floating_point():
            weight.copy_(weight.half())

"""Train the autoregressive video model on the codes of expert videos (paper section 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from viper_gym.checkpoints.bundle import (
    TOKENIZER,
    Bundle,
    BundleConfig,
    holds_weights,
    load_tokenizer,
    read_config,
    save_bundle,
)
from viper_gym.checkpoints.digests import digest
from viper_gym.data.clips import (
    hold_end,
    split_episodes,
    with_play,
)
from viper_gym.data.masks import recorded_masks
from viper_gym.data.videos import load_folder
from viper_gym.errors import TrainingError, require_between, require_not_negative, require_positive
from viper_gym.models.composition import sums_of_words
from viper_gym.models.videogpt import VideoGPTConfig
from viper_gym.training.codes import (
    encode_episodes,
    encode_play,
    fingerprint,
    recorded_preprocessing,
    round_to_half,
    serve,
    warn_of_single,
    warn_of_unskilled,
)
from viper_gym.training.loop import Loop, LoopConfig, make_accelerator, precision_of
from viper_gym.training.video_model_steps import VideoModelSteps

# Two layers behind a local view of the two frames before reach in 237 s on one core less than
# half the loss that four layers without it have after 370 s (docs/decisions.md).
SMALL = VideoGPTConfig(
    sequence_length=8, embed_dim=128, mlp_dim=512, num_heads=2, num_layers=2, local_frames=2
)


@dataclass(frozen=True)
class VideoModelTraining:
    """Settings of `viper-gym train video-model`."""

    data: Path = Path("data/train")
    """folder with one sub-folder of videos a task"""
    tokenizer: Path = Path("runs/tokenizer")
    """folder that `train tokenizer` wrote"""
    model: VideoGPTConfig = field(default_factory=lambda: SMALL)
    """grid, codebook and classes are taken from the tokenizer and the data"""
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(out=Path("runs/video-model")))
    frame_stride: int = 2
    """environment steps between the frames of a window"""
    batch_size: int = 8
    """windows"""
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    frozen_context: float = 0.25
    """share of training windows that begin with copies of a later frame, so that the model
    learns what experts do after standing still (`data.altered_windows.replace_context`)"""
    empty_context: float = 0.1
    """share of training windows that begin with the empty picture or one that lacks a part, so
    that staying out of view is not taken for what experts do"""
    waiting: float = 0.0
    """share of training windows that hold an episode's first picture before it begins, so that
    the model learns that experts do not wait"""
    any_code: float = 0.0
    """share of training windows in which still cells show any code, so that what is at rest is
    copied even where no video shows it (`data.altered_windows.show_any_code`)"""
    still_end: int = 0
    """last frames of every episode that are taken to be its last picture: experts at rest there may
    still creep by a pixel, which would teach that nothing ever rests"""
    last_frames: int = 0
    """learn from this many frames at the end of every episode (0: from all of it): an expert's way
    begins where anybody's does, and who learns the way is paid for not setting out"""
    play: Path | None = None
    """folder like `data` with videos of unskilled play of the same tasks (`collect --behaviour
    random`, …). The model learns those beside the experts', and frames are scored by how much
    likelier they are among experts: ln p(x | experts) - ln p(x | play), so that what makes any
    video likely (nothing moves, little is in view) is worth nothing. With `last_frames`, what
    experts leave behind counts as play, too. The paper has no such thing; every frame is scored
    twice"""
    tampered: float = 0.0
    """with `play`: share of the windows of play that are experts' own, held still or in any order
    (`WindowSampler.tampered`), so that ratios of several frames see motion; contexts of play are
    not replaced then"""
    ema_decay: float = 0.998
    """of the weights that are evaluated and written (averaged over the last steps)"""
    keep_best: bool = True
    """write the weights of the evaluation with the lowest held-out loss, not the last ones: a
    model that goes on learning a few videos by heart finds other ones ever less likely"""
    half: bool = False
    """store the bundle's weights as float16, half the size; audit the bundle afterwards"""
    compile: bool = False
    """compile the network: a slow start, then faster steps"""
    init: Path | None = None
    """bundle to start from (fine-tuning); its video model must have the same shape"""
    compositional: bool = False
    """names of tasks are words ("panda_door": an arm and what it does), and what is learned of each
    word serves every task that has it (`models.composition`)"""
    unseen: tuple[str, ...] = ()
    """with `compositional`: further tasks that the bundle is to serve, without any video of them"""

    def __post_init__(self) -> None:
        require_positive(
            batch_size=self.batch_size,
            frame_stride=self.frame_stride,
            learning_rate=self.learning_rate,
        )
        require_between(
            0,
            1,
            frozen_context=self.frozen_context,
            empty_context=self.empty_context,
            waiting=self.waiting,
            any_code=self.any_code,
            tampered=self.tampered,
            ema_decay=self.ema_decay,
        )
        shape = self.model
        require_positive(
            embed_dim=shape.embed_dim,
            mlp_dim=shape.mlp_dim,
            num_heads=shape.num_heads,
            num_layers=shape.num_layers,
        )
        require_between(0, 1, dropout=shape.dropout)
        require_not_negative(weight_decay=self.weight_decay, local_frames=shape.local_frames)
        require_between(0, math.inf, last_frames=self.last_frames, still_end=self.still_end)


def train_video_model(config: VideoModelTraining) -> Path:
    """Train to the end (or the time limit); returns the bundle folder (`out/bundle`).

    Raises:
        VideoDataError: the data folder is unusable.
        CheckpointError: the tokenizer folder is.
        TrainingError: the output folder is, or a resume does not fit.
    """
    from viper_gym import __version__

    kind, known, trained_behind, tokenizer = load_tokenizer(config.tokenizer)
    shape: Any = tokenizer.config
    span = (config.model.sequence_length - 1) * config.frame_stride + 1
    _check(config, span)
    episodes = load_folder(config.data, shape.image_size, min_frames=span)
    warn_of_unskilled(episodes, config.data)
    warn_of_single(episodes, config.data)
    shown = tuple(episodes)
    if shown != known:
        raise TrainingError(f"the tokenizer knows the tasks {known}, the data has {shown}")
    tasks, sums = (*shown, *config.unseen), _sums(config, shown)
    tokenizer = serve(tokenizer, len(tasks))
    if config.half:
        round_to_half(tokenizer)
    shape = tokenizer.config
    given = {
        "grid_size": shape.grid_size,
        "codebook_size": shape.codebook_size,
        "codebook_dim": shape.codebook_dim,
        "num_classes": len(tasks) * (1 if config.play is None else 2),
    }
    _refuse_others(config.model, given)
    config = replace(config, model=replace(config.model, **given))
    settings = _Settings(
        digest(config.tokenizer / TOKENIZER),
        config.model,
        config.frame_stride,
        config.batch_size,
        config.learning_rate,
        config.frozen_context,
        config.empty_context,
        config.waiting,
        config.any_code,
        config.tampered,
        config.still_end,
        config.last_frames,
        config.play is not None,
        config.compositional,
        config.unseen,
        config.half,
        config.weight_decay,
        config.ema_decay,
    )
    masks = recorded_masks(config.data, shape.image_size)
    earlier = {config.tokenizer: trained_behind}
    if config.init is not None:
        earlier[config.init] = read_config(config.init).masks
    for folder, others in earlier.items():
        if others != masks:
            raise TrainingError(
                f"{folder} was trained behind other masks than those in {config.data} (mask.png "
                "beside a task's videos): copy them there"
            )
    accelerator = make_accelerator(config.loop)
    loop = Loop(config.loop, "video model", settings, precision_of(accelerator))
    tokenizer = tokenizer.to(accelerator.device)
    codes = {t: encode_episodes(tokenizer, e, n) for n, (t, e) in enumerate(episodes.items())}
    try:
        hold_end(codes, config.still_end)
    except ValueError as error:
        raise TrainingError(f"--still-end: {error}") from error
    preprocessing = recorded_preprocessing(episodes, config.unseen)
    split = split_episodes(codes)
    if config.play is not None:
        play = encode_play(config.play, tokenizer, shown, masks, span, preprocessing)
        codes |= play
        split = with_play(split, split_episodes(play), config.last_frames, span)
    del episodes  # the frames are large; from here on only codes are needed
    trainable = VideoModelSteps(config, split, tokenizer, sums, accelerator)
    bundle_folder = config.loop.out / "bundle"

    def write() -> None:
        bundle = Bundle(
            BundleConfig(
                tokenizer_type=kind,
                tokenizer=shape,
                video_model=config.model,
                tasks=tasks,
                frame_stride=config.frame_stride,
                preprocessing=preprocessing,
                masks=masks,
                contrast=config.play is not None,
                library_version=__version__,
            ),
            tokenizer,
            trainable.result(),
        )
        dtype = torch.float16 if config.half else torch.float32
        if not holds_weights(bundle_folder, bundle, dtype):  # else a finished run was resumed
            save_bundle(bundle, bundle_folder, dtype)

    loop.run(trainable, write, fingerprint(codes), results=(bundle_folder.name,))
    return bundle_folder


def _check(config: VideoModelTraining, span: int) -> None:
    """Options that do not go together are a `TrainingError`; `span`: frames of a window."""
    if 0 < config.last_frames < span:
        raise TrainingError(
            f"--last-frames: expected {span} or more (what a window spans), got "
            f"{config.last_frames}"
        )
    out = config.loop.out.absolute()
    if config.init is not None and out in config.init.absolute().parents:
        raise TrainingError(
            f"--init {config.init} lies in --out {config.loop.out}, where this run replaces it: "
            "train into another folder"
        )
    if config.tampered and config.play is None:
        raise TrainingError("--tampered is a share of the windows of play: it goes with --play")


def _refuse_others(asked: VideoGPTConfig, given: dict[str, int]) -> None:
    """Asking for what the tokenizer and the data decide is a `TrainingError`."""
    for name, value in given.items():
        if getattr(asked, name) not in (getattr(SMALL, name), value):
            raise TrainingError(
                f"{name}: asked for {getattr(asked, name)}, the tokenizer and the data have "
                f"{value}: leave it out"
            )


def _sums(config: VideoModelTraining, shown: tuple[str, ...]) -> Tensor | None:
    twice = set(config.unseen) & set(shown)
    if twice or (config.unseen and not config.compositional):
        why = f"there is video of {', '.join(sorted(twice))}" if twice else "not compositional"
        raise TrainingError(f"unseen tasks {', '.join(config.unseen)}: {why}")
    if not config.compositional:
        return None
    try:
        sums = sums_of_words((*shown, *config.unseen), shown)
    except ValueError as error:
        raise TrainingError(f"--compositional: {error}") from error
    return sums if config.play is None else torch.block_diag(sums, sums)  # play has its own words


@dataclass(frozen=True)
class _Settings:
    """What a resumed run must share with the run it continues."""

    tokenizer: str
    """sha256 of its weights: codes of another one mean something else"""
    model: VideoGPTConfig
    frame_stride: int
    batch_size: int
    learning_rate: float
    frozen_context: float
    empty_context: float
    waiting: float
    any_code: float
    tampered: float
    still_end: int
    last_frames: int
    contrast: bool
    compositional: bool
    unseen: tuple[str, ...]
    half: bool
    """codes of a rounded tokenizer differ"""
    weight_decay: float
    ema_decay: float

"""Train the autoregressive video model on the codes of expert videos (paper section 3.1)."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from viper_gym.checkpoints.bundle import (
    TOKENIZER,
    VIDEO_MODEL,
    Bundle,
    BundleConfig,
    load_tokenizer,
    load_weights,
    read_config,
    save_bundle,
)
from viper_gym.checkpoints.digests import digest
from viper_gym.data.clips import (
    WindowSampler,
    beginnings,
    empty_codes,
    hold_end,
    replace_context,
    show_any_code,
    skip_beginnings,
)
from viper_gym.data.masks import recorded_masks
from viper_gym.data.videos import load_folder
from viper_gym.errors import TrainingError
from viper_gym.models.composition import compose_classes, sums_of_words
from viper_gym.models.frames import to_uint8
from viper_gym.models.tokenizer import FrameTokenizer
from viper_gym.models.videogpt import VideoGPT, VideoGPTConfig
from viper_gym.training.best_weights import BestWeights
from viper_gym.training.codes import encode_episodes, recorded_preprocessing, serve
from viper_gym.training.loop import Loop, LoopConfig, learning_rate, make_accelerator

RISEN = 1.02  # times the lowest held-out loss; less is noise of an evaluation
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
    learns what experts do after standing still (`data.clips.replace_context`)"""
    empty_context: float = 0.1
    """share of training windows that begin with the empty picture or one that lacks a part, so
    that staying out of view is not taken for what experts do"""
    waiting: float = 0.0
    """share of training windows that hold an episode's first picture before it begins, so that
    the model learns that experts do not wait"""
    any_code: float = 0.0
    """share of training windows in which still cells show any code, so that what is at rest is
    copied even where no video shows it (`data.clips.show_any_code`)"""
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


class _Trainable:
    def __init__(
        self,
        config: VideoModelTraining,
        codes: dict[str, list[np.ndarray]],
        tokenizer: FrameTokenizer,
        sums: Tensor | None,
        accelerator: Accelerator,
    ):
        self._config, self._sums, self._accelerator = config, sums, accelerator
        device = accelerator.device
        model = VideoGPT(config.model).to(device)
        model.codebook.copy_(tokenizer.quantizer.codebook)
        decay: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for parameter in model.parameters():
            (decay if parameter.ndim >= 2 else plain).append(parameter)
        optimizer = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": config.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            config.learning_rate,
            betas=(0.9, 0.95),
        )
        if config.init is not None:
            load_weights(model, config.init / VIDEO_MODEL)
            codebook = tokenizer.quantizer.codebook.to(device)
            if not _same(codebook, model.codebook):
                raise TrainingError(
                    f"{config.init} was trained on another tokenizer than {config.tokenizer}"
                )
        if sums is not None:
            compose_classes(model, sums)
        self.model = model
        self.ema = copy.deepcopy(model).requires_grad_(False)
        self._forward: Any = torch.compile(model.log_prob) if config.compile else model.log_prob
        self._optimizer = self._accelerator.prepare(optimizer)
        self._best, self._last = BestWeights(self.ema), float("inf")
        self.modules: dict[str, nn.Module] = {"model": model, "ema": self.ema, "best": self._best}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"model": optimizer}
        self._tokenizer = tokenizer
        held_out = {t: c[-max(1, len(c) // 10) :] for t, c in codes.items()}
        train = {t: c[: -max(1, len(c) // 10)] or c for t, c in codes.items()}
        c = config
        self._pictured = len(codes) // (1 if c.play is None else 2)  # tasks of the tokenizer
        self._empty = empty_codes(codes)  # (tasks, h, w)
        window = c.model.sequence_length, c.frame_stride, self._empty
        self._sampler = WindowSampler(
            train, *window, c.loop.seed, c.waiting, self._skipped(train, c.last_frames)
        )
        self._held_out = WindowSampler(
            held_out, *window, 12345, skipped=self._skipped(held_out, c.last_frames)
        )

    def _skipped(self, codes: dict[str, list[np.ndarray]], last: int) -> dict[str, list[int]]:
        experts = list(codes)[: self._pictured]  # play has no end that would matter
        return {task: skip_beginnings(codes[task], last) for task in experts}

    def train_step(self, step: int, progress: float) -> dict[str, float]:
        c = self._config
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(c.learning_rate, step, progress)
        self.model.train()
        windows, numbers, bare, begun = self._sampler.batch(step, c.batch_size)
        rng = np.random.default_rng((c.loop.seed, step, 1))
        windows = show_any_code(windows, c.any_code, c.model.codebook_size, rng)
        windows, counted = replace_context(
            windows, c.frozen_context, c.empty_context, self._empty[numbers], bare, rng
        )
        codes, tasks = self._tensors((windows, numbers))
        weights = torch.from_numpy(counted * begun).to(codes.device)  # (B, L)
        with self._accelerator.autocast():
            per_frame = -self._forward(codes, tasks).mean((2, 3))  # (B, L)
        loss = (per_frame * weights).sum() / weights.sum()
        self._optimizer.zero_grad(set_to_none=True)
        self._accelerator.backward(loss)
        norm = self._accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        if self._sums is not None:
            compose_classes(self.model, self._sums)
        self._average(step)
        return {"train/nats_per_token": loss.item(), "train/grad_norm": float(norm)}

    @torch.no_grad()
    def _average(self, step: int) -> None:
        # early steps are forgotten faster, so a short run is not dragged down by them
        decay = min(self._config.ema_decay, (1 + step) / (10 + step))
        for average, current in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            average.lerp_(current.to(average.dtype), 1.0 - decay)

    def _tensors(self, batch: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor | None]:
        device = self._accelerator.device
        tasks = torch.from_numpy(batch[1]).to(device) if self._config.model.num_classes else None
        return torch.from_numpy(batch[0]).to(device), tasks

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Held-out nats a token of the averaged weights: over all frames, the last one, the lowest.

        These weights are kept if they are the best so far.

        Raises:
            TrainingError: the loss is not finite.
        """
        metrics: dict[str, list[float]] = {}
        self.ema.eval()
        for step in range(4):
            codes, tasks, *_ = self._held_out.batch(step, 8 * len(self._held_out.tasks))
            numbers = tasks
            tensor, index = self._tensors((codes, tasks))
            with self._accelerator.autocast():
                loss = -self.ema.log_prob(tensor, index)
            for i, number in enumerate(numbers):
                task = self._held_out.tasks[number]
                metrics.setdefault(f"held_out/{task}/nats_per_token", []).append(
                    float(loss[i].mean())
                )
                metrics.setdefault(f"held_out/{task}/last_frame", []).append(
                    float(loss[i, -1].mean())
                )
            metrics.setdefault("held_out/nats_per_token", []).append(float(loss.mean()))
        means = {name: float(np.mean(values)) for name, values in metrics.items()}
        held_out = means["held_out/nats_per_token"]
        if not np.isfinite(held_out):  # the best weights would stay those of an earlier step
            raise TrainingError("the held-out loss is not finite; lower learning_rate")
        self._best.consider(self.ema, held_out)
        self._last = held_out
        return {**means, "held_out/best": float(self._best.loss)}

    def result(self) -> VideoGPT:
        """The weights that the bundle holds; warns where they are not the last ones."""
        best = float(self._best.loss)
        if self._last > RISEN * best:
            kept = "the bundle has the weights" if self._config.keep_best else "not kept are those"
            warnings.warn(
                f"the held-out loss has risen from {best:.4g} to {self._last:.4g} nats a token: "
                f"{kept} of the former. More videos would help, more training would not",
                stacklevel=2,
            )
        return self._best.network if self._config.keep_best else self.ema

    @torch.no_grad()
    def picture(self) -> np.ndarray:
        """Open-loop rollouts from half a window (right) under the real frames, a pair a task."""
        self.ema.eval()
        n = len(self._held_out.tasks)
        codes, tasks, *_ = self._held_out.batch(n, n)  # one window a task
        tensor, index = self._tensors((codes, tasks))
        half = self._config.model.sequence_length // 2
        drawn = self.ema.generate(tensor[:, :half], tensor.shape[1] - half, index)
        imagined = torch.cat([tensor[:, :half], drawn], 1)
        rows = []
        for number, (real, dream) in enumerate(zip(tensor, imagined, strict=True)):
            task = int(tasks[number]) % self._pictured
            index = torch.full((len(real),), task, device=real.device)
            for row in (real, dream):
                rows.append(np.concatenate(list(to_uint8(self._tokenizer.decode(row, index))), 1))
        return np.concatenate(rows, 0).repeat(2, 0).repeat(2, 1)


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
    if 0 < config.last_frames < span:
        raise TrainingError(
            f"--last-frames: expected {span} or more (what a window spans), got "
            f"{config.last_frames}"
        )
    if config.play is not None and config.compositional:
        raise TrainingError("--play and --compositional do not go together")
    episodes = load_folder(config.data, shape.image_size, min_frames=span)
    shown = tuple(episodes)
    if shown != known:
        raise TrainingError(f"the tokenizer knows the tasks {known}, the data has {shown}")
    tasks, sums = (*shown, *config.unseen), _sums(config, shown)
    tokenizer = serve(tokenizer, len(tasks))
    if config.half:
        _round(tokenizer)
    shape = tokenizer.config
    config = replace(
        config,
        model=replace(
            config.model,
            grid_size=shape.grid_size,
            codebook_size=shape.codebook_size,
            codebook_dim=shape.codebook_dim,
            num_classes=len(tasks) * (1 if config.play is None else 2),
        ),
    )
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
        config.still_end,
        config.last_frames,
        config.play is not None,
        config.compositional,
        config.unseen,
        config.half,
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
    loop = Loop(config.loop, "video model", settings)
    accelerator = make_accelerator(config.loop)
    tokenizer = tokenizer.to(accelerator.device)
    codes = {t: encode_episodes(tokenizer, e, n) for n, (t, e) in enumerate(episodes.items())}
    try:
        hold_end(codes, config.still_end)
    except ValueError as error:
        raise TrainingError(f"--still-end: {error}") from error
    if config.play is not None:
        play = _codes_of_play(config, config.play, tokenizer, shown, masks, span)
        for task, skilled in zip(tuple(play), tuple(codes), strict=True):
            play[task] = beginnings(codes[skilled], config.last_frames, span) + play[task]
        codes |= play
    preprocessing = recorded_preprocessing(episodes, config.unseen)
    del episodes  # the frames are large; from here on only codes are needed
    trainable = _Trainable(config, codes, tokenizer, sums, accelerator)
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
        save_bundle(bundle, bundle_folder, torch.float16 if config.half else torch.float32)

    loop.run(trainable, write)
    return bundle_folder


def _codes_of_play(
    config: VideoModelTraining,
    folder: Path,
    tokenizer: FrameTokenizer,
    tasks: tuple[str, ...],
    masks: dict[str, Any],
    span: int,
) -> dict[str, list[np.ndarray]]:
    """Codes of the play of every task, under names that follow the tasks' in `codes`."""
    shape: Any = tokenizer.config
    if recorded_masks(folder, shape.image_size) != masks:
        raise TrainingError(
            f"{folder} has other masks than {config.data} (mask.png beside a task's videos): "
            "copy them there"
        )
    episodes = load_folder(folder, shape.image_size, min_frames=span)
    if tuple(episodes) != tasks:
        raise TrainingError(f"{config.data} has the tasks {tasks}, {folder} has {tuple(episodes)}")
    return {
        f"{task} (play)": encode_episodes(tokenizer, items, number)
        for number, (task, items) in enumerate(episodes.items())
    }


@torch.no_grad()
def _round(tokenizer: FrameTokenizer) -> None:
    """To what float16 keeps, before anything is encoded: of two codes that are nearly one, a
    rounded tokenizer may take the other, in every cell of the background."""
    for weight in (*tokenizer.parameters(), *tokenizer.buffers()):
        if weight.is_floating_point():
            weight.copy_(weight.half())


def _same(codebook: Tensor, kept: Tensor) -> bool:
    """Whether a bundle holds this codebook, as it is or as float16 (`half`)."""
    return torch.equal(kept, codebook) or torch.equal(kept.half(), codebook.half())


def _sums(config: VideoModelTraining, shown: tuple[str, ...]) -> Tensor | None:
    twice = set(config.unseen) & set(shown)
    if twice or (config.unseen and not config.compositional):
        why = f"there is video of {', '.join(sorted(twice))}" if twice else "not compositional"
        raise TrainingError(f"unseen tasks {', '.join(config.unseen)}: {why}")
    if not config.compositional:
        return None
    try:
        return sums_of_words((*shown, *config.unseen), shown)
    except ValueError as error:
        raise TrainingError(f"--compositional: {error}") from error


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
    still_end: int
    last_frames: int
    contrast: bool
    compositional: bool
    unseen: tuple[str, ...]
    half: bool
    """codes of a rounded tokenizer differ"""

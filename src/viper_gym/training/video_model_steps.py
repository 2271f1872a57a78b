"""Steps of training a video model, its held-out loss and its pictures."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from viper_gym.checkpoints.bundle import VIDEO_MODEL
from viper_gym.checkpoints.weights import load_weights
from viper_gym.data.altered_windows import replace_context, show_any_code
from viper_gym.data.clips import (
    Split,
    WindowSampler,
    empty_codes,
    skip_beginnings,
)
from viper_gym.errors import TrainingError
from viper_gym.models.composition import compose_classes
from viper_gym.models.frames import to_uint8
from viper_gym.models.tokenizer import FrameTokenizer
from viper_gym.models.videogpt import VideoGPT
from viper_gym.training.best_weights import BestWeights
from viper_gym.training.loop import learning_rate

if TYPE_CHECKING:
    from viper_gym.training.video_model import VideoModelTraining

MOST_HELD_OUT = 64  # windows of an evaluation's batch, of all tasks together
RISEN = 1.02  # times the lowest held-out loss; less is noise of an evaluation


class VideoModelSteps:
    """A video model, the averages of its weights, and the windows that it learns from.

    Args:
        split: task -> episodes of (T, h, w); with `config.play`, those of the play of every task
            behind them, in the same order.
        sums: of the words of the tasks' names (`models.composition`), or None.

    Raises:
        TrainingError: `config.init` was trained on another tokenizer.
    """

    def __init__(
        self,
        config: VideoModelTraining,
        split: Split[np.ndarray],
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
            model.codebook.copy_(codebook)  # that of a bundle stored as float16 is rounded
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
        codes = {t: [*split.train[t], *split.held_out[t]] for t in split.train}
        c = config
        self._pictured = len(codes) // (1 if c.play is None else 2)  # tasks of the tokenizer
        self._empty = empty_codes(codes)  # (tasks, h, w)
        window = c.model.sequence_length, c.frame_stride, self._empty
        self._sampler = WindowSampler(
            split.train,
            *window,
            c.loop.seed,
            c.waiting,
            self._skipped(split.train, c.last_frames),
        )
        self._experts: WindowSampler | None = None
        if c.tampered:
            experts = {t: split.train[t] for t in list(codes)[: self._pictured]}
            self._experts = WindowSampler(
                experts,
                *window[:2],
                self._empty[: self._pictured],
                c.loop.seed + 1,
                skipped=self._skipped(experts, c.last_frames),
            )
        self._held_out = WindowSampler(
            split.held_out, *window, 12345, skipped=self._skipped(split.held_out, c.last_frames)
        )

    def _skipped(self, codes: dict[str, list[np.ndarray]], last: int) -> dict[str, list[int]]:
        experts = list(codes)[: self._pictured]  # play has no end that would matter
        return {task: skip_beginnings(codes[task], last) for task in experts}

    def _batch(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Windows (B, L, h, w), their classes (B,) and the weights of their frames (B, L)."""
        c = self._config
        windows, numbers, bare, begun = self._sampler.batch(step, c.batch_size)
        rng = np.random.default_rng((c.loop.seed, step, 1))
        windows = show_any_code(windows, c.any_code, c.model.codebook_size, rng)
        # what is tampered with would be no cheaper among play if that did not stand still, either
        learns = (numbers < self._pictured) | (self._experts is None)
        windows[learns], weights = replace_context(
            windows[learns],
            c.frozen_context,
            c.empty_context,
            self._empty[numbers[learns]],
            bare[learns],
            rng,
        )
        begun[learns] *= weights
        if self._experts is not None:
            rows = ~learns & (rng.random(len(numbers)) < c.tampered)
            tampered, tasks = self._experts.tampered(step, c.batch_size)
            windows[rows], numbers[rows] = tampered[rows], tasks[rows] + self._pictured
            begun[rows] = 1.0
            begun[rows, 0] = 0.0  # a single picture of an expert is not play
        return windows, numbers, begun

    def train_step(self, step: int, progress: float) -> dict[str, float]:
        c = self._config
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(c.learning_rate, step, progress)
        self.model.train()
        windows, numbers, weighed = self._batch(step)
        codes, tasks = self._tensors((windows, numbers))
        weights = torch.from_numpy(weighed).to(codes.device)  # (B, L)
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
        """Codes on the device, and the classes of numbers in the order of `codes`."""
        device, c = self._accelerator.device, self._config
        codes, numbers = batch
        classes = numbers + np.where(numbers < self._pictured, 0, len(c.unseen))  # they are between
        tasks = torch.from_numpy(classes).to(device) if c.model.num_classes else None
        return torch.from_numpy(codes).to(device), tasks

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Held-out nats a token of the averaged weights: over all frames, the last one, the lowest.

        These weights are kept if they are the best so far.

        Raises:
            TrainingError: the loss is not finite.
        """
        metrics: dict[str, list[float]] = {}
        self.ema.eval()
        each = min(8, max(1, MOST_HELD_OUT // len(self._held_out.tasks)))  # windows of a task
        for step in range(4):
            codes, numbers, *_ = self._held_out.batch(step, each * len(self._held_out.tasks))
            loss = self._loss(codes, numbers)
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

    def _loss(self, codes: np.ndarray, numbers: np.ndarray) -> Tensor:
        """Nats a token of the averaged weights: (B, L, h, w); in parts, as a batch is."""
        parts = []
        for start in range(0, len(codes), self._config.batch_size):
            part = slice(start, start + self._config.batch_size)
            tensor, index = self._tensors((codes[part], numbers[part]))
            with self._accelerator.autocast():
                parts.append(-self.ema.log_prob(tensor, index))
        return torch.cat(parts)

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


def _same(codebook: Tensor, kept: Tensor) -> bool:
    """Whether a bundle holds this codebook, as it is or as float16 (`half`)."""
    return torch.equal(kept, codebook) or torch.equal(kept.half(), codebook.half())

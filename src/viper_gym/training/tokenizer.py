"""Train a tokenizer on frames of a folder of videos: the small local one, or the VQ-GAN.

Plain L1 and PSNR are blind to the one per cent of the picture that moves, so the loss
weighs foreground pixels (those away from the task's median picture), and the gates logged
are foreground error and code flips in cells where no pixel changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from viper_gym.checkpoints.bundle import save_tokenizer
from viper_gym.data.clips import FrameSampler, split_episodes
from viper_gym.data.episodes import Episode
from viper_gym.data.masks import recorded_masks
from viper_gym.data.videos import load_folder
from viper_gym.errors import require_not_negative, require_positive
from viper_gym.models.frames import to_input, to_uint8
from viper_gym.models.patch_vq import PatchVQ, PatchVQConfig
from viper_gym.models.quantizer import perplexity
from viper_gym.models.tokenizer import FrameTokenizer
from viper_gym.models.vqgan import PAPER_ATARI, PAPER_DMC, PAPER_RLBENCH, VQGAN, VQGANConfig
from viper_gym.training.adversarial import AdversarialConfig, AdversarialLoss
from viper_gym.training.codes import fingerprint
from viper_gym.training.loop import Loop, LoopConfig, learning_rate, make_accelerator, precision_of

FOREGROUND = 0.12  # on [-1, 1]: difference from the median picture that counts as foreground
UNCHANGED = 2  # grey levels: a cell whose pixels all change by at most this is unchanged


@dataclass(frozen=True)
class Preset:
    """A tokenizer and the settings it is trained with."""

    model: PatchVQConfig | VQGANConfig
    batch_size: int
    learning_rate: float
    foreground_weight: float
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    shared_background: bool = False


# Perceptual weight 0 instead of the paper's 0.1: LPIPS needs weights that must be downloaded.
_PAPER = AdversarialConfig(disc_weight=0.1)
PRESETS = {
    "small": Preset(PatchVQConfig(codebook_size=1024), 64, 1e-3, 30.0),
    # a grid of 16x16 as in Table 2 for RLBench: objects of four pixels
    "small-fine": Preset(PatchVQConfig(patch_size=4, codebook_size=1024), 64, 1e-3, 30.0),
    "paper-dmc": Preset(PAPER_DMC, 128, 1e-4, 0.0, _PAPER),
    "paper-atari": Preset(PAPER_ATARI, 128, 1e-4, 0.0, _PAPER),
    "paper-rlbench": Preset(PAPER_RLBENCH, 128, 1e-4, 0.0, _PAPER),
}


@dataclass(frozen=True)
class TokenizerTraining:
    """Settings of `viper-gym train tokenizer`."""

    data: Path = Path("data/train")
    """folder with one sub-folder of videos a task"""
    preset: Literal["small", "small-fine", "paper-dmc", "paper-atari", "paper-rlbench"] = "small"
    """architecture, losses, batch size and learning rate"""
    codebook_size: int | None = None
    """the preset's if left out, like the three below"""
    batch_size: int | None = None
    """frames"""
    learning_rate: float | None = None
    foreground_weight: float | None = None
    """extra weight of a foreground pixel in the L1 loss"""
    shared_background: bool = False
    """hold one background for all tasks, so that tasks without videos can be encoded"""
    perceptual_weight: float = 0.0
    """LPIPS term (paper: 0.1); needs the extra `lpips` and a download of VGG weights"""
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(out=Path("runs/tokenizer")))

    def __post_init__(self) -> None:
        require_positive(
            batch_size=self.batch_size,
            codebook_size=self.codebook_size,
            learning_rate=self.learning_rate,
        )
        require_not_negative(
            foreground_weight=self.foreground_weight, perceptual_weight=self.perceptual_weight
        )

    def resolved(self) -> Preset:
        """The preset with what was given explicitly put in."""
        preset = PRESETS[self.preset]
        given = {
            key: value
            for key in ("batch_size", "learning_rate", "foreground_weight")
            if (value := getattr(self, key)) is not None
        }
        if self.codebook_size is not None:
            given["model"] = replace(preset.model, codebook_size=self.codebook_size)
        if self.perceptual_weight:
            adversarial = replace(preset.adversarial, perceptual_weight=self.perceptual_weight)
            given["adversarial"] = adversarial
        return replace(preset, shared_background=self.shared_background, **given)


class _Trainable:
    def __init__(
        self,
        config: Preset,
        loop: LoopConfig,
        episodes: dict[str, list[Episode]],
        accelerator: Accelerator,
    ):
        self._config = config
        self._accelerator = accelerator
        device = self._accelerator.device
        split = split_episodes(episodes)
        self._sampler = FrameSampler(split.train, loop.seed)
        self._held_out = split.held_out
        backgrounds = np.stack([self._sampler.background[t] for t in self._sampler.tasks])
        if config.shared_background:
            backgrounds[:] = np.median(backgrounds, axis=0)
        self._background = to_input(torch.from_numpy(backgrounds)).to(device)  # (tasks, 3, H, W)
        model = _build(config.model, self._background)
        model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(
            model.parameters(), config.learning_rate, betas=(0.9, 0.95), weight_decay=1e-4
        )
        self._model, self._optimizer = self._accelerator.prepare(model, optimizer)
        self.model: FrameTokenizer = self._accelerator.unwrap_model(self._model)
        size = config.model.image_size
        self._adversary = AdversarialLoss(config.adversarial, size, config.learning_rate, device)
        self.modules: dict[str, nn.Module] = {"tokenizer": self.model}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"tokenizer": optimizer}
        if self._adversary.discriminator is not None and self._adversary.optimizer is not None:
            self.modules["discriminator"] = self._adversary.discriminator
            self.optimizers["discriminator"] = self._adversary.optimizer

    def _foreground(self, images: Tensor, tasks: Tensor) -> Tensor:
        """1 where a pixel is away from its task's median picture: (B, 1, H, W)."""
        difference = (images - self._background[tasks]).abs().amax(1, keepdim=True)
        return (difference > FOREGROUND).float()

    def train_step(self, step: int, progress: float) -> dict[str, float]:
        c = self._config
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(c.learning_rate, step, progress)
        frames, tasks = self._sampler.batch(step, c.batch_size)
        device = self._accelerator.device
        images = to_input(torch.from_numpy(frames).to(device))
        images = images.contiguous(memory_format=torch.channels_last)  # faster here
        numbers = torch.from_numpy(tasks).to(device)
        weight = 1.0 + c.foreground_weight * self._foreground(images, numbers)
        self._model.train()
        with self._accelerator.autocast():
            reconstruction, quantizer_loss, indices = self._model(images, numbers)
        l1 = ((weight / weight.mean()) * (reconstruction - images).abs()).mean()
        adversarial = self._adversary.generator_term(reconstruction, images)
        loss = l1 + quantizer_loss + adversarial
        self._optimizer.zero_grad(set_to_none=True)
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        adversary = self._adversary.discriminator_step(reconstruction, images)
        use, dead = perplexity(indices, c.model.codebook_size)
        return {
            "train/weighted_l1": l1.item(),
            "train/quantizer_loss": quantizer_loss.item(),
            "train/perplexity": use,
            "train/unused_codes_in_batch": float(dead),
            **adversary,
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        self._model.eval()
        metrics: dict[str, float] = {}
        used = []
        for number, task in enumerate(self._sampler.tasks):
            frames = np.concatenate([e.frames[:400] for e in self._held_out[task][:2]])
            result = audit_tokenizer(
                self.model, frames, number, self._background[number], self._accelerator
            )
            used.append(result.pop("indices"))
            metrics |= {f"held_out/{task}/{k}": float(v) for k, v in result.items()}  # type: ignore[arg-type]
        use, dead = perplexity(torch.cat(used), self._config.model.codebook_size)  # type: ignore[arg-type]
        return {**metrics, "held_out/perplexity": use, "held_out/dead_codes": float(dead)}

    @torch.no_grad()
    def picture(self) -> np.ndarray:
        """Rows of held-out frames over their reconstructions, a pair of rows a task."""
        self._model.eval()
        rows = []
        for number, task in enumerate(self._sampler.tasks):
            frames = self._held_out[task][0].frames
            frames = frames[np.linspace(0, min(len(frames), 120) - 1, 10).astype(int)]
            images = to_input(torch.from_numpy(frames)).to(self._accelerator.device)
            index = torch.full((len(images),), number, device=images.device)
            with self._accelerator.autocast():
                drawn = self.model.decode(self.model.encode(images, index), index)
            rows += [np.concatenate(list(frames), 1), np.concatenate(list(to_uint8(drawn)), 1)]
        return np.concatenate(rows, 0).repeat(2, 0).repeat(2, 1)


def audit_tokenizer(
    model: FrameTokenizer,
    frames: np.ndarray,
    task: int,
    background: Tensor,
    accelerator: Accelerator,
) -> dict[str, float | Tensor]:
    """Gates of a tokenizer on consecutive frames: foreground L1, PSNR, code flips by cell.

    Args:
        frames: uint8 (T, H, W, 3), concatenated episodes (their seams count for little).
        task: number of the task.
        background: its median picture (3, H, W) in [-1, 1].
    """
    images = to_input(torch.from_numpy(frames)).to(background.device)
    indices, drawn = [], []
    with accelerator.autocast():
        for part in images.split(128):
            index = torch.full((len(part),), task, device=part.device)
            indices.append(model.encode(part, index))
            drawn.append(model.decode(indices[-1], index))
    codes, reconstruction = torch.cat(indices), torch.cat(drawn).clamp(-1, 1)
    error = (reconstruction - images).abs()
    foreground = ((images - background).abs().amax(1, keepdim=True) > FOREGROUND).float()
    g = codes.shape[-1]
    p = images.shape[-1] // g
    delta = np.abs(np.diff(frames.astype(np.int16), axis=0)).max(-1)  # (T-1, H, W)
    moved = torch.from_numpy(delta.reshape(-1, g, p, g, p).max((2, 4)) > UNCHANGED).to(codes.device)
    flips = codes[1:] != codes[:-1]
    mse = (reconstruction - images).pow(2).mean((1, 2, 3))
    return {
        "foreground_l1": float((error * foreground).sum() / (3 * foreground.sum()).clamp(min=1)),
        "psnr": float((10 * torch.log10(4 / mse)).mean()),
        "flips_unchanged": float((flips & ~moved).sum() / len(flips)),
        "flips_changed": float((flips & moved).sum() / len(flips)),
        "indices": codes,
    }


def train_tokenizer(config: TokenizerTraining) -> Path:
    """Train to the end (or the time limit); returns the folder with the tokenizer files.

    Raises:
        VideoDataError: the data folder is unusable.
        TrainingError: the output folder is, or a resume does not fit.
    """
    preset = config.resolved()
    accelerator = make_accelerator(config.loop)
    loop = Loop(config.loop, "tokenizer", preset, precision_of(accelerator))
    episodes = load_folder(config.data, preset.model.image_size, min_frames=2)
    masks = recorded_masks(config.data, preset.model.image_size)
    trainable = _Trainable(preset, config.loop, episodes, accelerator)
    loop.run(
        trainable,
        lambda: save_tokenizer(trainable.model, tuple(episodes), masks, config.loop.out),
        fingerprint({task: [e.frames for e in items] for task, items in episodes.items()}),
        results=("tokenizer.*",),
    )
    return config.loop.out


def _build(config: PatchVQConfig | VQGANConfig, backgrounds: Tensor) -> FrameTokenizer:
    if isinstance(config, VQGANConfig):
        return VQGAN(config)
    model = PatchVQ(replace(config, num_tasks=len(backgrounds)))
    model.background.copy_(backgrounds)
    return model

"""Train the small local tokenizer on frames of a folder of videos.

Plain L1 and PSNR are blind to the one per cent of the picture that moves, so the loss
weighs foreground pixels (those away from the task's median picture), and the gates logged
are foreground error and code flips in cells where no pixel changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from viper_gym.checkpoints.bundle import save_tokenizer
from viper_gym.data.clips import FrameSampler, split_episodes
from viper_gym.data.episodes import Episode
from viper_gym.data.videos import load_folder
from viper_gym.models.frames import to_input, to_uint8
from viper_gym.models.patch_vq import PatchVQ, PatchVQConfig
from viper_gym.models.quantizer import perplexity
from viper_gym.training.loop import Loop, LoopConfig, learning_rate, make_accelerator

FOREGROUND = 0.12  # on [-1, 1]: difference from the median picture that counts as foreground
UNCHANGED = 2  # grey levels: a cell whose pixels all change by at most this is unchanged


@dataclass(frozen=True)
class TokenizerTraining:
    """Settings of `viper-gym train tokenizer`."""

    data: Path = Path("data/train")
    """folder with one sub-folder of videos a task"""
    model: PatchVQConfig = field(default_factory=PatchVQConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(out=Path("runs/tokenizer")))
    batch_size: int = 64
    """frames"""
    learning_rate: float = 1e-3
    foreground_weight: float = 30.0
    """extra weight of a foreground pixel in the L1 loss"""


class _Trainable:
    def __init__(self, config: TokenizerTraining, episodes: dict[str, list[Episode]]):
        self._config = config
        self._accelerator = make_accelerator(config.loop)
        device = self._accelerator.device
        model = PatchVQ(config.model).to(device, memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(
            model.parameters(), config.learning_rate, betas=(0.9, 0.95), weight_decay=1e-4
        )
        self._model, self._optimizer = self._accelerator.prepare(model, optimizer)
        self.model = self._accelerator.unwrap_model(self._model)
        self.modules = {"tokenizer": self.model}
        self.optimizers = {"tokenizer": optimizer}
        split = split_episodes(episodes)
        self._sampler = FrameSampler(split.train, config.loop.seed)
        self._held_out = split.held_out
        backgrounds = np.stack([self._sampler.background[t] for t in self._sampler.tasks])
        self._background = to_input(torch.from_numpy(backgrounds)).to(device)  # (tasks, 3, H, W)

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
        weight = 1.0 + c.foreground_weight * self._foreground(
            images, torch.from_numpy(tasks).to(device)
        )
        self._model.train()
        with self._accelerator.autocast():
            reconstruction, quantizer_loss, indices = self._model(images)
        l1 = ((weight / weight.mean()) * (reconstruction - images).abs()).mean()
        loss = l1 + quantizer_loss
        self._optimizer.zero_grad(set_to_none=True)
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        use, dead = perplexity(indices, c.model.codebook_size)
        return {
            "train/weighted_l1": l1.item(),
            "train/quantizer_loss": quantizer_loss.item(),
            "train/perplexity": use,
            "train/unused_codes_in_batch": float(dead),
        }

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        self._model.eval()
        metrics: dict[str, float] = {}
        used = []
        for number, task in enumerate(self._sampler.tasks):
            frames = np.concatenate([e.frames[:400] for e in self._held_out[task][:2]])
            result = audit_tokenizer(
                self.model, frames, self._background[number], self._accelerator
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
        for task in self._sampler.tasks:
            frames = self._held_out[task][0].frames
            frames = frames[np.linspace(0, min(len(frames), 120) - 1, 10).astype(int)]
            images = to_input(torch.from_numpy(frames)).to(self._accelerator.device)
            with self._accelerator.autocast():
                drawn = self.model.decode(self.model.encode(images))
            rows += [np.concatenate(list(frames), 1), np.concatenate(list(to_uint8(drawn)), 1)]
        return np.concatenate(rows, 0).repeat(2, 0).repeat(2, 1)


def audit_tokenizer(
    model: PatchVQ, frames: np.ndarray, background: Tensor, accelerator: object
) -> dict[str, float | Tensor]:
    """Gates of a tokenizer on consecutive frames: foreground L1, PSNR, code flips by cell.

    Args:
        frames: uint8 (T, H, W, 3), concatenated episodes (their seams count for little).
        background: median picture (3, H, W) in [-1, 1].
    """
    images = to_input(torch.from_numpy(frames)).to(background.device)
    indices, drawn = [], []
    with accelerator.autocast():  # type: ignore[attr-defined]
        for part in images.split(128):
            indices.append(model.encode(part))
            drawn.append(model.decode(indices[-1]))
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
    loop = Loop(
        config.loop, "tokenizer", _Settings(config.model, config.batch_size, config.learning_rate)
    )
    episodes = load_folder(config.data, config.model.image_size, min_frames=2)
    trainable = _Trainable(config, episodes)
    loop.run(trainable, lambda: save_tokenizer(trainable.model, config.loop.out))
    return config.loop.out


@dataclass(frozen=True)
class _Settings:
    """What a resumed run must share with the run it continues."""

    model: PatchVQConfig
    batch_size: int
    learning_rate: float

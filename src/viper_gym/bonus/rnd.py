"""Random network distillation (Burda et al. 2019), the paper's bonus for DrQ (Table 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from viper_gym.bonus.running import RunningMeanStd


@dataclass(frozen=True)
class RNDConfig:
    """Paper Table 4, and how often the predictor learns."""

    cnn_features: tuple[int, int, int] = (32, 64, 64)
    mlp_size: int = 512
    learning_rate: float = 3e-4
    batch_size: int = 32
    """frames an update"""
    update_every: int = 8
    """scored frames between updates: bounds the cost inside `env.step`"""
    horizon: int = 10_000
    """frames over which the error's root mean square forgets"""
    clip: float = 5.0
    """highest bonus: the first frames of a new kind can be a hundred times as surprising"""
    memory: int = 512
    """recent frames that updates draw from"""
    seed: int = 0


def _network(config: RNDConfig, image_size: int, head: int) -> nn.Sequential:
    a, b, c = config.cnn_features
    convolutions = nn.Sequential(
        nn.Conv2d(3, a, 8, stride=4),
        nn.ReLU(),
        nn.Conv2d(a, b, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(b, c, 3),
        nn.ReLU(),
        nn.Flatten(),
    )
    with torch.no_grad():
        width = convolutions(torch.zeros(1, 3, image_size, image_size)).shape[1]
    layers: list[nn.Module] = [convolutions, nn.Linear(width, config.mlp_size)]
    for _ in range(head):
        layers += [nn.ReLU(), nn.Linear(config.mlp_size, config.mlp_size)]
    return nn.Sequential(*layers)


class RND:
    """How badly a predictor knows the features that a fixed random network gives a frame.

    The error is divided by its root mean square over the newest frames (about `horizon` of
    them): the bonus stays about 1 on what the agent does now, and is several times that on
    what it never did. Frames are normalised a pixel by
    running statistics and clipped to [-5, 5].

    Args:
        image_size: pixels, square.
    """

    def __init__(self, image_size: int = 64, config: RNDConfig | None = None, device: str = "cpu"):
        self.config = c = config or RNDConfig()
        self._device = torch.device(device)
        with torch.random.fork_rng(devices=[]):  # leave the user's random state alone
            torch.manual_seed(c.seed)
            self.target = _network(c, image_size, head=0).to(self._device).requires_grad_(False)
            self.predictor = _network(c, image_size, head=2).to(self._device)
        self._optimizer = torch.optim.Adam(self.predictor.parameters(), c.learning_rate)
        self._rng = np.random.default_rng(c.seed)
        self._pixels = RunningMeanStd((image_size, image_size, 3))
        self._square = RunningMeanStd()
        self._recent: list[np.ndarray] = []
        self._scored = 0

    def _error(self, frames: np.ndarray) -> Tensor:
        """uint8 (B, H, W, 3) -> squared feature error (B,)."""
        scaled = (frames - self._pixels.mean) / np.sqrt(self._pixels.var + 1.0)
        x = torch.from_numpy(np.clip(scaled, -5, 5).astype(np.float32)).to(self._device)
        x = x.permute(0, 3, 1, 2)
        with torch.no_grad():
            target = self.target(x)
        return (self.predictor(x) - target).pow(2).mean(1)

    @torch.no_grad()
    def error(self, frames: np.ndarray) -> np.ndarray:
        """The raw prediction error, without normalisation or side effects: float32 (B,)."""
        return self._error(frames).cpu().numpy()

    def compute(self, frames: np.ndarray) -> np.ndarray:
        """Normalised bonus of frames uint8 (B, H, W, 3): float32 (B,)."""
        self._pixels.update(frames)
        error = self.error(frames).astype(np.float64)
        self._square.update(error**2)
        self._square.count = min(self._square.count, float(self.config.horizon))
        bonus = error / np.sqrt(self._square.mean + 1e-30)
        return np.minimum(bonus, self.config.clip).astype(np.float32)

    def update(self, frames: np.ndarray) -> None:
        """Remember frames; every `update_every` of them, take one optimiser step."""
        c = self.config
        self._recent.extend(np.array(f, np.uint8) for f in frames)
        self._recent = self._recent[-c.memory :]
        before, self._scored = self._scored, self._scored + len(frames)
        if self._scored // c.update_every > before // c.update_every:
            pick = self._rng.integers(len(self._recent), size=c.batch_size)
            self._learn(np.stack([self._recent[i] for i in pick]))

    def _learn(self, frames: np.ndarray) -> None:
        with torch.enable_grad():
            loss = self._error(frames).mean()
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: networks, optimiser, running statistics."""
        return {
            "target": self.target.state_dict(),
            "predictor": self.predictor.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "pixels": vars(self._pixels).copy(),
            "square": vars(self._square).copy(),
            "scored": self._scored,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`."""
        self.target.load_state_dict(state["target"])
        self.predictor.load_state_dict(state["predictor"])
        self._optimizer.load_state_dict(state["optimizer"])
        vars(self._pixels).update(state["pixels"])
        vars(self._square).update(state["square"])
        self._scored = state["scored"]

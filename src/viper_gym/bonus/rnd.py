"""Random network distillation (Burda et al. 2019), the paper's bonus for DrQ (Table 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viper_gym.bonus.memory import RecentMemory
from viper_gym.bonus.networks import both_sides, frame_network, in_fp32, move, on_cpu
from viper_gym.bonus.random_state import own_random_state
from viper_gym.bonus.running import BonusScale, RunningMeanStd
from viper_gym.types import Transition


@dataclass(frozen=True)
class RNDConfig:
    """Paper Table 4, and how often the predictor learns."""

    cnn_features: tuple[int, int, int] = (32, 64, 64)
    mlp_size: int = 512
    learning_rate: float = 3e-4
    batch_size: int = 32
    """frames an update"""
    update_proportion: float = 1.0
    """share of these that the predictor learns from: less makes the bonus fade more slowly"""
    update_every: int = 8
    """scored frames between updates: bounds the cost inside `env.step`"""
    horizon: int = 10_000
    """frames over which the error's root mean square forgets"""
    clip: float = 5.0
    """highest bonus: the first frames of a new kind can be a hundred times as surprising"""
    memory: int = 512
    """recent frames that updates draw from"""
    seed: int = 0


class RND:
    """How badly a predictor knows the features that a fixed random network gives a frame.

    The error is scaled by `BonusScale`. Frames are normalised a pixel by running statistics
    and clipped to [-5, 5]. The predictor takes at most one optimiser step a call of `update`.

    Args:
        image_size: pixels: (height, width), or one number for both.
        device: where the networks are.

    Raises:
        FrameMismatch: frames smaller than 36 pixels.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 64,
        config: RNDConfig | None = None,
        device: str = "cpu",
    ):
        self.config = c = config or RNDConfig()
        self.image_size = both_sides(image_size)
        self._device = torch.device(device)
        with own_random_state(c.seed):
            target = frame_network(image_size, c.cnn_features, c.mlp_size, head=0)
            predictor = frame_network(image_size, c.cnn_features, c.mlp_size, head=2)
        self.target = target.to(self._device, torch.float32).requires_grad_(False)
        self.predictor = predictor.to(self._device, torch.float32)
        # fused: a step in a quarter of the time on a CPU
        self._optimizer = torch.optim.Adam(self.predictor.parameters(), c.learning_rate, fused=True)
        self._pixels = RunningMeanStd((*self.image_size, 3))
        self._scale = BonusScale(c.horizon, c.clip)
        self._memory = RecentMemory(c.memory, c.seed)

    def to(self, device: str | torch.device) -> None:
        """Put the networks on a device, with all that they learned."""
        if torch.device(device) == self._device:
            return
        self._device = torch.device(device)
        move(self._device, (self.target, self.predictor), self._optimizer)

    def _error(self, frames: np.ndarray) -> Tensor:
        """uint8 (B, H, W, 3) -> squared feature error (B,)."""
        scaled = (frames - self._pixels.mean) / np.sqrt(self._pixels.var + 1.0)
        x = torch.from_numpy(np.clip(scaled, -5, 5).astype(np.float32)).to(self._device)
        x = x.permute(0, 3, 1, 2)
        with torch.no_grad():
            target = self.target(x)
        return (self.predictor(x) - target).pow(2).mean(1)

    @in_fp32
    @torch.no_grad()
    def error(self, frames: np.ndarray) -> np.ndarray:
        """The raw prediction error of uint8 (B, H, W, 3), without side effects: float32 (B,)."""
        return self._error(frames).cpu().numpy()

    def compute(self, transition: Transition) -> np.ndarray:
        """Normalised bonus of the frames the steps showed: float32 (m,)."""
        self._pixels.update(transition.frame)
        return self._scale(self.error(transition.frame))

    @in_fp32
    def update(self, transition: Transition) -> None:
        """Remember the frames; every `update_every` of them, take one optimiser step."""
        every, before = self.config.update_every, self._memory.added
        self._memory.add(transition.frame)
        if self._memory.added // every > before // every:
            self._learn(*self._memory.draw(self.config.batch_size))

    def _learn(self, frames: np.ndarray) -> None:
        mask = self._memory.mask((len(frames),), self.config.update_proportion)
        if not mask.any():
            return
        with torch.enable_grad():
            loss = self._error(frames[mask]).mean()
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything needed to go on: tensors (on the CPU), numbers and lists."""
        return on_cpu(
            {
                "target": self.target.state_dict(),
                "predictor": self.predictor.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "pixels": self._pixels.state_dict(),
                "scale": self._scale.state_dict(),
                "memory": self._memory.state_dict(),
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`, also of another device: what follows equals what would have there."""
        state = on_cpu(state)  # a copy: an optimiser would keep the tensors it is given
        self.target.load_state_dict(state["target"])
        self.predictor.load_state_dict(state["predictor"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._pixels.load_state_dict(state["pixels"])
        self._scale.load_state_dict(state["scale"])
        self._memory.load_state_dict(state["memory"])

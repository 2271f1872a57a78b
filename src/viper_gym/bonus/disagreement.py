"""Disagreement of one-step predictors (Pathak et al. 2019; Sekar et al. 2020, Plan2Explore)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viper_gym.bonus.memory import RecentMemory
from viper_gym.bonus.networks import Ensemble, frame_network, in_fp32, move, on_cpu
from viper_gym.bonus.random_state import own_random_state
from viper_gym.bonus.running import BonusScale, RunningMeanStd
from viper_gym.types import Transition

FeatureFunction = Callable[[np.ndarray], np.ndarray]
"""uint8 (B, H, W, 3) -> float (B, D)"""


@dataclass(frozen=True)
class DisagreementConfig:
    """Shape of the ensemble, and how often it learns."""

    members: int = 10
    hidden_size: int = 256
    """width of the two hidden layers"""
    feature_size: int = 256
    """wider features are projected to this many by a fixed random matrix: bounds the cost"""
    learning_rate: float = 5e-4
    batch_size: int = 64
    """transitions an update"""
    update_proportion: float = 1.0
    """share of these that each member learns from, drawn for each member and update: less keeps
    the members apart for longer, on what was seen too"""
    update_every: int = 8
    """scored frames between updates: bounds the cost inside `env.step`"""
    horizon: int = 10_000
    """transitions over which the root mean square of the disagreement forgets"""
    clip: float = 5.0
    """highest bonus"""
    memory: int = 5_000
    """recent transitions that updates draw from"""
    seed: int = 0


class Disagreement:
    """How far apart an ensemble's predictions of the next frame's features are.

    Each member predicts, from the features of the previous frame and the action, by how much
    the features change. The bonus is the standard deviation over the members, averaged over
    the feature dimensions and scaled by `BonusScale`. Unlike RND's it also fades where what
    happens is random, once all members predict the same mean. At most one optimiser step is
    taken a call of `update`. The networks are built at the first transition.

    Args:
        features: what is predicted: a function uint8 (B, H, W, 3) -> float (B, D), frozen. None
            takes the code vectors of the frozen tokenizer that scores the frames anyway, and
            without a video model a fixed random convolutional network (frames of 36 pixels or
            more).
        device: where the networks are.

    Example:
        >>> bonus = Disagreement()                        # in a wrapper with a video model
        >>> bonus = Disagreement(lambda frames: frames.mean((1, 2)))    # the mean colour
    """

    def __init__(
        self,
        features: FeatureFunction | None = None,
        config: DisagreementConfig | None = None,
        device: str = "cpu",
    ):
        self.config = c = config or DisagreementConfig()
        self._device = torch.device(device)
        self._function = features
        self._scale = BonusScale(c.horizon, c.clip)
        self._memory = RecentMemory(c.memory, c.seed)
        self._statistics = RunningMeanStd()
        self._projection: np.ndarray | None = None
        self._random: torch.nn.Module | None = None
        self.ensemble: Ensemble | None = None
        self._newest: tuple[Transition, tuple[np.ndarray, ...]] | None = None

    def to(self, device: str | torch.device) -> None:
        """Put the networks on a device, with all that they learned."""
        if torch.device(device) == self._device:
            return
        self._device = torch.device(device)
        if self._random is not None:
            self._random.to(self._device)
        if self.ensemble is not None:
            move(self._device, (self.ensemble,), self._optimizer)

    @in_fp32
    def compute(self, transition: Transition) -> np.ndarray:
        """Normalised bonus of the steps: float32 (m,)."""
        previous, action, following = self._read(transition)
        self._statistics.update(following)
        return self._scale(self._disagreement(previous, action))

    @in_fp32
    def error(self, transition: Transition) -> np.ndarray:
        """The raw disagreement, without normalisation or side effects: float32 (m,)."""
        previous, action, _ = self._read(transition)
        return self._disagreement(previous, action)

    @in_fp32
    def update(self, transition: Transition) -> None:
        """Remember the steps; every `update_every` of them, take one optimiser step."""
        every, before = self.config.update_every, self._memory.added
        self._memory.add(*self._read(transition))
        if self._memory.added // every > before // every:
            self._learn(*self._memory.draw(self.config.batch_size))

    @torch.no_grad()
    def _disagreement(self, previous: np.ndarray, action: np.ndarray) -> np.ndarray:
        predicted = self._predict(previous, action)  # (M, B, D)
        return predicted.std(0, correction=0).mean(-1).cpu().numpy()

    def _predict(self, previous: np.ndarray, action: np.ndarray) -> Tensor:
        assert self.ensemble is not None
        x = np.concatenate([self._normalised(previous), action], 1)
        return self.ensemble(torch.from_numpy(x).to(self._device))

    def _learn(self, previous: np.ndarray, action: np.ndarray, following: np.ndarray) -> None:
        change = self._normalised(following) - self._normalised(previous)
        members, batch = self.config.members, len(action)
        mask = self._memory.mask((members, batch), self.config.update_proportion)
        with torch.enable_grad():
            predicted = self._predict(previous, action)
            target = torch.from_numpy(change).to(self._device)
            error = (predicted - target).pow(2).mean(-1)  # (M, B)
            loss = (error * torch.from_numpy(mask).to(self._device)).sum() / mask.sum().clip(1)
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()

    def _normalised(self, features: np.ndarray) -> np.ndarray:
        """Zero mean and unit variance a dimension, within [-5, 5]: float32."""
        var = self._statistics.var
        # a dimension that hardly ever moved must not turn noise into signal
        scale = np.sqrt(var + 1e-4 * var.mean() + 1e-12)
        return np.clip((features - self._statistics.mean) / scale, -5, 5).astype(np.float32)

    def _read(self, transition: Transition) -> tuple[np.ndarray, ...]:
        """Features before, action, features after: float32 (m, …); builds the networks."""
        if self._newest is None or self._newest[0] is not transition:  # compute and update share it
            if self._function is None and transition.features is not None:
                pair = [transition.previous_features, transition.features]
            else:
                pair = [self._features(transition.previous), self._features(transition.frame)]
            before, after = (np.asarray(x, np.float32) for x in pair)
            action = np.asarray(transition.action, np.float32)
            if self.ensemble is None:
                self._build(before.shape[1], action.shape[1])
            if self._projection is not None:
                before, after = before @ self._projection, after @ self._projection
            self._newest = (transition, (before, action, after))
        return self._newest[1]

    def _features(self, frames: np.ndarray) -> np.ndarray:
        if self._function is not None:
            return self._function(frames)
        if self._random is None:
            with own_random_state(self.config.seed):
                sides: Any = frames.shape[1:3]
                network = frame_network(sides, (32, 64, 64), 512, head=0)
            self._random = network.to(self._device, torch.float32).requires_grad_(False)
        x = torch.from_numpy(frames).to(self._device).permute(0, 3, 1, 2).float()
        return self._random(x / 127.5 - 1.0).cpu().numpy()

    def _build(self, features: int, actions: int) -> None:
        """Networks for features of this width (before projection) and flattened actions."""
        c = self.config
        size = min(features, c.feature_size)
        with own_random_state(c.seed):
            self.ensemble = Ensemble(
                c.members, (size + actions, c.hidden_size, c.hidden_size, size)
            )
            if features > size:
                self._projection = (
                    torch.randn(features, size, dtype=torch.float32) / size**0.5
                ).numpy()
        self.ensemble.to(self._device, torch.float32)
        self._optimizer = torch.optim.Adam(self.ensemble.parameters(), c.learning_rate, fused=True)
        self._statistics = RunningMeanStd((size,))
        self._widths = (features, actions)

    def state_dict(self) -> dict[str, Any]:
        """A snapshot of everything needed to go on: tensors (on the CPU), numbers and lists.

        Empty before the first transition, when there are no networks yet.
        """
        if self.ensemble is None:
            return {}
        return on_cpu(
            {
                "seed": self.config.seed,
                "widths": self._widths,
                "ensemble": self.ensemble.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "statistics": self._statistics.state_dict(),
                "scale": self._scale.state_dict(),
                "memory": self._memory.state_dict(),
            }
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo `state_dict`, also of another device: what follows equals what would have there.

        Raises:
            ValueError: the state was made with another seed, and so other random features.
        """
        if not state:
            return
        if state["seed"] != self.config.seed:
            raise ValueError(
                f"this state was made with seed {state['seed']}, the config has "
                f"{self.config.seed}: the fixed random matrices would differ"
            )
        state = on_cpu(state)  # a copy: an optimiser would keep the tensors it is given
        self._build(*state["widths"])
        assert self.ensemble is not None
        self.ensemble.load_state_dict(state["ensemble"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._statistics.load_state_dict(state["statistics"])
        self._scale.load_state_dict(state["scale"])
        self._memory.load_state_dict(state["memory"])

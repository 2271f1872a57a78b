"""`Explorer`: makes the transitions of n environments and has a bonus score them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from viper_gym.bonus.choose import make_bonus, move_bonus
from viper_gym.types import Bonus, Transition


class Explorer:
    """Remembers the newest frame of every environment, so that no transition crosses episodes.

    Args:
        bonus: by name, or the object; one learns from all environments.
        image_size: pixels of the frames: (height, width), or one number for both.
        action_space: of one environment.
        n: environments.

    Raises:
        ValueError, FrameMismatch: see `make_bonus`.
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        bonus: str | Bonus,
        image_size: int | tuple[int, int],
        action_space: gym.Space[Any],
        n: int,
    ):
        self.bonus = make_bonus(bonus, image_size)
        self._named = isinstance(bonus, str)
        self._space = action_space
        self._frames: list[np.ndarray | None] = [None] * n
        self._features: list[np.ndarray | None] = [None] * n

    @torch.inference_mode(False)
    def to(self, device: torch.device) -> None:
        """Put the networks there; a bonus that came as an object stays where it was made.

        To be called at the first reset: whoever only makes an environment, maybe to fork behind
        it, is not to open a GPU.
        """
        if self._named:
            move_bonus(self.bonus, device)

    def flat_actions(self, actions: Sequence[Any]) -> np.ndarray:
        """One action an environment -> float32 (n, A), one-hot where they are discrete.

        To be called before the step: environments and agents may reuse the memory.
        """
        flat: list[Any] = [gym.spaces.flatten(self._space, action) for action in actions]
        return np.array(flat, np.float32)

    def reset(
        self, envs: np.ndarray, frames: np.ndarray, features: np.ndarray | None = None
    ) -> None:
        """Episodes begin with these frames.

        Args:
            envs: int (m,), which environments.
            frames: uint8 (m, H, W, 3).
            features: float32 (m, D), the tokenizer's, where there is one.
        """
        for row, env in enumerate(envs):
            self._frames[env] = np.array(frames[row])  # environments may reuse their buffers
            self._features[env] = None if features is None else features[row]

    @torch.inference_mode(False)  # it learns, and a caller's evaluation may run in that mode
    @torch.enable_grad()
    def score(
        self,
        envs: np.ndarray,
        actions: np.ndarray,
        frames: np.ndarray,
        features: np.ndarray | None = None,
    ) -> np.ndarray:
        """The bonus of a step, which is also learned from: float64 (m,).

        Args:
            envs: int (m,), which environments made a step.
            actions: float32 (m, A), theirs, of `flat_actions`.
            frames: uint8 (m, H, W, 3), what the steps showed; at an end the last frame.
            features: float32 (m, D), the tokenizer's, where there is one.
        """
        previous: Any = [self._frames[env] for env in envs]
        before: Any = [self._features[env] for env in envs]
        transition = Transition(
            np.stack(previous),
            np.array(actions),
            np.array(frames),
            None if features is None else np.stack(before),
            None if features is None else np.array(features),
        )
        bonus = np.asarray(self.bonus.compute(transition), np.float64)
        self.bonus.update(transition)
        self.reset(envs, frames, features)
        return bonus

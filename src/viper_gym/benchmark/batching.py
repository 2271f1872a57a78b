"""What one batched wrapper saves over a wrapper for each environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv

from viper_gym.benchmark.turns import in_turns
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.wrappers.single import ViperRewardWrapper
from viper_gym.wrappers.vector import ViperVectorRewardWrapper


@dataclass(frozen=True)
class Batching:
    """One measurement; milliseconds are for one step of all environments."""

    envs: int
    dtype: str
    bare_ms: float
    """the environments alone, which replay recorded frames"""
    single_ms: float
    """a `ViperRewardWrapper` around each"""
    vector_ms: float
    """one `ViperVectorRewardWrapper` around all"""

    @property
    def ratio(self) -> float:
        """Cost of the vector wrapper in costs of the single ones, without the environments."""
        return (self.vector_ms - self.bare_ms) / (self.single_ms - self.bare_ms)


class Replay(gym.Env):
    """Shows recorded frames, whatever the action: its own cost is next to nothing."""

    def __init__(self, frames: np.ndarray, preprocessing: dict[str, Any]):
        self.preprocessing = preprocessing
        self._frames, self._t = frames, 0
        self.observation_space = gym.spaces.Box(0, 255, frames.shape[1:], np.uint8)
        self.action_space = gym.spaces.Discrete(1)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self._t = 0
        return self._frames[0], {}

    def step(self, action: int):
        self._t += 1
        return self._frames[self._t % len(self._frames)], 0.0, False, False, {}


def measure_batching(
    model: VideoRewardModel, task: str, frames: np.ndarray, envs: int, seconds: float = 3.0
) -> Batching:
    """Time both ways alternately, in one run.

    Args:
        frames: of an episode, uint8 (T, H, W, 3).
        seconds: the slowest of the three takes at least this long.
    """
    drawn = model.config.preprocessing.get(task, {})  # as the bundle's own videos
    make = lambda: Replay(frames, drawn)  # noqa: E731
    bare = SyncVectorEnv([make] * envs)
    singles = [ViperRewardWrapper(make(), model, task, reward_scale="raw") for _ in range(envs)]
    vector = ViperVectorRewardWrapper(SyncVectorEnv([make] * envs), model, task, reward_scale="raw")
    actions = np.zeros(envs, int)

    def step_singles() -> None:
        for env in singles:
            env.step(0)

    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: bare.step(actions),
        "single": step_singles,
        "vector": lambda: vector.step(actions),
    }
    bare.reset()
    vector.reset()
    for env in singles:
        env.reset()
    cycle = model.config.video_model.sequence_length * model.config.frame_stride
    # windows fill while it warms up
    ms = in_turns(ways, turn=cycle, seconds=seconds, warm_up=2 * cycle)
    return Batching(envs, str(model.dtype).removeprefix("torch."), *ms.values())

"""What a step and a reset of a registered environment cost, part by part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from viper_gym.benchmark.turns import in_turns

TURN = 50  # steps


@dataclass(frozen=True)
class EnvironmentCost:
    """Milliseconds of one environment."""

    env: str
    physics: float
    """a step that draws nothing and pays the task reward"""
    rendering: float
    """what a picture adds to a step"""
    reward: float
    """what the video reward adds"""
    reset: float
    """of the whole: simulator, picture and the reward's first frame"""

    @property
    def step(self) -> float:
        """A whole step."""
        return self.physics + self.rendering + self.reward


def measure_environment(
    env_id: str, seconds: float = 3.0, device: str = "auto", dtype: str = "auto"
) -> EnvironmentCost:
    """Time the three kinds of one id alternately, with random actions.

    Args:
        seconds: the slowest kind takes at least this long.
    """
    kinds: dict[str, dict[str, Any]] = {
        "physics": {"checkpoint": None, "observation": "state"},
        "pixels": {"checkpoint": None},
        "reward": {"device": device, "dtype": dtype},
    }
    envs = {kind: gym.make(env_id, **kwargs) for kind, kwargs in kinds.items()}
    for env in envs.values():
        env.action_space.seed(0)
        env.reset(seed=0)
    steps = in_turns({kind: _stepper(env) for kind, env in envs.items()}, TURN, seconds, TURN)
    reset = in_turns({"reset": envs["reward"].reset}, 1, seconds / 4, 1)["reset"]
    for env in envs.values():
        env.close()
    return EnvironmentCost(
        env_id,
        steps["physics"],
        max(0.0, steps["pixels"] - steps["physics"]),  # differences of what a busy machine sways
        max(0.0, steps["reward"] - steps["pixels"]),
        reset,
    )


def _stepper(env: gym.Env[Any, Any]) -> Callable[[], None]:
    def step() -> None:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()

    return step

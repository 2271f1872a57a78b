"""An action held for several steps: how often the agent decides, whatever the reward looks at.

A video model knows frames as far apart as its training videos had them. An agent that decides less
often than that still has every one of those frames scored.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper


class HoldAction(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Each action is held for `steps` steps, or until the episode ends; rewards are summed.

    Observation and info are those of the last of these steps.

    Args:
        env: the environment.
        steps: of `env`, at least 1.

    Raises:
        ValueError: fewer than one step.
    """

    def __init__(self, env: gym.Env[Any, Any], steps: int):
        gym.utils.RecordConstructorArgs.__init__(self, steps=steps)
        gym.Wrapper.__init__(self, env)
        self._steps = _checked(steps)

    def step(self, action: Any):
        total = 0.0
        for _ in range(self._steps):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class HoldActionVector(VectorWrapper):
    """`HoldAction` for a vector environment.

    Where one of the environments ends or begins an episode, the action is held no longer in any of
    them, so that infos, last frames and first frames come through as they are.
    """

    def __init__(self, env: VectorEnv, steps: int):
        super().__init__(env)
        self._steps = _checked(steps)
        mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self._resets_next = mode == AutoresetMode.NEXT_STEP
        self._over = False

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None):
        self._over = False
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any):
        total = np.zeros(self.num_envs)
        for _ in range(1 if self._over else self._steps):
            observations, rewards, terminated, truncated, infos = self.env.step(actions)
            total += rewards
            over = bool((terminated | truncated).any())
            if over:
                break
        self._over = over and self._resets_next
        return observations, total, terminated, truncated, infos


def _checked(steps: int) -> int:
    if steps < 1:
        raise ValueError(f"an action is held for at least one step, got {steps}")
    return steps

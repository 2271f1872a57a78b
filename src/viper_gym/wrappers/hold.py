"""An action held for several steps: how often the agent decides, whatever the reward looks at.

A video model knows frames as far apart as its training videos had them. An agent that decides less
often than that still has every one of those frames scored.
"""

from __future__ import annotations

import operator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.types import STEP_INFO, SUCCESS_INFO, Bonus
from viper_gym.wrappers.vector import said_of_frames
from viper_gym.wrappers.vector_frames import autoreset_mode


class HoldAction(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Each action is held for `steps` steps, or until the episode ends.

    Rewards are summed, and so are the parts of them in info (`viper/log_prob`, `viper/reward`,
    `viper/bonus`, `viper/task_reward`). A task that was solved at one of these steps is solved
    (`success`, `is_success`); all else is of the last.

    Args:
        env: the environment.
        steps: of `env`, at least 1.

    Raises:
        ValueError: fewer than one step, or no whole number.
    """

    def __init__(self, env: gym.Env[Any, Any], steps: int):
        self._steps = checked_hold(steps)
        gym.utils.RecordConstructorArgs.__init__(self, steps=self._steps)
        gym.Wrapper.__init__(self, env)
        self.metadata = _slower(env.metadata, self._steps)

    @property
    def preprocessing(self) -> dict[str, Any] | None:
        """What is said of the frames between which an action is held, None where nothing is."""
        told = self.env.has_wrapper_attr("preprocessing")
        return _held(self.env.get_wrapper_attr("preprocessing") if told else None, self._steps)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total, parts = 0.0, _Parts()
        for _ in range(self._steps):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            parts.add(info)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, {**info, **parts.values}


class HoldActionVector(VectorWrapper):
    """`HoldAction` for a vector environment.

    Where one of the environments ends or begins an episode, the action is held no longer in any of
    them, so that infos, last frames and first frames come through as they are.
    """

    def __init__(self, env: VectorEnv, steps: int):
        super().__init__(env)
        self._steps = checked_hold(steps)
        self.metadata = _slower(env.metadata, self._steps)
        mode = autoreset_mode(env)
        self._resets_next = mode == AutoresetMode.NEXT_STEP
        self._resets_at_once = mode == AutoresetMode.SAME_STEP
        self._over = np.zeros(env.num_envs, bool)

    @property
    def beta(self) -> float:
        """Weight of the exploration bonus inside; may be set between steps."""
        return self._reward.beta

    @beta.setter
    def beta(self, value: float) -> None:
        self._reward.beta = value

    @property
    def bonus(self) -> Bonus | None:
        """The exploration bonus inside."""
        return self._reward.bonus

    @property
    def reward_model(self) -> VideoRewardModel:
        """The video model inside."""
        return self._reward.reward_model

    @property
    def _reward(self) -> Any:
        """The wrapper that pays: vector wrappers do not pass on what they have not themselves."""
        return self.env

    @property
    def preprocessing(self) -> list[dict[str, Any] | None]:
        """As `HoldAction.preprocessing`, of every environment."""
        return [_held(said, self._steps) for said in said_of_frames(self.env)]

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        begun = (options or {}).get("reset_mask", True)  # read first: the environment pops it
        self._over &= ~np.asarray(begun, bool)
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        total, parts = np.zeros(self.num_envs), _Parts()
        for _ in range(1 if self._over.any() else self._steps):
            observations, rewards, terminated, truncated, infos = self.env.step(actions)
            total += rewards
            over = terminated | truncated
            if self._resets_at_once and over.any():
                infos = parts.told_of_ended(infos, over)
            parts.add(infos)
            if over.any():
                break
        self._over = over & self._resets_next
        return observations, total, terminated, truncated, {**infos, **parts.values}


class _Parts:
    """What the steps that one action is held for say of their rewards, summed; and successes."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def add(self, info: dict[str, Any]) -> None:
        for key in STEP_INFO.keys() & info.keys():
            self.values[key] = self.values.get(key, 0.0) + info[key]
        for key in info.keys() & set(SUCCESS_INFO):
            self.values[key] = _larger(info[key], self.values.get(key))

    def told_of_ended(self, infos: dict[str, Any], over: np.ndarray) -> dict[str, Any]:
        """The infos with the successes of episodes that are over in `final_info`, and forgotten
        here: what `infos` tells of those environments is of their next episode."""
        final = infos.get("final_info")
        final = dict(final) if isinstance(final, dict) else {}
        for key in self.values.keys() & set(SUCCESS_INFO):
            before = self.values.pop(key)
            if key in final:
                final[key] = np.where(over, _larger(final[key], before), final[key])
            if not over.all():
                self.values[key] = np.where(over, np.zeros_like(before), before)
        return {**infos, "final_info": final} if final else infos


def _larger(value: Any, before: Any) -> Any:
    """Of numbers, or of arrays of them; the newer where they cannot be compared."""
    if before is None:
        return value
    try:
        larger = np.maximum(value, before)
    except (TypeError, ValueError):
        return value
    return larger if np.ndim(larger) else type(value)(larger)


def _slower(metadata: dict[str, Any], steps: int) -> dict[str, Any]:
    """Frames of the agent's steps are further apart than the environment's."""
    fps = metadata.get("render_fps")
    return {**metadata, "render_fps": max(1, round(fps / steps))} if fps else dict(metadata)


def _held(said: dict[str, Any] | None, steps: int) -> dict[str, Any] | None:
    if not isinstance(said, dict) or "action_repeat" not in said:
        return said
    return {**said, "action_repeat": said["action_repeat"] * steps}


def checked_hold(steps: int) -> int:
    """The steps.

    Raises:
        ValueError: less than one, or no whole number.
    """
    try:
        number = operator.index(steps)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"an action is held for a whole number of steps from 1 on, got {steps!r}")
    return number

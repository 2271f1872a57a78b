"""`BonusRewardWrapper`: an exploration bonus for any environment, without a video model."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch

from viper_gym.bonus.choose import check_bonus, name_of
from viper_gym.errors import finite
from viper_gym.likelihood.precision import resolve_device
from viper_gym.types import INFO_BONUS, INFO_TASK_RETURN, INFO_TASK_REWARD, Bonus
from viper_gym.wrappers.exploration import Explorer
from viper_gym.wrappers.frames import (
    is_grey,
    newest_frame,
    refuse_autoreset,
    shown_frame,
    take_context_back,
)

SB3_MAKES_IT = "make_vec_env(…, wrapper_class=BonusRewardWrapper)"
_FIRST = np.array([0])


class BonusRewardWrapper(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Add an exploration bonus to the task reward, or put it in the task reward's place.

    Frames are the observations where these are uint8 RGB images, channels first or last, stacked
    or not, else `render()`. The bonus learns inside `step`, at most one optimiser step each.

    Info, on every step, Python floats: `viper/bonus` (beta * bonus) and `viper/task_reward`; at
    the end of an episode also `viper/task_return`.

    Args:
        env: the environment; with `render_mode="rgb_array"` if it does not observe pixels.
        bonus: "rnd", "disagreement", or an object with the protocol `viper_gym.types.Bonus`.
        beta: weight of the bonus; an attribute, which may be set between steps.
        task_reward_weight: weight of the environment's own reward; 0 replaces it.
        device: of a bonus chosen by name: "auto" (a GPU where there is one, but not in worker
            processes), "cpu", "cuda", …. An object stays where it was made.

    Raises:
        ValueError: not a bonus, or a weight that is no finite number.
        TypeError: `env` is a vector environment.
        FrameMismatch: at reset, if there are no frames or they are too small.
        DeviceUnavailable: then, too.

    Example:
        >>> env = gym.make("ALE/MontezumaRevenge-v5")
        >>> env = BonusRewardWrapper(env, "rnd", beta=0.1)
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        bonus: str | Bonus = "rnd",
        *,
        beta: float = 1.0,
        task_reward_weight: float = 1.0,
        device: str | torch.device = "auto",
    ):
        if not isinstance(env, gym.Env):
            raise TypeError(
                f"expected a gymnasium.Env, got {type(env).__name__}: vector environments take "
                f"BonusVectorRewardWrapper (gymnasium.vector) or {SB3_MAKES_IT} "
                "(Stable-Baselines3)"
            )
        check_bonus(bonus)
        beta = finite("beta", beta)
        weight = finite("task_reward_weight", task_reward_weight)
        gym.utils.RecordConstructorArgs.__init__(
            self,
            bonus=name_of(bonus),
            beta=beta,
            task_reward_weight=weight,
            device=str(device),  # a torch.device is no JSON
        )
        refuse_autoreset(env)
        gym.Wrapper.__init__(self, env)
        self._chosen, self._device = bonus, device
        self.beta, self._task_reward_weight = beta, weight
        self._newest = None if is_grey(env) else newest_frame(env.observation_space)
        self._explorer: Explorer | None = None
        self._task_return = 0.0

    @property
    def bonus(self) -> Bonus | None:
        """The bonus, for its `state_dict`; one named is made at the first reset."""
        if self._explorer is not None:
            return self._explorer.bonus
        return None if isinstance(self._chosen, str) else self._chosen

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        take_context_back(self.env)
        observation, info = self.env.reset(seed=seed, options=options)
        frame = self._frame(observation, info)
        if self._explorer is None:  # only now is the size of rendered frames known
            height, width = frame.shape[:2]
            self._explorer = Explorer(self._chosen, (height, width), self.env.action_space, 1)
            self._explorer.to(resolve_device(self._device))
        self._explorer.reset(_FIRST, frame[None])
        self._task_return = 0.0
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._explorer is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        actions = self._explorer.flat_actions([action])
        take_context_back(self.env)
        observation, task_reward, terminated, truncated, info = self.env.step(action)
        frames = self._frame(observation, info)[None]
        bonus = self.beta * float(self._explorer.score(_FIRST, actions, frames)[0])
        self._task_return += float(task_reward)
        told = {INFO_TASK_REWARD: float(task_reward)}
        if terminated or truncated:
            told[INFO_TASK_RETURN] = self._task_return
        # of an environment that a video pays, the task's are told already, and maybe a bonus
        info = {**told, **info, INFO_BONUS: bonus + info.get(INFO_BONUS, 0.0)}
        # a task reward may be NaN where nobody asks for it
        task = self._task_reward_weight * float(task_reward) if self._task_reward_weight else 0.0
        return observation, task + bonus, terminated, truncated, info

    def _frame(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        return shown_frame(self.env, self._newest, observation, info)

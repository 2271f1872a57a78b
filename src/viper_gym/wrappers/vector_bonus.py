"""`BonusVectorRewardWrapper`: an exploration bonus for any vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from viper_gym.bonus.choose import check_bonus
from viper_gym.errors import finite
from viper_gym.likelihood.precision import resolve_device
from viper_gym.types import INFO_BONUS, INFO_TASK_RETURN, INFO_TASK_REWARD, Bonus
from viper_gym.wrappers.bonus import SB3_MAKES_IT
from viper_gym.wrappers.exploration import Explorer
from viper_gym.wrappers.vector_frames import VectorFrames, put, without_frames

TOLD = (INFO_BONUS, INFO_TASK_REWARD, INFO_TASK_RETURN)


class BonusVectorRewardWrapper(VectorWrapper):
    """`BonusRewardWrapper` for a vector environment; one bonus learns from all environments.

    Frames and autoreset modes are as for `ViperVectorRewardWrapper`: a step that only resets
    gives reward 0. Info values are arrays (num_envs,) with their `_key` masks.

    Args:
        env: the vector environment.
        bonus: "rnd", "disagreement", or an object with the protocol `viper_gym.types.Bonus`.
        beta: weight of the bonus; an attribute, which may be set between steps.
        task_reward_weight: weight of the environments' own rewards; 0 replaces them.
        device: of a bonus chosen by name: "auto" (a GPU where there is one, but not in worker
            processes), "cpu", "cuda", …. An object stays where it was made.

    Raises:
        ValueError: not a bonus, or a weight that is no finite number.
        TypeError: `env` is no vector environment of Gymnasium.
        FrameMismatch: at reset, if there are no frames or they are too small.
        DeviceUnavailable: then, too.

    Example:
        >>> envs = gym.make_vec("ALE/MontezumaRevenge-v5", 8, grayscale=False)
        >>> envs = BonusVectorRewardWrapper(envs, "rnd", beta=0.1)
    """

    def __init__(
        self,
        env: VectorEnv,
        bonus: str | Bonus = "rnd",
        *,
        beta: float = 1.0,
        task_reward_weight: float = 1.0,
        device: str | torch.device = "auto",
    ):
        if not isinstance(env, VectorEnv):
            single = isinstance(env, gym.Env)
            other = "BonusRewardWrapper" if single else f"{SB3_MAKES_IT} for Stable-Baselines3"
            raise TypeError(
                f"expected a gymnasium.vector.VectorEnv, got {type(env).__name__}: use {other}"
            )
        check_bonus(bonus)
        super().__init__(env)
        self._chosen, self._device = bonus, device
        self.beta = finite("beta", beta)
        self._task_reward_weight = finite("task_reward_weight", task_reward_weight)
        self._seen = VectorFrames(env)
        self._explorer: Explorer | None = None
        self._task_returns = np.zeros(env.num_envs)
        self._over = np.zeros(env.num_envs, bool)

    @property
    def bonus(self) -> Bonus | None:
        """The bonus, for its `state_dict`; one named is made at the first reset."""
        if self._explorer is not None:
            return self._explorer.bonus
        return None if isinstance(self._chosen, str) else self._chosen

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:  # read first: the environment pops it
            mask = np.array(options["reset_mask"], bool)
        observations, info = self.env.reset(seed=seed, options=options)
        frames = self._seen.at_reset(observations, info, mask)
        if self._explorer is None:  # only now is the size of rendered frames known
            height, width = frames.shape[1:3]
            space = self.env.single_action_space
            self._explorer = Explorer(self._chosen, (height, width), space, self.num_envs)
            self._explorer.to(resolve_device(self._device))
        self._begin(self._explorer, mask, frames)
        self._over &= ~mask
        return observations, without_frames(info)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if self._explorer is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        flat = self._explorer.flat_actions(list(iterate(self.env.action_space, actions)))
        observations, task_rewards, terminated, truncated, info = self.env.step(actions)
        mode, n = self._seen.mode, self.num_envs
        # Under NEXT_STEP the environments that were over have only been reset by this step.
        fresh = self._over if mode == AutoresetMode.NEXT_STEP else np.zeros_like(self._over)
        over = np.asarray(terminated) | np.asarray(truncated)
        shown, frames = self._seen.at_step(observations, info, over)
        which, info = np.flatnonzero(~fresh), without_frames(info)
        task, bonus = np.asarray(task_rewards, np.float64)[which], np.zeros(0)
        if len(which):
            bonus = self.beta * self._explorer.score(which, flat[which], shown[which])
        # of environments that a video pays, the task's are told already, and maybe a bonus
        begun = over if mode == AutoresetMode.SAME_STEP else np.zeros(n, bool)
        inner = {key: _told(info, key, begun) for key in TOLD}
        put(info, INFO_BONUS, which, bonus + np.nan_to_num(inner[INFO_BONUS][which]), n)
        known = inner[INFO_TASK_REWARD][which]
        put(info, INFO_TASK_REWARD, which, np.where(np.isnan(known), task, known), n)
        self._task_returns[which] += task
        rewards = np.zeros(n)
        rewards[which] = bonus
        if self._task_reward_weight:  # a task reward may be NaN where nobody asks for it
            rewards[which] += self._task_reward_weight * task
        ended = np.flatnonzero(over & ~fresh)
        if len(ended):
            known = inner[INFO_TASK_RETURN][ended]
            returns = np.where(np.isnan(known), self._task_returns[ended], known)
            put(info, INFO_TASK_RETURN, ended, returns, n)
        begins = over if mode == AutoresetMode.SAME_STEP else fresh
        if begins.any():
            self._begin(self._explorer, begins, frames)
        self._over = over.copy()
        return observations, rewards, terminated, truncated, info

    def _begin(self, explorer: Explorer, mask: np.ndarray, frames: np.ndarray) -> None:
        explorer.reset(np.flatnonzero(mask), frames[mask])
        self._task_returns[mask] = 0.0


def _told(info: dict[str, Any], key: str, begun: np.ndarray) -> np.ndarray:
    """float (n,): what the environments tell of this step, NaN where they do not.

    Args:
        begun: bool (n,), whose next episode began in it: its end is told in `final_info`.
    """
    told, final = np.full(len(begun), np.nan), info.get("final_info")
    for said, whose in ((info, ~begun), (final, begun)):
        if isinstance(said, dict) and key in said:
            rows = whose & said.get(f"_{key}", True)
            told[rows] = np.asarray(said[key], float)[rows]
    return told

"""`ViperVectorRewardWrapper`: one batched model call a step for all environments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.likelihood.scaling import Clip, ScaleKind
from viper_gym.types import INFO_RETURN, INFO_TASK_RETURN, INFO_TIME_SHARE, STEP_INFO, Bonus
from viper_gym.wrappers.scored import ScoredByVideo, refuse_scored
from viper_gym.wrappers.scoring import RewardOptions, Scorer
from viper_gym.wrappers.vector_frames import VectorFrames, put, without_frames

SB3_WRAPPER = "viper_gym.wrappers.sb3.ViperVecEnvWrapper for Stable-Baselines3"


class ViperVectorRewardWrapper(ScoredByVideo, VectorWrapper):
    """`ViperRewardWrapper` for a vector environment: every number is the same, in arrays.

    Frames are the `info["viper/frame"]` of `FrameInInfo` where the environments have it, else the
    observations where these are uint8 RGB images or stacks of them, else `render()` of the
    vector environment (a tuple of frames). A step costs one model call, and a second one if
    episodes begin in it. Info values are arrays
    (num_envs,) with their `_key` masks, as Gymnasium's vector environments have them. The
    three autoreset modes are followed: a step that only resets gives reward 0, and masks that
    say so; windows never cross episodes.

    Args:
        env: the vector environment.
        checkpoint: alias, folder, Hub repository or loaded model.
        task: one for all, or one an environment; may be left out where the bundle has one.
        revision, device, dtype, reward_scale, reward_clip, bonus, beta, task_reward_weight: as
            for `ViperRewardWrapper`; one bonus learns from all environments.

    Raises:
        CheckpointError, UnknownTask, PreprocessingMismatch, ValueError: when wrapping.
        FrameMismatch: at reset, if the frames do not fit the model, or come from `render()`
            while the environment resets in the same step, which hides the last frame of every
            episode.

    Example:
        >>> envs = gym.make_vec("Hopper-v5", 8, render_mode="rgb_array", width=64, height=64)
        >>> envs = ViperVectorRewardWrapper(envs, "org/bundle", task="hopper")
    """

    def __init__(
        self,
        env: VectorEnv,
        checkpoint: str | Path | VideoRewardModel,
        task: str | Sequence[str] | None = None,
        *,
        revision: str | None = None,
        device: str | torch.device = "auto",
        dtype: str = "auto",
        reward_scale: ScaleKind = "calibrated",
        reward_clip: Clip = None,
        bonus: str | Bonus | None = None,
        beta: float = 1.0,
        task_reward_weight: float = 0.0,
    ):
        if not isinstance(env, VectorEnv):
            other = "ViperRewardWrapper" if isinstance(env, gym.Env) else SB3_WRAPPER
            raise TypeError(
                f"expected a gymnasium.vector.VectorEnv, got {type(env).__name__}: use {other}"
            )
        refuse_scored(_paid_by_video(env))
        super().__init__(env)
        options = RewardOptions(
            revision, device, dtype, reward_scale, reward_clip, bonus, beta, task_reward_weight
        )
        self._scorer = Scorer(
            checkpoint, task, said_of_frames(env), options, env.single_action_space
        )
        self._seen = VectorFrames(env)
        self._over = np.zeros(env.num_envs, bool)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:  # read first: the environment pops it
            mask = np.array(options["reset_mask"], bool)
        observations, info = self.env.reset(seed=seed, options=options)
        self._scorer.reset(mask, self._seen.at_reset(observations, info, mask)[mask])
        info = without_frames(info)
        self._over &= ~mask
        return observations, info

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        if not self._scorer.started:
            raise gym.error.ResetNeeded("call reset() before step()")
        # not every space can be iterated over: without a bonus no action is looked at
        chosen = () if self.bonus is None else iterate(self.env.action_space, actions)
        flat = self._scorer.flat_actions(chosen)
        observations, task_rewards, terminated, truncated, info = self.env.step(actions)
        terminated, truncated = np.asarray(terminated), np.asarray(truncated)
        # Under NEXT_STEP the environments that were over have only been reset by this step.
        mode = self._seen.mode
        fresh = self._over if mode == AutoresetMode.NEXT_STEP else np.zeros_like(self._over)
        scored, over = ~fresh, terminated | truncated
        shown, frames = self._seen.at_step(observations, info, over)
        rewards, info = np.zeros(self.num_envs), without_frames(info)
        which = np.flatnonzero(scored)
        parts = {key: np.zeros(0) for key in STEP_INFO}  # the same keys at every step
        if len(which):
            terms = self._scorer.score(
                shown[which], np.asarray(task_rewards)[which], flat[which], which
            )
            rewards[which] = terms.total
            parts = {key: getattr(terms, part) for key, part in STEP_INFO.items()}
        for key, values in parts.items():
            put(info, key, which, values, self.num_envs)
        ended = np.flatnonzero(over & scored)
        if len(ended):
            put(info, INFO_RETURN, ended, self._scorer.returns[ended], self.num_envs)
            returns = self._scorer.task_returns[ended]
            put(info, INFO_TASK_RETURN, ended, returns, self.num_envs)
            share = np.full(len(ended), self._scorer.time_share)
            put(info, INFO_TIME_SHARE, ended, share, self.num_envs)
        if (terminated & scored).any():
            self._scorer.warn_of_termination()
        begins = over if mode == AutoresetMode.SAME_STEP else fresh
        if begins.any():
            self._scorer.reset(begins, frames[begins])
        self._over = over.copy()
        return observations, rewards, terminated, truncated, info


def said_of_frames(env: VectorEnv) -> list[dict[str, Any] | None]:
    """What each environment says of its frames, None where it says nothing."""
    inner: Any = env
    while isinstance(inner, VectorWrapper):
        if hasattr(type(inner), "preprocessing"):  # changes what is said below it
            changed: Any = inner
            return changed.preprocessing
        inner = inner.env
    if all(_have(inner, "preprocessing")):
        return list(inner.get_attr("preprocessing"))
    # of a vector environment that cannot be asked one by one (ale-py's own), for all of them
    said = getattr(inner, "preprocessing", None)
    return [said if isinstance(said, dict) else None] * env.num_envs


def _paid_by_video(env: VectorEnv) -> bool:
    """Whether a wrapper within this, or within one of its environments, is of `ScoredByVideo`."""
    inner: Any = env
    while isinstance(inner, VectorWrapper):
        if isinstance(inner, ScoredByVideo):
            return True
        inner = inner.env
    return any(_have(inner, "paid_by_video"))


def _have(env: Any, name: str) -> Sequence[bool]:
    """Which environments of a vector have an attribute; asking for one that is not there would
    kill the workers of an `AsyncVectorEnv`."""
    return env.call("has_wrapper_attr", name) if hasattr(env, "call") else [False]

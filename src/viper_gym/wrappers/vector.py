"""`ViperVectorRewardWrapper`: one batched model call a step for all environments."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from viper_gym.errors import FrameMismatch
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.likelihood.scaling import Clip, ScaleKind
from viper_gym.types import INFO_RETURN, INFO_TASK_RETURN, INFO_TIME_SHARE, STEP_INFO, Bonus
from viper_gym.wrappers.frames import INFO_FRAME, newest_frame, rendered_frame
from viper_gym.wrappers.scoring import RewardOptions, ScoredByVideo, Scorer

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
        CheckpointError, UnknownTask, PreprocessingMismatch: when wrapping.
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
        device: str = "auto",
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
        super().__init__(env)
        options = RewardOptions(
            revision, device, dtype, reward_scale, reward_clip, bonus, beta, task_reward_weight
        )
        self._scorer = Scorer(
            checkpoint, task, said_of_frames(env), options, env.single_action_space
        )
        self._newest = newest_frame(env.single_observation_space)
        self._mode = autoreset_mode(env)
        self._warned = False
        self._over = np.zeros(env.num_envs, bool)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None):
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:  # read first: the environment pops it
            mask = np.array(options["reset_mask"], bool)
        observations, info = self.env.reset(seed=seed, options=options)
        if (
            self._newest is None
            and self._mode == AutoresetMode.SAME_STEP
            and INFO_FRAME not in info
        ):
            raise FrameMismatch(
                "frames come from render(), and environments that reset in the same step hide "
                "their last frame: make them with wrappers=[viper_gym.wrappers.frames."
                "FrameInInfo], use autoreset_mode NEXT_STEP, or observe pixels"
            )
        self._scorer.reset(mask, self._frames(observations, info)[mask])
        info = _without_frames(info)
        self._over &= ~mask
        return observations, info

    def step(self, actions: Any):
        if not self._scorer.started:
            raise gym.error.ResetNeeded("call reset() before step()")
        # not every space can be iterated over: without a bonus no action is looked at
        chosen = () if self.bonus is None else iterate(self.env.action_space, actions)
        flat = self._scorer.flat_actions(chosen)
        observations, task_rewards, terminated, truncated, info = self.env.step(actions)
        frames = self._frames(observations, info)
        # Under NEXT_STEP the environments that were over have only been reset by this step.
        fresh = self._over if self._mode == AutoresetMode.NEXT_STEP else np.zeros_like(self._over)
        scored, over = ~fresh, terminated | truncated
        shown = frames
        if self._mode == AutoresetMode.SAME_STEP and over.any():
            shown = self._with_last_frames(frames, np.flatnonzero(over), info)
        rewards, info = np.zeros(self.num_envs), _without_frames(info)
        which = np.flatnonzero(scored)
        parts = {key: np.zeros(0) for key in STEP_INFO}  # the same keys at every step
        if len(which):
            terms = self._scorer.score(
                shown[which], np.asarray(task_rewards)[which], flat[which], which
            )
            rewards[which] = terms.total
            parts = {key: getattr(terms, part) for key, part in STEP_INFO.items()}
        for key, values in parts.items():
            _put(info, key, which, values, self.num_envs)
        ended = np.flatnonzero(over & scored)
        if len(ended):
            _put(info, INFO_RETURN, ended, self._scorer.returns[ended], self.num_envs)
            returns = self._scorer.task_returns[ended]
            _put(info, INFO_TASK_RETURN, ended, returns, self.num_envs)
            share = np.full(len(ended), self._scorer.time_share)
            _put(info, INFO_TIME_SHARE, ended, share, self.num_envs)
        if (terminated & scored).any():
            self._scorer.warn_of_termination()
        begins = over if self._mode == AutoresetMode.SAME_STEP else fresh
        if begins.any():
            self._scorer.reset(begins, frames[begins])
        self._over = over.copy()
        return observations, rewards, terminated, truncated, info

    def _with_last_frames(
        self, frames: np.ndarray, over: np.ndarray, info: dict[str, Any]
    ) -> np.ndarray:
        """`frames`, but of the environments `over` the last frame and not the next first one."""
        shown = frames.copy()
        inside = info.get("final_info", {}).get(INFO_FRAME)
        for i in over:
            if inside is not None:
                shown[i] = inside[i]
            else:
                shown[i] = self._newest(info["final_obs"][i])  # type: ignore[misc]
        same = [np.array_equal(shown[i], frames[i]) for i in over]
        if inside is None and not self._warned and any(same):
            self._warned = True
            warnings.warn(
                "the last observation of an episode equals the first of the next: if the "
                "environments reuse their observation array, the last reward of every episode is "
                "wrong; make them with wrappers=[viper_gym.wrappers.frames.FrameInInfo]",
                stacklevel=3,
            )
        return shown

    def _frames(self, observations: Any, info: dict[str, Any]) -> np.ndarray:
        """uint8 (n, H, W, 3)."""
        if INFO_FRAME in info:
            return np.asarray(info[INFO_FRAME])
        if self._newest is not None:
            return self._newest(np.asarray(observations))
        if type(self.env) is SyncVectorEnv:
            return np.stack([rendered_frame(env) for env in self.env.envs])
        try:
            frames = self.env.render()
        except NotImplementedError:
            frames = None
        if frames is None or len(frames) != self.num_envs or frames[0] is None:
            raise FrameMismatch(
                "the observations are no RGB images, so frames come from render(), which returned "
                "none: make the environments with render_mode='rgb_array' or observe colour"
            )
        return np.stack(frames)


def autoreset_mode(env: VectorEnv) -> AutoresetMode:
    """When environments that are over begin anew; NEXT_STEP where nothing is said."""
    mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    return getattr(env.unwrapped, "autoreset_mode", mode)


def said_of_frames(env: VectorEnv) -> list[dict[str, Any] | None]:
    """What each environment says of its frames, None where it says nothing."""
    inner: Any = env
    while isinstance(inner, VectorWrapper):
        if hasattr(type(inner), "preprocessing"):  # changes what is said below it
            said: Any = inner
            return said.preprocessing
        inner = inner.env
    # asking for what is not there would kill the workers of an AsyncVectorEnv
    if not hasattr(inner, "call") or not all(inner.call("has_wrapper_attr", "preprocessing")):
        return [None] * env.num_envs
    return list(inner.get_attr("preprocessing"))


def _without_frames(info: dict[str, Any]) -> dict[str, Any]:
    """Frames are large, and not the agent's business."""
    hidden = (INFO_FRAME, f"_{INFO_FRAME}")
    info = {key: value for key, value in info.items() if key not in hidden}
    if isinstance(info.get("final_info"), dict):
        info["final_info"] = {k: v for k, v in info["final_info"].items() if k not in hidden}
    return info


def _put(info: dict[str, Any], key: str, which: np.ndarray, values: np.ndarray, n: int) -> None:
    """An info value with its mask, as `VectorEnv` writes them."""
    full, mask = np.zeros(n), np.zeros(n, bool)
    full[which], mask[which] = values, True
    info[key], info[f"_{key}"] = full, mask

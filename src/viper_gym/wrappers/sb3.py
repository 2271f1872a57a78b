"""Stable-Baselines3: `ViperVecEnvWrapper` rewards a `VecEnv` with one model call a step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from viper_gym.errors import FrameMismatch
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.likelihood.scaling import Clip, ScaleKind
from viper_gym.optional import require
from viper_gym.types import (
    INFO_BONUS,
    INFO_RETURN,
    INFO_REWARD,
    INFO_TASK_RETURN,
    INFO_TIME_SHARE,
    STEP_INFO,
    Bonus,
)
from viper_gym.wrappers.frames import (
    INFO_FRAME,
    FrameInInfo,
    is_grey,
    newest_frame,
    warn_of_late_pictures,
    warn_of_reuse,
)
from viper_gym.wrappers.scored import ScoredByVideo, refuse_scored
from viper_gym.wrappers.scoring import RewardOptions, Scorer

require("stable_baselines3", extra="sb3")  # a better error than the import's own

from stable_baselines3.common.callbacks import BaseCallback  # noqa: E402
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper  # noqa: E402
from stable_baselines3.common.vec_env.base_vec_env import (  # noqa: E402
    VecEnvObs,
    VecEnvStepReturn,
)

__all__ = ["FrameInInfo", "LogRewards", "ViperVecEnvWrapper"]


class ViperVecEnvWrapper(ScoredByVideo, VecEnvWrapper):
    """`ViperRewardWrapper` for a `VecEnv`: the same numbers, one model call a step for all.

    Frames are the observations where these are uint8 RGB images, channels first or last,
    stacked or not (so it works under and over `VecTransposeImage` and `VecFrameStack`), or the
    `info["viper/frame"]` of `FrameInInfo`, which goes before observations: put it around
    environments that reuse their observation buffer, whose last image SB3 overwrites. Every
    info gets the keys of `ViperRewardWrapper`. `VecMonitor` above it logs the video return,
    below it the task return; `LogRewards` puts both, the bonus and the share of time into
    Stable-Baselines3's logger.

    Args:
        venv: the vector environment.
        checkpoint: alias, folder, Hub repository or loaded model.
        task: one for all, or one an environment; may be left out where the bundle has one.
        revision, device, dtype, reward_scale, reward_clip, bonus, beta, task_reward_weight: as
            for `ViperRewardWrapper`; one bonus learns from all environments.

    Raises:
        CheckpointError, UnknownTask, PreprocessingMismatch, ValueError: when wrapping.
        FrameMismatch: at reset, if there are no frames or they do not fit the model.

    Example:
        >>> bare = {"checkpoint": None, "observation": "state"}
        >>> venv = make_vec_env("viper/dmc-cheetah_run-v0", 4, wrapper_class=FrameInInfo,
        ...                     env_kwargs=bare)
        >>> venv = ViperVecEnvWrapper(venv, "dmc", task="cheetah_run", bonus="rnd")
        >>> SAC("MlpPolicy", venv).learn(100_000)
    """

    def __init__(
        self,
        venv: VecEnv,
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
        if not isinstance(venv, VecEnv):
            other = (
                "ViperRewardWrapper" if isinstance(venv, gym.Env) else "ViperVectorRewardWrapper"
            )
            raise TypeError(
                f"expected a Stable-Baselines3 VecEnv, got {type(venv).__name__}: use "
                f"viper_gym.{other}"
            )
        refuse_scored(_paid_by_video(venv))
        super().__init__(venv)
        options = RewardOptions(
            revision, device, dtype, reward_scale, reward_clip, bonus, beta, task_reward_weight
        )
        self._scorer = Scorer(checkpoint, task, _said(venv), options, venv.action_space)
        ones = getattr(venv.unwrapped, "envs", ())
        for one in ones[:1]:
            warn_of_late_pictures(one)
        grey = any(is_grey(one) for one in ones)
        self._newest = None if grey else newest_frame(venv.observation_space)
        self._warned = False

    def reset(self) -> VecEnvObs:
        observations = self.venv.reset()
        frames = self._frames(observations, self.venv.unwrapped.reset_infos)
        self._scorer.reset(np.ones(self.num_envs, bool), frames)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        if not self._scorer.started:
            raise gym.error.ResetNeeded("call reset() before step()")
        self._actions = self._scorer.flat_actions(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        observations, task_rewards, dones, infos = self.venv.step_wait()
        # the frames that the actions led to: of finished episodes the last one, not the reset's
        last: Any = observations
        if self._newest is not None:
            last = np.array(observations)
            for i in range(self.num_envs):
                if dones[i]:
                    last[i] = infos[i]["terminal_observation"]
                    same = np.array_equal(last[i], np.asarray(observations)[i])
                    if same and not self._warned and INFO_FRAME not in infos[i]:
                        self._warned = True
                        warn_of_reuse("wrapper_class=FrameInInfo")
        terms = self._scorer.score(self._frames(last, infos), task_rewards, self._actions)
        for i, info in enumerate(infos):
            info.pop(INFO_FRAME, None)  # large, and replay buffers may keep infos
            info.update({key: float(getattr(terms, part)[i]) for key, part in STEP_INFO.items()})
            if dones[i]:
                info[INFO_RETURN] = float(self._scorer.returns[i])
                info[INFO_TASK_RETURN] = float(self._scorer.task_returns[i])
                info[INFO_TIME_SHARE] = self._scorer.time_share
        ended_early = [not i.get("TimeLimit.truncated", False) for i in infos]
        if (dones & ended_early).any():
            self._scorer.warn_of_termination()
        if dones.any():
            self._scorer.reset(
                dones, self._frames(observations, self.venv.unwrapped.reset_infos)[dones]
            )
        return observations, terms.total.astype(np.float32), dones, infos

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """As of the environments; `beta`, the weight of the bonus, is this wrapper's own."""
        if attr_name == "beta":
            self.beta = value
        else:
            super().set_attr(attr_name, value, indices)

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """As of the environments; `beta` as for `set_attr`."""
        if attr_name == "beta":
            return [self.beta for _ in self._get_indices(indices)]
        return super().get_attr(attr_name, indices)

    def _frames(self, observations: Any, infos: Sequence[dict[str, Any]]) -> np.ndarray:
        """uint8 (n, H, W, 3)."""
        missing = [i for i, info in enumerate(infos) if INFO_FRAME not in info]
        if self._newest is not None and missing:
            return self._newest(np.asarray(observations))
        if missing:
            raise FrameMismatch(
                f"the observations are no RGB images and environments {missing} give no "
                f"info['{INFO_FRAME}']: make them with wrapper_class=FrameInInfo "
                "(viper_gym.wrappers.sb3) and render_mode='rgb_array', outside of wrappers that "
                "return infos of their own (such as FireResetEnv)"
            )
        return np.stack([info[INFO_FRAME] for info in infos])


class LogRewards(BaseCallback):
    """Records what the video reward is made of, averaged between two dumps of the logger.

    `viper/task_return` and `viper/return` (of finished episodes), `viper/reward` and
    `viper/bonus` (a step) and `viper/time_share` (wall-clock spent in rewards, 0…1).

    Example:
        >>> SAC("MlpPolicy", venv, tensorboard_log="runs").learn(100_000, callback=LogRewards())
    """

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            for key in (INFO_RETURN, INFO_TASK_RETURN, INFO_REWARD, INFO_BONUS, INFO_TIME_SHARE):
                if key in info:
                    self.logger.record_mean(key, info[key])
        return True


def _said(venv: VecEnv) -> list[dict[str, Any] | None]:
    """What each environment says of its frames, None where it says nothing."""
    if not venv.has_attr("preprocessing"):  # asking for it would kill a SubprocVecEnv's workers
        return [None] * venv.num_envs
    return list(venv.get_attr("preprocessing"))


def _paid_by_video(venv: VecEnv) -> bool:
    """Whether a wrapper within this, or within its environments, is of `ScoredByVideo`."""
    inner: Any = venv
    while isinstance(inner, VecEnvWrapper):
        if isinstance(inner, ScoredByVideo):
            return True
        inner = inner.venv
    told = inner.get_attr("paid_by_video") if inner.has_attr("paid_by_video") else []
    return any(value is True for value in told)

"""`ViperRewardWrapper`: the reward of any Gymnasium environment from a video model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.likelihood.scaling import Clip, ScaleKind
from viper_gym.types import INFO_RETURN, INFO_TASK_RETURN, INFO_TIME_SHARE, STEP_INFO, Bonus
from viper_gym.wrappers.frames import (
    is_grey,
    newest_frame,
    refuse_autoreset,
    shown_frame,
    take_context_back,
    warn_of_late_pictures,
)
from viper_gym.wrappers.scored import ScoredByVideo, recorded_arguments, refuse_scored
from viper_gym.wrappers.scoring import RewardOptions, Scorer


class ViperRewardWrapper(ScoredByVideo, gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Replace the task reward by the scaled log-likelihood of what the agent shows.

    `step(a_t)` returns x_{t+1} and the reward that scores x_{t+1} given the frames before it
    (paper Eq. 7). Frames are the observations where these are uint8 RGB images or stacks of them
    (`wrappers.frames.newest_frame`), else `render()`.

    Info, on every step, Python floats: `viper/log_prob` (nats), `viper/reward` (scaled,
    without bonus), `viper/bonus`, `viper/task_reward`; at the end of an episode also
    `viper/return`, `viper/task_return` and `viper/time_share`, the share of wall-clock spent
    in rewards so far.

    Args:
        env: the environment; with `render_mode="rgb_array"` if it does not observe pixels.
        checkpoint: alias of a suite ("dmc"), bundle folder, Hub repository, or a loaded model.
        task: which of the bundle's tasks; may be left out where there is one.
        revision: of a Hub repository.
        device: of the model, and of a bonus chosen by name: "auto" (a GPU where there is one, but
            not in worker processes), "cpu", "cuda", …
        dtype: "auto", "bf16" or "fp32".
        reward_scale: "calibrated" (0 = best cheap behaviour, 1 = expert), "per_token", "raw".
        reward_clip: bounds of the scaled reward; "calibrated" are the task's own (a ceiling below 1
            pays 1, see `VideoRewardModel.scale`). None leaves it as it is, which is for looking at:
            agents need a floor, or settle on the calmest way to fail.
        bonus: None, "rnd", "disagreement", or an object with the protocol
            `viper_gym.types.Bonus`.
        beta: weight of the bonus.
        task_reward_weight: weight of the environment's own reward; 0 learns from video alone.

    Raises:
        CheckpointError, UnknownTask, PreprocessingMismatch: when wrapping.
        ValueError: then, too, of a value that cannot be, or where a video pays `env` already.
        TypeError: `env` is a vector environment.
        FrameMismatch: at reset, if the frames do not fit the model.

    Example:
        >>> import gymnasium as gym
        >>> from viper_gym import ViperRewardWrapper
        >>> env = gym.make("Hopper-v5", render_mode="rgb_array", width=64, height=64)
        >>> env = ViperRewardWrapper(env, "org/bundle", task="hopper")
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        checkpoint: str | Path | VideoRewardModel,
        task: str | None = None,
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
        options = RewardOptions(
            revision, device, dtype, reward_scale, reward_clip, bonus, beta, task_reward_weight
        )
        gym.utils.RecordConstructorArgs.__init__(
            self, task=task, **recorded_arguments(checkpoint, options)
        )
        if not isinstance(env, gym.Env):
            raise TypeError(
                f"expected a gymnasium.Env, got {type(env).__name__}: vector environments take "
                "ViperVectorRewardWrapper (gymnasium.vector) or viper_gym.wrappers.sb3."
                "ViperVecEnvWrapper (Stable-Baselines3)"
            )
        refuse_autoreset(env)
        refuse_scored(env.has_wrapper_attr("paid_by_video"))
        warn_of_late_pictures(env)
        gym.Wrapper.__init__(self, env)
        told = env.has_wrapper_attr("preprocessing")
        said = env.get_wrapper_attr("preprocessing") if told else None
        self._scorer = Scorer(checkpoint, task, [said], options, env.action_space)
        self._newest = None if is_grey(env) else newest_frame(env.observation_space)

    @property
    def task(self) -> str | None:
        """The task whose likelihood is the reward."""
        return self._scorer.tasks[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        take_context_back(self.env)
        observation, info = self.env.reset(seed=seed, options=options)
        self._scorer.reset(np.array([True]), self._frame(observation, info)[None])
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self._scorer.started:
            raise gym.error.ResetNeeded("call reset() before step()")
        actions = self._scorer.flat_actions([action])
        take_context_back(self.env)
        observation, task_reward, terminated, truncated, info = self.env.step(action)
        frame = self._frame(observation, info)[None]
        terms = self._scorer.score(frame, np.array([float(task_reward)]), actions)
        info = {**info, **{key: float(getattr(terms, part)[0]) for key, part in STEP_INFO.items()}}
        if terminated or truncated:
            info[INFO_RETURN] = float(self._scorer.returns[0])
            info[INFO_TASK_RETURN] = float(self._scorer.task_returns[0])
            info[INFO_TIME_SHARE] = self._scorer.time_share
        if terminated:
            self._scorer.warn_of_termination()
        return observation, float(terms.total[0]), terminated, truncated, info

    def _frame(self, observation: Any, info: dict[str, Any]) -> np.ndarray:
        return shown_frame(self.env, self._newest, observation, info)

"""`ViperRewardWrapper`: the reward of any Gymnasium environment from a video model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from viper_gym.bonus.rnd import RND
from viper_gym.checkpoints.bundle import read_config
from viper_gym.checkpoints.index import resolve
from viper_gym.likelihood.reward_model import (
    FrameStream,
    VideoRewardModel,
    shared_reward_model,
)
from viper_gym.likelihood.scaling import ScaleKind
from viper_gym.types import INFO_RETURN, INFO_TASK_RETURN, Bonus
from viper_gym.wrappers.mixing import Mix, info_of
from viper_gym.wrappers.preprocessing import (
    check_preprocessing,
    observation_is_image,
    rendered_frame,
)


class ViperRewardWrapper(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Replace the task reward by the scaled log-likelihood of what the agent shows.

    `step(a_t)` returns x_{t+1} and the reward that scores x_{t+1} given the frames before it
    (paper Eq. 7). Frames are the observations where these are uint8 images, else `render()`.

    Info, on every step, Python floats: `viper/log_prob` (nats), `viper/reward` (scaled,
    without bonus), `viper/bonus`, `viper/task_reward`; at the end of an episode also
    `viper/return` and `viper/task_return`.

    Args:
        env: the environment; with `render_mode="rgb_array"` if it does not observe pixels.
        checkpoint: alias of a suite ("dmc"), bundle folder, Hub repository, or a loaded model.
        task: which of the bundle's tasks; may be left out where there is one.
        revision: of a Hub repository.
        device: "auto", "cpu", "cuda", …
        dtype: "auto", "bf16" or "fp32".
        reward_scale: "calibrated" (0 = best cheap behaviour, 1 = expert), "per_token", "raw".
        reward_clip: bounds of the scaled reward; None leaves it as it is.
        bonus: None, "rnd", or an object with the protocol `viper_gym.types.Bonus`.
        beta: weight of the bonus.
        task_reward_weight: weight of the environment's own reward; 0 learns from video alone.

    Raises:
        CheckpointError, UnknownTask, PreprocessingMismatch: when wrapping.
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
        device: str = "auto",
        dtype: str = "auto",
        reward_scale: ScaleKind = "calibrated",
        reward_clip: tuple[float, float] | None = None,
        bonus: str | Bonus | None = None,
        beta: float = 1.0,
        task_reward_weight: float = 0.0,
    ):
        # Recorded arguments are deep-copied with every spec: never a model or a bonus.
        gym.utils.RecordConstructorArgs.__init__(
            self,
            checkpoint=checkpoint if isinstance(checkpoint, str) else str(checkpoint),
            task=task,
            revision=revision,
            device=device,
            dtype=dtype,
            reward_scale=reward_scale,
            reward_clip=reward_clip,
            bonus=bonus if isinstance(bonus, str) or bonus is None else type(bonus).__name__,
            beta=beta,
            task_reward_weight=task_reward_weight,
        )
        gym.Wrapper.__init__(self, env)
        self._model: VideoRewardModel | None = None
        if isinstance(checkpoint, VideoRewardModel):
            self._model, config = checkpoint, checkpoint.config
        else:
            folder = resolve(str(checkpoint), revision)
            config = read_config(folder)
            # The networks are loaded at the first reset: a wrapped environment can be made in
            # one process and used in another.
            self._load = (str(folder), None, device, dtype)
        self._task = task if task is not None or len(config.tasks) > 1 else config.tasks[0]
        if self._task not in config.tasks:
            from viper_gym.errors import UnknownTask

            raise UnknownTask(
                f"this bundle knows the tasks {', '.join(config.tasks)}; got {task!r}"
            )
        check_preprocessing(env, config.preprocessing.get(self._task, {}), self._task)
        self._scale_options = (reward_scale, reward_clip)
        self._weights = (beta, task_reward_weight)
        if isinstance(bonus, str) and bonus != "rnd":
            raise ValueError(
                f"bonus must be None, 'rnd' or an object with compute(), got {bonus!r}"
            )
        image_size = int(config.tokenizer.image_size)
        self._bonus: Bonus | None = RND(image_size) if isinstance(bonus, str) else bonus
        self._from_observation = observation_is_image(env.observation_space)
        self._stream: FrameStream | None = None
        self._mix: Mix | None = None
        self._warned = False
        self._return = self._task_return = 0.0

    @property
    def reward_model(self) -> VideoRewardModel:
        """The video model behind the reward (loaded on first use)."""
        if self._model is None:
            self._model = shared_reward_model(*self._load)
        return self._model

    @property
    def task(self) -> str | None:
        """The task whose likelihood is the reward."""
        return self._task

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        observation, info = self.env.reset(seed=seed, options=options)
        if self._stream is None:
            self._stream = self.reward_model.stream([self._task])
            beta, weight = self._weights
            self._mix = Mix(self.reward_model.scale(self._task, *self._scale_options), beta, weight)
        self._stream.reset(np.array([True]))
        # The reset frame is context for the next one and gives no reward itself.
        self._stream.score(self._frame(observation)[None])
        self._return = self._task_return = 0.0
        return observation, info

    def step(self, action: Any):
        if self._stream is None or self._mix is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        observation, task_reward, terminated, truncated, info = self.env.step(action)
        frame = self._frame(observation)[None]
        log_prob = float(self._stream.score(frame)[0])
        bonus = 0.0
        if self._bonus is not None:
            bonus = float(self._bonus.compute(frame)[0])
            self._bonus.update(frame)
        terms = self._mix(log_prob, bonus, float(task_reward))
        self._return += terms.viper
        self._task_return += terms.task
        info = {**info, **info_of(terms)}
        if terminated or truncated:
            info[INFO_RETURN], info[INFO_TASK_RETURN] = self._return, self._task_return
        if terminated:
            self._warn_of_termination()
        return observation, terms.total, terminated, truncated, info

    def _frame(self, observation: Any) -> np.ndarray:
        """A copy: environments may reuse their buffers."""
        return np.array(observation) if self._from_observation else rendered_frame(self.env)

    def _warn_of_termination(self) -> None:
        if not self._warned and self._mix is not None and self._mix.scale.can_be_negative:
            self._warned = True
            warnings.warn(
                "this environment ends episodes early and the VIPER reward can be negative: an "
                "agent may learn to end them. Disable early termination if you can, or pass "
                "reward_clip=(0, 1).",
                stacklevel=3,
            )

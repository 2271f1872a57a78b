"""`Scorer`: frames of n environments in, mixed rewards out. What every wrapper is built on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from viper_gym.bonus.choose import check_bonus
from viper_gym.checkpoints.bundle import BundleConfig, read_config
from viper_gym.checkpoints.index import unknown_task
from viper_gym.checkpoints.resolve import resolve
from viper_gym.errors import finite
from viper_gym.likelihood.frame_stream import FrameStream
from viper_gym.likelihood.precision import resolve_dtype
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.likelihood.scaling import Clip, RewardScale, ScaleKind, check_scale, checked_bounds
from viper_gym.likelihood.shared import shared_reward_model
from viper_gym.models.frames import check_frames
from viper_gym.pictures import resize_all
from viper_gym.types import RESIZED, Bonus, RewardTerms
from viper_gym.wrappers.exploration import Explorer
from viper_gym.wrappers.preprocessing import check_preprocessing, warn_of_frames


@dataclass(frozen=True)
class RewardOptions:
    """What the user may choose of the reward; see `ViperRewardWrapper`."""

    revision: str | None = None
    device: str | torch.device = "auto"
    dtype: str = "auto"
    reward_scale: ScaleKind = "calibrated"
    reward_clip: Clip = None
    bonus: str | Bonus | None = None
    beta: float = 1.0
    task_reward_weight: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))  # a torch.device will do
        for name in ("beta", "task_reward_weight"):
            object.__setattr__(self, name, finite(name, getattr(self, name)))
        clip = self.reward_clip
        if clip is not None and not isinstance(clip, str):
            object.__setattr__(self, "reward_clip", checked_bounds(clip))
        resolve_dtype(self.dtype, torch.device("cpu"))  # raises; where it runs is not known yet


class Scorer:
    """History -> likelihood -> mix, for n environments with one model call a step.

    Args:
        checkpoint: alias, folder, Hub repository or loaded model.
        task: one for all environments, or one each; None where the bundle has only one.
        preprocessing: of each of the n environments, what it says of its frames (None: nothing).
        options: what the user chose.
        action_space: of one environment.

    Raises:
        CheckpointError, UnknownTask, PreprocessingMismatch, ValueError: before any network is
            loaded.
    """

    def __init__(
        self,
        checkpoint: str | Path | VideoRewardModel,
        task: str | Sequence[str] | None,
        preprocessing: Sequence[dict[str, Any] | None],
        options: RewardOptions,
        action_space: gym.Space[Any],
    ):
        n = len(preprocessing)
        tasks = [task] * n if isinstance(task, str) or task is None else list(task)
        if len(tasks) != n:
            raise ValueError(f"{n} environments, but {len(tasks)} tasks")
        self._options = o = options
        check_bonus(o.bonus)
        check_scale(o.reward_scale, o.reward_clip)
        self.beta = o.beta
        self._model: VideoRewardModel | None = None
        self.config: BundleConfig
        if isinstance(checkpoint, VideoRewardModel):
            _check_loaded(checkpoint, o)
            self._model, self.config = checkpoint, checkpoint.config
        else:
            folder = resolve(checkpoint, o.revision, task=tasks)
            self.config = read_config(folder)
            # The networks are loaded at the first reset: a wrapped environment can be made in
            # one process and used in another.
            self._load = (str(folder), str(o.device), o.dtype)
        known = self.config.tasks
        self.tasks = [known[0] if t is None and len(known) == 1 else t for t in tasks]
        for task in self.tasks:
            if task not in known:
                raise unknown_task(known, task)
            if o.reward_scale == "calibrated":
                self.config.levels_of(task)  # said now, and not at the first reset
        said = zip(map(str, self.tasks), preprocessing, strict=True)
        for name, actual in {repr(pair): pair for pair in said}.values():  # warned of once
            check_preprocessing(actual, self.config.preprocessing.get(name, {}), name)
        image_size = int(self.config.tokenizer.image_size)
        self._explorer: Explorer | None = None
        if o.bonus is not None:
            self._explorer = Explorer(o.bonus, image_size, action_space, n)
        self._stream: FrameStream | None = None
        self._scales: list[RewardScale] = []
        self._warned, self._seen = False, set[str]()
        self._started_at = self._spent = 0.0  # seconds
        self.returns = np.zeros(len(tasks))
        self.task_returns = np.zeros(len(tasks))

    @property
    def model(self) -> VideoRewardModel:
        """The video model (loaded on first use)."""
        if self._model is None:
            self._model = shared_reward_model(*self._load)
        return self._model

    @property
    def bonus(self) -> Bonus | None:
        """The exploration bonus, if there is one."""
        return None if self._explorer is None else self._explorer.bonus

    @property
    def started(self) -> bool:
        """Whether `reset` was called."""
        return self._stream is not None

    @property
    def time_share(self) -> float:
        """Share of the wall-clock since the first reset that went into rewards, 0…1."""
        return self._spent / max(1e-9, time.perf_counter() - self._started_at)

    def flat_actions(self, actions: Iterable[Any]) -> np.ndarray:
        """What `score` is to be given of one action an environment; call it before the step."""
        if self._explorer is None:
            return np.zeros((len(self.tasks), 0), np.float32)
        return self._explorer.flat_actions(list(actions))

    @torch.inference_mode(False)  # a caller's evaluation may run in it, training outside
    def reset(self, envs: np.ndarray, frames: np.ndarray) -> None:
        """Episodes begin: their first frames are context for the next and give no reward.

        Args:
            envs: bool (n,).
            frames: uint8 (m, H, W, 3) of these m environments.
        """
        if self._stream is None:
            self._stream = FrameStream(self.model, list(self.tasks))
            o = self._options
            self._scales = [self.model.scale(t, o.reward_scale, o.reward_clip) for t in self.tasks]
            if self._explorer is not None:
                self._explorer.to(self.model.device)
            self._started_at = time.perf_counter()
        began = time.perf_counter()
        self._stream.reset(envs)
        which = np.flatnonzero(envs)
        self._look_at(frames, which)
        frames = self._fit(frames, which)
        self._stream.score(frames, which)
        if self._explorer is not None:
            self._explorer.reset(which, frames, self._stream.features(which))
        self._spent += time.perf_counter() - began
        self.returns[envs] = self.task_returns[envs] = 0.0

    @torch.inference_mode(False)
    def score(
        self,
        frames: np.ndarray,
        task_rewards: np.ndarray,
        actions: np.ndarray,
        envs: np.ndarray | None = None,
    ) -> RewardTerms:
        """Reward of the newest frames: r = scale(ln p) + beta * bonus (paper Eq. 6).

        Args:
            frames: uint8 (m, H, W, 3).
            task_rewards: float (m,).
            actions: float32 (m, A), that led to the frames, of `flat_actions`.
            envs: int (m,), which environments; None means all, in order.

        Returns:
            The parts and their sum, float64 (m,) each.
        """
        assert self._stream is not None, "reset() first"
        began = time.perf_counter()
        o = self._options
        which = np.arange(len(self.tasks)) if envs is None else envs
        frames = self._fit(frames, which)
        log_prob = self._stream.score(frames, envs).astype(np.float64)
        context = self._stream.context_frames(envs)
        viper = np.array(
            [float(self._scales[i](x, c)) for i, x, c in zip(which, log_prob, context, strict=True)]
        )
        bonus = np.zeros(len(which))
        if self._explorer is not None:
            features = self._stream.features(which)
            bonus = self.beta * self._explorer.score(which, actions, frames, features)
        task = np.asarray(task_rewards, np.float64)
        self.returns[which] += viper
        self.task_returns[which] += task
        total = viper + bonus
        if o.task_reward_weight:  # a task reward may be NaN where nobody asks for it
            total = total + o.task_reward_weight * task
        self._spent += time.perf_counter() - began
        return RewardTerms(log_prob, viper, bonus, task, total)

    def _look_at(self, frames: np.ndarray, envs: np.ndarray) -> None:
        """Warn of the first frames of a task, once."""
        for task in {str(self.tasks[i]) for i in envs} - self._seen:
            self._seen.add(task)
            shown = frames[[str(self.tasks[i]) == task for i in envs]]
            recorded = self.config.preprocessing.get(task, {})
            warn_of_frames(shown, recorded, self.model.image_size, task)

    def _fit(self, frames: np.ndarray, envs: np.ndarray) -> np.ndarray:
        """Resize frames (m, H, W, 3) of the size that the training videos were resized from.

        Raises:
            FrameMismatch: frames of another size than that and the model's own; names both.
        """
        size, came = self.model.image_size, list(frames.shape[1:3])
        if came == [size, size] or frames.dtype != np.uint8:  # the latter is refused behind this
            return frames
        known = [self.config.preprocessing.get(str(self.tasks[i]), {}) for i in envs]
        videos = known[0].get(RESIZED)  # one size, as the frames have: tasks may differ in it
        if any(recorded.get(RESIZED) != videos for recorded in known):
            videos = None
        if videos == came:
            return resize_all(frames, size)
        other = f", or at {videos[0]}x{videos[1]}, which the training videos had" if videos else ""
        check_frames(frames, size, frames.ndim, other)
        return frames

    def warn_of_termination(self) -> None:
        """Once: an early end under a reward that can be negative teaches to end early."""
        if not self._warned and any(scale.can_be_negative for scale in self._scales):
            self._warned = True
            warn_of_termination(stacklevel=5)


def warn_of_termination(stacklevel: int = 2) -> None:
    """What is said where episodes end early under a reward that can be negative."""
    warnings.warn(
        "this environment ends episodes early and the VIPER reward can be negative: an agent may "
        "learn to end them. Disable early termination if you can, or pass reward_clip=(0, 1).",
        stacklevel=stacklevel,
    )


def _check_loaded(model: VideoRewardModel, o: RewardOptions) -> None:
    """What belongs to loading may only say what the loaded model is."""
    devices = ("auto", str(model.device), model.device.type)
    dtypes = ("auto", "bf16" if model.dtype == torch.bfloat16 else "fp32")
    if o.revision is not None or o.device not in devices or o.dtype not in dtypes:
        raise ValueError(
            f"this model is loaded already, on {devices[1]} in {dtypes[1]}; revision, device and "
            f"dtype ({o.revision}, {o.device}, {o.dtype}) belong to `from_pretrained`"
        )

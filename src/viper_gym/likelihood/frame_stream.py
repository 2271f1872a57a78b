"""Live scoring: the frames of several environments, one at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from viper_gym.likelihood.contrast import StreamingRatio
from viper_gym.likelihood.precision import finite
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.likelihood.streaming import StreamingLikelihood
from viper_gym.models.context import ContextPolicy
from viper_gym.models.precision import own_precision


class FrameStream:
    """Scores frames as they come, for n environments at once.

    Args:
        model: whose likelihood, policy and precision.
        tasks: of each environment; None where the bundle has only one.
    """

    def __init__(self, model: VideoRewardModel, tasks: list[str | None]):
        self._model = model
        self._tasks = torch.tensor([model.task_index(t) for t in tasks], device=model.device)
        policies = [model.policy_of(t) for t in tasks]
        self._parts: list[tuple[Tensor, StreamingLikelihood | StreamingRatio]] = []
        """environments (n,) that share a policy, and their engine; nearly always one part"""
        for policy in dict.fromkeys(policies):
            engine = self._engine(policy)
            own = torch.tensor([p == policy for p in policies], device=model.device)
            self._parts.append((own, engine))
        grid = model.config.video_model.grid_size
        self._newest = torch.zeros((len(tasks), grid, grid), dtype=torch.int64, device=model.device)

    def _engine(self, policy: ContextPolicy) -> StreamingLikelihood | StreamingRatio:
        model, stride = self._model.video_model, self._model.config.frame_stride
        if self._model.config.contrast:
            play = self._tasks + len(self._model.tasks)
            return StreamingRatio(model, stride, policy, self._tasks, play)
        classes = self._model.classes(self._tasks)
        return StreamingLikelihood(model, len(self._tasks), stride, policy, classes)

    @property
    def state_bytes(self) -> int:
        """Bytes held between steps."""
        return sum(engine.state_bytes for _, engine in self._parts)

    def reset(self, envs: np.ndarray) -> None:
        """New episodes begin in the environments of the bool mask (n,)."""
        for _, engine in self._parts:
            engine.reset(torch.from_numpy(envs).to(self._model.device))

    def score(self, frames: np.ndarray, envs: np.ndarray | None = None) -> np.ndarray:
        """uint8 (m, H, W, 3) of the environments `envs` (int (m,); all by default) -> (m,) nats.

        Raises:
            FrameMismatch, NonFiniteLikelihood.
        """
        which = None if envs is None else torch.from_numpy(envs).to(self._model.device)
        codes = self._model.encode(frames, self._tasks if which is None else self._tasks[which])
        self._newest[slice(None) if which is None else which] = codes
        with own_precision(self._model.device):
            scores = torch.empty(len(codes), device=codes.device)
            for engine, rows, part in self._split(which):
                scores[rows] = engine.score(codes[rows], part).sum((1, 2))
            return finite(scores)

    def context_frames(self, envs: np.ndarray | None = None) -> np.ndarray:
        """How many frames of context the newest frames of `envs` were scored with: int (m,)."""
        which = None if envs is None else torch.from_numpy(envs).to(self._model.device)
        frames = torch.empty_like(self._tasks if which is None else which)
        for engine, rows, part in self._split(which):
            frames[rows] = engine.context_frames(part)
        return frames.cpu().numpy()

    def _split(
        self, which: Tensor | None
    ) -> Iterator[tuple[StreamingLikelihood | StreamingRatio, Tensor | slice, Tensor | None]]:
        """Engine by engine: which of the asked rows are its own, and their environments."""
        if len(self._parts) == 1:
            yield self._parts[0][1], slice(None), which  # None stays: engines then gather nothing
            return
        envs = torch.arange(len(self._tasks), device=self._tasks.device)
        which = envs if which is None else which
        for own, engine in self._parts:
            rows = torch.nonzero(own[which])[:, 0]
            if len(rows):
                yield engine, rows, which[rows]

    def features(self, envs: np.ndarray) -> np.ndarray:
        """The tokenizer's code vectors of the newest frames of the environments `envs`, int (m,).

        float32 (m, h * w * D); the codes are those that were scored.
        """
        which = torch.from_numpy(envs).to(self._model.device)
        return self._model.features_of_codes(self._newest[which])

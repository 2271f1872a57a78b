"""Live scoring: the frames of several environments, one at a time."""

from __future__ import annotations

import numpy as np
import torch

from viper_gym.likelihood.precision import autocast, finite
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.likelihood.streaming import StreamingLikelihood


class FrameStream:
    """Scores frames as they come, for n environments at once.

    Args:
        model: whose likelihood, policy and precision.
        tasks: of each environment; None where the bundle has only one.
    """

    def __init__(self, model: VideoRewardModel, tasks: list[str | None]):
        self._model = model
        self._tasks = torch.tensor([model.task_index(t) for t in tasks], device=model.device)
        self._engine = StreamingLikelihood(
            model.video_model,
            len(tasks),
            model.config.frame_stride,
            model.policy,
            model.classes(self._tasks),
        )
        grid = model.config.video_model.grid_size
        self._newest = torch.zeros((len(tasks), grid, grid), dtype=torch.int64, device=model.device)

    @property
    def state_bytes(self) -> int:
        """Bytes held between steps."""
        return self._engine.state_bytes

    def reset(self, envs: np.ndarray) -> None:
        """New episodes begin in the environments of the bool mask (n,)."""
        self._engine.reset(torch.from_numpy(envs).to(self._model.device))

    def score(self, frames: np.ndarray, envs: np.ndarray | None = None) -> np.ndarray:
        """uint8 (m, H, W, 3) of the environments `envs` (int (m,); all by default) -> (m,) nats.

        Raises:
            FrameMismatch, NonFiniteLikelihood.
        """
        which = None if envs is None else torch.from_numpy(envs).to(self._model.device)
        codes = self._model.encode(frames, self._tasks if which is None else self._tasks[which])
        self._newest[slice(None) if which is None else which] = codes
        with autocast(self._model.device, self._model.dtype):
            return finite(self._engine.score(codes, which).sum((1, 2)))

    def context_frames(self, envs: np.ndarray | None = None) -> np.ndarray:
        """How many frames of context the newest frames of `envs` were scored with: int (m,)."""
        which = None if envs is None else torch.from_numpy(envs).to(self._model.device)
        return self._engine.context_frames(which).cpu().numpy()

    def features(self, envs: np.ndarray) -> np.ndarray:
        """The tokenizer's code vectors of the newest frames of the environments `envs`, int (m,).

        float32 (m, h * w * D); the codes are those that were scored.
        """
        which = torch.from_numpy(envs).to(self._model.device)
        return self._model.features_of_codes(self._newest[which])

"""Streaming of a log likelihood ratio: how much likelier a frame is among experts than in play.

Likelihoods of pictures are ruled by how much is in them (Ren et al. 2019, "Likelihood ratios for
out-of-distribution detection"): what stands still, or has left the picture, costs nothing. What
the same network gives the same frames as unskilled play of the task has all of that in it, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from viper_gym.likelihood.streaming import StreamingLikelihood
from viper_gym.models.context import ContextPolicy
from viper_gym.models.videogpt import VideoGPT


class StreamingRatio:
    """As `StreamingLikelihood`, for a model that has a second class for the play of every task.

    Both classes of an environment are rows of one engine, so a step is one pass.

    Args:
        experts, play: int64 (n,), the two classes of every environment.
    """

    def __init__(
        self,
        model: VideoGPT,
        frame_stride: int,
        policy: ContextPolicy,
        experts: Tensor,
        play: Tensor,
    ):
        classes = torch.cat([experts, play])
        self._n = len(experts)
        self._engine = StreamingLikelihood(model, len(classes), frame_stride, policy, classes)

    @property
    def state_bytes(self) -> int:
        """Bytes held between steps."""
        return self._engine.state_bytes

    def reset(self, envs: Tensor) -> None:
        """Start new episodes in the environments of the bool mask (n,)."""
        self._engine.reset(torch.cat([envs, envs]))

    def context_frames(self, envs: Tensor | None = None) -> Tensor:
        """Frames of context that the newest frames of the environments were scored with: (m,)."""
        return self._engine.context_frames(envs)[: self._n]

    def score(self, codes: Tensor, envs: Tensor | None = None) -> Tensor:
        """Codes (m, h, w) of the environments `envs` (m,) -> fp32 (m, h, w), nats a token."""
        both = None if envs is None else torch.cat([envs, envs + self._n])
        experts, play = self._engine.score(torch.cat([codes, codes]), both).chunk(2)
        return experts - play

"""Streaming engine: one frame of each of n environments in, one log-probability each out.

Every environment has its own position and `frame_stride` interleaved key/value caches: the
frame at step t extends cache t mod s. A full cache is rebuilt from its newest frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from viper_gym.likelihood.joint import joint_value
from viper_gym.models.context import ContextPolicy
from viper_gym.models.kv_cache import KVCache
from viper_gym.models.videogpt import VideoGPT


class StreamingLikelihood:
    """ln p of each new frame given the earlier ones of its environment's episode.

    Args:
        model: as returned by `precision.cast_for_inference`.
        num_envs: n rows, independent of each other.
        frame_stride: s.
        policy: which context is used.
        task: int64 (n,), or None for an unconditional model.
    """

    def __init__(
        self,
        model: VideoGPT,
        num_envs: int,
        frame_stride: int,
        policy: ContextPolicy,
        task: Tensor | None,
    ):
        c = model.config
        self.model, self.policy, self.stride, self.task = model, policy, frame_stride, task
        self._length = policy.length(c.sequence_length)
        self._keep = policy.kept(c.sequence_length)
        device = model.start.device
        grid = (c.grid_size, c.grid_size)
        # the frames of the current window of every (environment, phase), oldest first
        self._window = torch.zeros(
            (num_envs * frame_stride, self._length, *grid), dtype=torch.int64, device=device
        )
        self._filled = torch.zeros(num_envs * frame_stride, dtype=torch.int64, device=device)
        self._step = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self._envs = torch.arange(num_envs, device=device)
        self._phases = torch.arange(frame_stride, device=device)
        self._cache: KVCache | None = None
        if policy.kind == "refresh":
            self._cache = KVCache.for_config(
                c, num_envs * frame_stride, device, model.head.weight.dtype, self._length
            )

    @property
    def state_bytes(self) -> int:
        """Bytes held between steps: codes of the windows, keys and values."""
        cache = [] if self._cache is None else [self._cache.keys, self._cache.values]
        return sum(t.numel() * t.element_size() for t in [self._window, *cache])

    def reset(self, envs: Tensor) -> None:
        """Start new episodes in the environments of the bool mask (n,)."""
        self._step[envs] = 0
        rows = (self._envs[envs][:, None] * self.stride + self._phases).flatten()
        self._filled[rows] = 0
        if self._cache is not None:
            self._cache.reset(rows)

    def context_frames(self, envs: Tensor | None = None) -> Tensor:
        """Frames of context that the newest frames of the environments were scored with: (m,)."""
        envs = self._envs if envs is None else envs
        rows = envs * self.stride + (self._step[envs] - 1) % self.stride
        return self._filled[rows] - 1

    @torch.inference_mode()
    def score(self, codes: Tensor, envs: Tensor | None = None) -> Tensor:
        """Append one frame to the given environments and score it.

        Args:
            codes: int64 (m, h, w).
            envs: int64 (m,), which environments; None means all, in order.

        Returns:
            fp32 (m, h, w), nats a token (mode "joint": the window's `joint_value`).
        """
        envs = self._envs if envs is None else envs
        rows = envs * self.stride + self._step[envs] % self.stride
        self._step[envs] += 1
        task = None if self.task is None else self.task[envs]
        self._make_room(rows, task)
        position = self._filled[rows]
        self._window[rows, position] = codes
        self._filled[rows] += 1
        if self._cache is not None:
            scores = self.model.extend(codes[:, None], self._cache, task, self._rows(rows))
            assert scores is not None
            return scores[:, 0]
        return self._score_window(rows, position, task)

    def _rows(self, rows: Tensor) -> Tensor | None:
        """None where the pass touches the whole cache in order: it then needs no gather."""
        whole = len(rows) == len(self._filled) and self.stride == 1
        return None if whole and torch.equal(rows, self._envs) else rows

    def _make_room(self, rows: Tensor, task: Tensor | None) -> None:
        full = self._filled[rows] == self._length
        if not bool(full.any()):
            return
        which, keep = rows[full], self._keep
        self._window[which, :keep] = self._window[which, self._length - keep :].clone()
        self._filled[which] = keep
        if self._cache is not None:
            self._cache.reset(which)
            part = None if task is None else task[full]
            if keep:
                kept = self._window[which, :keep]
                self.model.extend(kept, self._cache, part, which, first=True, want_log_prob=False)

    def _score_window(self, rows: Tensor, position: Tensor, task: Tensor | None) -> Tensor:
        # frames behind a row's position are stale, and causal attention never looks there
        length = int(position.max()) + 1
        joint = self.policy.mode == "joint"
        first = 0 if joint else int(position.min())
        scores = self.model.log_prob(self._window[rows, :length], task, first=first)
        if not joint:
            return scores[torch.arange(len(rows)), position - first]
        return joint_value(scores, position, self._length)

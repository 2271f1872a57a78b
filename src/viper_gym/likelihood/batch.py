"""Batch engine: the log-probability of every frame of whole episodes.

Gives the same numbers as the streaming engine for the same policy, without a cache: the
windows a stream would have held are packed and scored together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from viper_gym.models.context import ContextPolicy
from viper_gym.models.videogpt import VideoGPT


@dataclass(frozen=True)
class _Window:
    row: int
    first: int  # index of the window's first frame within its phase
    phase: int
    context: int  # frames that are context only
    length: int


def _windows(rows: int, frames: int, stride: int, L: int, keep: int) -> list[_Window]:
    """Every window a stream of `frames` frames holds just before each refresh."""
    out = []
    for row in range(rows):
        for phase in range(min(stride, frames)):
            n = len(range(phase, frames, stride))
            first, context = 0, 0
            while first + context < n:
                out.append(_Window(row, first, phase, context, min(L, n - first)))
                first, context = first + L - keep, keep
    return out


@torch.inference_mode()
def batch_log_prob(
    model: VideoGPT,
    codes: Tensor,
    task: Tensor | None,
    frame_stride: int,
    policy: ContextPolicy,
    batch_size: int = 16,
) -> Tensor:
    """ln p of every token of every frame.

    Args:
        codes: int64 (B, T, h, w), B episodes from their first frame.
        task: int64 (B,), or None for an unconditional model.
        frame_stride: x_t is scored given x_{t-s}, x_{t-2s}, …
        batch_size: windows a forward pass.

    Returns:
        fp32 (B, T, h, w), nats. In mode "joint" entry t is n times the mean over the frames
        of the window that ends at t.
    """
    B, T = codes.shape[:2]
    L = model.config.sequence_length
    n = policy.length(L)
    windows = _windows(B, T, frame_stride, n, policy.kept(L))
    # Windows that score the same frames share a forward pass, so only those logits are made.
    windows.sort(key=lambda w: (w.context, w.length))
    result = torch.zeros(codes.shape, dtype=torch.float32, device=codes.device)
    for i in range(0, len(windows), batch_size):
        part = windows[i : i + batch_size]
        context = 0 if policy.mode == "joint" else min(w.context for w in part)
        length = max(w.length for w in part)
        packed = torch.zeros(
            (len(part), length, *codes.shape[2:]), dtype=codes.dtype, device=codes.device
        )
        for j, w in enumerate(part):
            packed[j, : w.length] = codes[w.row, _times(w, 0, frame_stride)]
        tasks = (
            None if task is None else task[torch.tensor([w.row for w in part], device=codes.device)]
        )
        scores = model.log_prob(packed, tasks, first=context)  # (P, length - context, h, w)
        for j, w in enumerate(part):
            start = w.context
            if policy.mode == "joint":
                for end in range(start, w.length):
                    t = w.phase + (w.first + end) * frame_stride
                    result[w.row, t] = scores[j, : end + 1].mean(0) * n
            else:
                new = scores[j, start - context : w.length - context]
                result[w.row, _times(w, start, frame_stride)] = new
    return result


def _times(w: _Window, skip: int, stride: int) -> slice:
    """Frame indices of the window's frames from number `skip` on."""
    start = w.phase + (w.first + skip) * stride
    return slice(start, w.phase + (w.first + w.length - 1) * stride + 1, stride)

"""Batch engine: the log-probability of every frame of whole episodes.

Gives the same numbers as the streaming engine for the same policy, without a cache: the
windows a stream would have held are packed and scored together.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from viper_gym.likelihood.joint import joint_value
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
        fp32 (B, T, h, w), nats. In mode "joint" entry t is the value of the window that
        ends at t (`joint_value`).
    """
    B, T = codes.shape[:2]
    L = model.config.sequence_length
    n = policy.length(L)
    windows = _windows(B, T, frame_stride, n, policy.kept(L))
    result = torch.zeros(codes.shape, dtype=torch.float32, device=codes.device)
    alike = list(_alike(windows, codes, task, frame_stride).values())
    # Windows that score the same frames share a forward pass, so only those logits are made.
    alike.sort(key=lambda same: (same[0].context, same[0].length))
    for i in range(0, len(alike), batch_size):
        part = [same[0] for same in alike[i : i + batch_size]]
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
        for j, same in enumerate(alike[i : i + batch_size]):
            start = same[0].context
            if policy.mode == "joint":
                ends = torch.arange(start, same[0].length, device=codes.device)
                new = joint_value(scores[j].expand(len(ends), *scores[j].shape), ends, n)
            else:
                new = scores[j, start - context : same[0].length - context]
            for w in same:
                result[w.row, _times(w, start, frame_stride)] = new
    return result


def _alike(
    windows: list[_Window], codes: Tensor, task: Tensor | None, stride: int
) -> dict[tuple[object, ...], list[_Window]]:
    """Windows by what is scored in them: what stands still need not be scored again and again."""
    host = codes.cpu().numpy()
    tasks = [0] * len(host) if task is None else task.tolist()
    found: dict[tuple[object, ...], list[_Window]] = {}
    for w in windows:
        seen = host[w.row, _times(w, 0, stride)].tobytes()
        content = blake2b(seen, digest_size=16).digest()  # windows themselves fill the memory
        found.setdefault((w.context, w.length, tasks[w.row], content), []).append(w)
    return found


def _times(w: _Window, skip: int, stride: int) -> slice:
    """Frame indices of the window's frames from number `skip` on."""
    start = w.phase + (w.first + skip) * stride
    return slice(start, w.phase + (w.first + w.length - 1) * stride + 1, stride)

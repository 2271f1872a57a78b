"""Mode "joint": one value of all frames of a window."""

from __future__ import annotations

import torch
from torch import Tensor


def joint_value(scores: Tensor, newest: Tensor, length: int) -> Tensor:
    """ln p of windows as if they were full: (P, t, h, w) -> (P, h, w), nats.

    A full window's value is the sum over its frames. While it fills, its first frame, which has
    no context and so most of the nats, counts once, and the frames behind it stand for all that
    will be there: to take n times the mean instead would multiply the first frame by n at an
    episode's start.

    Args:
        scores: ln p of every frame given those before it in its window.
        newest: int64 (P,), number of each window's newest frame; what lies behind it is left out.
        length: n, frames of a full window.
    """
    frames = torch.arange(1, scores.shape[1], device=scores.device)
    known = (frames <= newest[:, None]).to(scores.dtype)  # (P, t - 1)
    behind = (scores[:, 1:] * known[..., None, None]).sum(1)
    weight = (length - 1) / newest.clamp(min=1).to(scores.dtype)
    return scores[:, 0] + behind * weight[:, None, None]

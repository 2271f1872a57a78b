"""How well a bundle's networks fit videos of experts that they have not seen."""

from __future__ import annotations

import numpy as np
import torch

from viper_gym.data.episodes import Episode
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.precision import own_precision

MOVES = 15  # grey levels by which a pixel of what moves is away from the median picture
EVERY = 5  # frames: neighbours look alike


@torch.inference_mode()
def network_figures(
    model: VideoRewardModel, task: str, experts: list[Episode]
) -> dict[str, float | None]:
    """Figures of both networks on experts' episodes.

    Returns:
        `nats_per_token`: what a token costs, in windows as in training (of the experts' class,
            where the bundle knows unskilled play); None where every episode is shorter.
        `codes_used`, `perplexity`: entries of the codebook that their frames take, and how many
            equally frequent ones would be as varied (exp of the entropy).
        `moving_error`, `still_error`: mean error of reconstructions (grey levels, 0…255), where a
            frame is away from the median picture by more than `MOVES`, and elsewhere; behind the
            mask nothing counts.
    """
    shown = [episode.frames[::EVERY] for episode in experts]
    frames = np.concatenate(shown)  # (n, H, W, 3)
    codes = model.encode(frames, model.task_numbers(task, len(frames)))  # (n, h, w)
    counts = np.bincount(codes.flatten().cpu().numpy())
    shares = counts[counts > 0] / counts.sum()
    drawn = np.concatenate([model.decode(part, task) for part in codes.split(128)])
    seen = np.asarray(model.config.masks.get(task, np.ones(frames.shape[1:3])), bool)  # (H, W)
    error = np.abs(drawn.astype(np.int16) - frames).mean(-1)  # (n, H, W)
    background = np.median(frames, axis=0).astype(np.int16)
    moving = np.abs(frames - background).max(-1) > MOVES
    return {
        "nats_per_token": _nats_per_token(model, task, experts),
        "codes_used": float(len(shares)),
        "perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
        "moving_error": _mean(error[moving & seen]),
        "still_error": _mean(error[~moving & seen]),
    }


def _nats_per_token(model: VideoRewardModel, task: str, experts: list[Episode]) -> float | None:
    length, stride = model.config.video_model.sequence_length, model.config.frame_stride
    windows = []
    for episode in experts:
        frames = episode.frames[::stride]
        windows += [frames[i : i + length] for i in range(0, len(frames) - length + 1, length)]
    if not windows:
        return None
    total = 0.0
    for start in range(0, len(windows), 16):
        some = np.stack(windows[start : start + 16])  # (B, L, H, W, 3)
        count = some.shape[0] * some.shape[1]
        flat = model.encode(
            some.reshape(count, *some.shape[2:]), model.task_numbers(task, count)
        )  # (B * L, h, w)
        with own_precision(model.device):
            values = model.video_model.log_prob(
                flat.view(*some.shape[:2], *flat.shape[1:]),
                model.classes(model.task_numbers(task, len(some))),
            )  # (B, L, h, w)
        total -= float(values.float().mean((1, 2, 3)).sum())
    return total / len(windows)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None

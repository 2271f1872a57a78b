"""What a reward costs: rewards a second of every context policy, and what each changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from viper_gym.benchmark.metrics import spearman
from viper_gym.checkpoints.bundle import Bundle, BundleConfig, frozen
from viper_gym.likelihood.frame_stream import FrameStream
from viper_gym.likelihood.precision import autocast
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy
from viper_gym.models.videogpt import VideoGPT, VideoGPTConfig
from viper_gym.models.vqgan import PAPER_ATARI, PAPER_DMC, VQGAN

SIZES = {
    # paper Table 2: tokenizer, width, heads, layers; 16 frames
    "paper-dmc": (PAPER_DMC, 256, 8, 8),
    "paper-atari": (PAPER_ATARI, 512, 8, 8),
}


@dataclass(frozen=True)
class Row:
    """One measurement."""

    method: str
    """recompute: encode and score the whole window every step; exact: codes kept; refresh m"""
    dtype: str
    batch: int
    rewards_per_second: float
    milliseconds: float
    """a reward"""
    state_mebibytes: float
    """what a stream holds between steps (codes and keys), or on a GPU the peak allocated"""


@dataclass(frozen=True)
class Agreement:
    """How far a policy's values are from those of the full window, on real episodes."""

    method: str
    difference: float
    """mean absolute, nats a token"""
    saw_tooth: float
    """spread of the mean difference over the number of context frames, nats a token"""
    rank_correlation: float
    """Spearman within an episode, the lowest over the episodes"""


def untrained_bundle(size: str) -> Bundle:
    """A bundle of the paper's size with random weights: for timing, which they do not change."""
    tokenizer_config, dim, heads, layers = SIZES[size]
    torch.manual_seed(0)
    tokenizer = VQGAN(tokenizer_config)
    config = VideoGPTConfig(
        sequence_length=16,
        grid_size=tokenizer_config.grid_size,
        codebook_size=tokenizer_config.codebook_size,
        codebook_dim=tokenizer_config.codebook_dim,
        embed_dim=dim,
        mlp_dim=4 * dim,
        num_heads=heads,
        num_layers=layers,
        num_classes=1,
    )
    model = VideoGPT(config)
    bundle_config = BundleConfig("vqgan", tokenizer_config, config, ("task",))
    return Bundle(bundle_config, frozen(tokenizer), frozen(model))


def policies(length: int) -> dict[str, ContextPolicy]:
    """exact, and refresh for m in {1, k/4, k/2, 3k/4} with k = length - 1."""
    kept = sorted({max(1, round(f * (length - 1))) for f in (0.0, 0.25, 0.5, 0.75)})
    return {
        "exact": ContextPolicy("exact"),
        **{f"refresh {m}": ContextPolicy("refresh", m) for m in kept},
    }


def measure(
    bundle: Bundle,
    batches: tuple[int, ...],
    dtypes: tuple[str, ...],
    device: str = "auto",
    seconds: float = 3.0,
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Rewards a second of every method, in one run.

    Args:
        seconds: each measurement takes at least this long, in whole refresh cycles.
        on_row: called with each row, for progress.
    """
    rows = []
    length = bundle.config.video_model.sequence_length
    size = int(bundle.config.tokenizer.image_size)
    for dtype in dtypes:
        for batch in batches:
            frames = np.random.default_rng(0).integers(0, 256, (8, batch, size, size, 3), np.uint8)
            for method in ["recompute", *policies(length)]:
                policy = policies(length).get(method, ContextPolicy("exact"))
                model = VideoRewardModel(bundle, device, dtype, policy, tokenizer_dtype=dtype)
                if model.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                step, state = _stepper(model, method, batch, frames)
                cycle = max(1, length - policy.kept(length)) * model.config.frame_stride
                per_step = _time(step, length * model.config.frame_stride, cycle, seconds)
                if model.device.type == "cuda":
                    memory = float(torch.cuda.max_memory_allocated())
                else:
                    memory = float(state())
                row = Row(
                    method,
                    dtype,
                    batch,
                    rewards_per_second=batch / per_step,
                    milliseconds=1000 * per_step / batch,
                    state_mebibytes=memory / 2**20,
                )
                rows.append(row)
                on_row(row)
    return rows


def _stepper(
    model: VideoRewardModel, method: str, batch: int, frames: np.ndarray
) -> tuple[Callable[[int], Any], Callable[[], int]]:
    """What is timed, and the bytes it holds."""
    task = model.tasks[0]
    if method != "recompute":
        stream = FrameStream(model, [task] * batch)
        return lambda t: stream.score(frames[t % len(frames)]), lambda: stream.state_bytes
    length = model.config.video_model.sequence_length
    window = np.concatenate([frames[t % len(frames)][:, None] for t in range(length)], 1)
    numbers = model.task_numbers(task, batch)

    def recompute(t: int) -> Any:
        window[:, :-1] = window[:, 1:]
        window[:, -1] = frames[t % len(frames)]
        flat = window.reshape(-1, *window.shape[2:])
        codes = model.encode(flat, numbers.repeat_interleave(length))
        codes = codes.view(batch, length, *codes.shape[1:])
        with torch.inference_mode(), autocast(model.device, model.dtype):
            scores = model.video_model.log_prob(codes, model.classes(numbers), first=length - 1)
            return scores.sum((1, 2, 3)).float().cpu().numpy()

    return recompute, lambda: window.nbytes


def _time(step: Callable[[int], Any], warm_up: int, cycle: int, seconds: float) -> float:
    """Seconds a step in the steady state, over whole cycles."""
    t = 0
    # windows fill over `warm_up` steps; slow methods have no such phase and need few
    started = time.perf_counter()
    while t < warm_up and (t < 3 or cycle > 1 or time.perf_counter() - started < seconds):
        step(t)
        t += 1
    first, started = t, time.perf_counter()
    while time.perf_counter() - started < seconds or (t - first) % cycle:
        step(t)
        t += 1
    return (time.perf_counter() - started) / (t - first)


def agreement(
    bundle: Bundle, task: str, episodes: list[np.ndarray], device: str = "auto"
) -> list[Agreement]:
    """Difference of every policy from `exact` on real episodes, fp32.

    Args:
        episodes: uint8 (T, H, W, 3) each.
    """
    config = bundle.config
    length, stride = config.video_model.sequence_length, config.frame_stride
    reference = VideoRewardModel(bundle, device, "fp32", ContextPolicy("exact"))
    exact = [reference.log_prob(e[None], task, per_token=True)[0] for e in episodes]
    result = []
    for method, policy in policies(length).items():
        if policy.kind == "exact":
            continue
        model = VideoRewardModel(bundle, device, "fp32", policy)
        scores = [model.log_prob(e[None], task, per_token=True)[0] for e in episodes]
        keep = policy.kept(length)
        by_context: dict[int, list[float]] = {}
        for a, b in zip(scores, exact, strict=True):
            for t in range(length * stride, len(a)):  # from the first full window on
                position = (t // stride - length) % (length - keep)
                by_context.setdefault(position, []).append(float(a[t] - b[t]))
        means = [float(np.mean(v)) for v in by_context.values()]
        result.append(
            Agreement(
                method,
                difference=float(
                    np.mean([np.abs(a - b).mean() for a, b in zip(scores, exact, strict=True)])
                ),
                saw_tooth=max(means) - min(means),
                rank_correlation=min(spearman(a, b) for a, b in zip(scores, exact, strict=True)),
            )
        )
    return result


def ratios(rows: list[Row]) -> list[dict[str, Any]]:
    """Rows as dictionaries, with how many times faster than `recompute` and `exact` they are."""
    speed = {(r.method, r.dtype, r.batch): r.rewards_per_second for r in rows}
    return [
        {
            **asdict(r),
            "times_recompute": r.rewards_per_second / speed["recompute", r.dtype, r.batch],
            "times_exact": r.rewards_per_second / speed["exact", r.dtype, r.batch],
        }
        for r in rows
    ]

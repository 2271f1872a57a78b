"""What a reward costs: rewards a second of every context policy, and what each changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from viper_gym.benchmark.calibration import context_offsets
from viper_gym.benchmark.metrics import spearman
from viper_gym.checkpoints.bundle import Bundle, BundleConfig
from viper_gym.checkpoints.weights import frozen
from viper_gym.data.episodes import Episode
from viper_gym.likelihood.frame_stream import FrameStream
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy
from viper_gym.models.precision import own_precision
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
    """what is held between steps: a stream's codes and keys, `recompute`'s frames"""
    peak_mebibytes: float | None
    """the most that was allocated on a GPU at once, weights included; None on a CPU, where the
    process keeps what earlier methods took (`keep_heap`) and no growth says what this one needs"""


@dataclass(frozen=True)
class Agreement:
    """How far a policy's values are from those of the full window, on real episodes."""

    method: str
    difference: float
    """mean absolute, nats a token"""
    saw_tooth: float
    """spread of the mean difference over the number of context frames, nats a token"""
    corrected: float
    """the same once the expert's offset for each number of frames is taken off"""
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
                row = _measure_method(model, method, dtype, frames, seconds)
                del model  # or the next one's peak has this one in it
                rows.append(row)
                on_row(row)
    return rows


def _measure_method(
    model: VideoRewardModel, method: str, dtype: str, frames: np.ndarray, seconds: float
) -> Row:
    """Of a method on frames uint8 (T, batch, H, W, 3), shown over and over."""
    on_gpu, batch = model.device.type == "cuda", frames.shape[1]
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(model.device)
    step, state_bytes = _stepper(model, method, batch, frames)
    stride, length = model.config.frame_stride, model.config.video_model.sequence_length
    cycle = max(1, length - model.policy_of(model.tasks[0]).kept(length)) * stride
    # a window that is always recomputed is always full
    fills = 2 if method == "recompute" else length * stride
    per_step = _time(step, fills, cycle, seconds)
    peak = torch.cuda.max_memory_allocated(model.device) if on_gpu else None
    return Row(
        method,
        dtype,
        batch,
        rewards_per_second=batch / per_step,
        milliseconds=1000 * per_step / batch,
        state_mebibytes=state_bytes() / 2**20,
        peak_mebibytes=None if peak is None else peak / 2**20,
    )


def _stepper(
    model: VideoRewardModel, method: str, batch: int, frames: np.ndarray
) -> tuple[Callable[[int], Any], Callable[[], int]]:
    """What is timed, and the bytes it holds between steps."""
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
        with torch.inference_mode(), own_precision(model.device):
            scores = model.compared(
                lambda classes: model.video_model.log_prob(codes, classes, first=length - 1),
                model.classes(numbers),
            )
            return scores.sum((1, 2, 3)).float().cpu().numpy()

    return recompute, lambda: window.nbytes


def _time(step: Callable[[int], Any], warm_up: int, cycle: int, seconds: float) -> float:
    """Seconds a step in the steady state (windows fill over `warm_up` steps), over whole cycles."""
    for t in range(warm_up):
        step(t)
    t, started = warm_up, time.perf_counter()
    while time.perf_counter() - started < seconds or (t - warm_up) % cycle:
        step(t)
        t += 1
    return (time.perf_counter() - started) / (t - warm_up)


def agreement(
    bundle: Bundle,
    task: str,
    experts: list[Episode],
    episodes: list[Episode],
    device: str = "auto",
) -> list[Agreement]:
    """Difference of every policy from `exact` on real episodes, fp32.

    Args:
        experts: set the offset for each number of context frames (`context_offsets`); where they
            are too short for that, nothing is corrected and `corrected` is NaN.
        episodes: those that are compared; others than `experts`.
    """
    config = bundle.config
    length, stride = config.video_model.sequence_length, config.frame_stride
    frames = [e.frames for e in episodes]
    reference = VideoRewardModel(bundle, device, "fp32", ContextPolicy("exact"))
    exact = [reference.log_prob(f[None], task, per_token=True)[0] for f in frames]
    offsets = context_offsets(reference, task, experts)
    result = []
    for method, policy in policies(length).items():
        if policy.kind == "exact":
            continue
        model = VideoRewardModel(bundle, device, "fp32", policy)
        scores = [model.log_prob(f[None], task, per_token=True)[0] for f in frames]
        by_context: dict[int, list[float]] = {}
        for a, b in zip(scores, exact, strict=True):
            steps = np.arange(length * stride, len(a))  # from the first full window on
            contexts = policy.context_frames(steps, stride, length)
            for t, context in zip(steps, contexts, strict=True):
                by_context.setdefault(int(context), []).append(float(a[t] - b[t]))
        means = {c: float(np.mean(v)) for c, v in by_context.items()}
        left = {c: m - offsets[c] / model.tokens_per_frame for c, m in means.items() if offsets}
        result.append(
            Agreement(
                method,
                difference=float(
                    np.mean([np.abs(a - b).mean() for a, b in zip(scores, exact, strict=True)])
                ),
                saw_tooth=_spread(means),
                corrected=_spread(left),
                rank_correlation=min(spearman(a, b) for a, b in zip(scores, exact, strict=True)),
            )
        )
    return result


def _spread(values: dict[int, float]) -> float:
    return max(values.values()) - min(values.values()) if values else float("nan")


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

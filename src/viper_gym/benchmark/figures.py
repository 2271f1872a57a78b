"""Pictures of an audit: the paper's Figure 5, open-loop rollouts (Figure 4), learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")  # no display on servers

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from PIL import Image

from viper_gym.benchmark.audit import Scored
from viper_gym.benchmark.names import distinct_names
from viper_gym.benchmark.score_mask import PointsLost
from viper_gym.benchmark.stand_still import StandStill
from viper_gym.benchmark.task_audit import CHEAP, STOP, TaskAudit
from viper_gym.data.episodes import Episode
from viper_gym.errors import VideoDataError
from viper_gym.likelihood.precision import cast_for_inference
from viper_gym.likelihood.reward_model import VideoRewardModel

if TYPE_CHECKING:
    from viper_gym.benchmark.cross_embodiment import CellScore

SMOOTH = 9  # steps of the moving average drawn over the raw curve
CURVE_POINTS = 60  # of a learning curve


def _smooth(values: np.ndarray) -> np.ndarray:
    width = min(SMOOTH, len(values))
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def _strip(episode: Episode, n: int = 10) -> np.ndarray:
    """n frames, evenly spaced, side by side: uint8 (H, n * W, 3)."""
    pick = np.linspace(0, len(episode.frames) - 1, n).astype(int)
    return np.concatenate(list(episode.frames[pick]), 1)


def reward_figure(
    model: VideoRewardModel, audit: TaskAudit, scored: dict[str, list[Scored]], path: Path
) -> None:
    """Figure 5: reward curves with frames above (left), VIPER against task return (middle), and
    what every behaviour is paid by the age of its episodes (right)."""
    calibrated = model.is_calibrated(audit.task)
    unit = "VIPER reward (0 cheap, 1 expert)" if calibrated else "nats a frame"

    def values(item: Scored) -> np.ndarray:
        return model.scaled(item.log_prob, audit.task) if calibrated else item.log_prob[1:]

    shown: list[str] = [name for name in ("expert", "random") if name in scored]
    figure = plt.figure(figsize=(16, 2.2 + 1.1 * len(shown)), layout="constrained")
    heights = [0.75] * len(shown) + [2.6]
    grid = figure.add_gridspec(len(shown) + 1, 3, width_ratios=[1.7, 1, 1], height_ratios=heights)
    curves = figure.add_subplot(grid[len(shown), 0])
    for row, name in enumerate(shown):
        axis = figure.add_subplot(grid[row, 0])
        axis.imshow(_strip(scored[name][0].episode), aspect="auto")
        axis.set_ylabel(name)
        axis.set_xticks([])
        axis.set_yticks([])
        color = f"C{row}"
        curve = values(scored[name][0])
        curves.plot(curve, color=color, alpha=0.2, linewidth=0.7)
        curves.plot(_smooth(curve), color=color, label=name)
    low = float(np.percentile(np.concatenate([values(scored[n][0]) for n in shown]), 1))
    curves.set_ylim(bottom=low)
    curves.set_xlabel("environment step")
    curves.set_ylabel(unit)
    curves.legend(loc="lower right")
    scatter = figure.add_subplot(grid[:, 1])
    for name in ("graded", "stop", "zero", "small", "constant", "random", "expert"):
        items = [s for s in scored.get(name, []) if np.isfinite(s.episode.task_return)]
        if items:
            x = [s.episode.task_return for s in items]
            scatter.scatter(x, [values(s).sum() for s in items], s=16, label=name, alpha=0.8)
    scatter.set_xlabel("task return")
    scatter.set_ylabel("VIPER return")
    if scatter.get_legend_handles_labels()[0]:
        scatter.legend(fontsize=8)
    _draw_levels_by_age(figure.add_subplot(grid[:, 2]), audit)
    title = f"{audit.task}: rank correlation on graded episodes {audit.spearman:.2f}"
    figure.suptitle(title, parse_math=False)  # a name may have a "$"
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_levels_by_age(axis: Axes, audit: TaskAudit) -> None:
    names = [n for n in ("expert", STOP, *CHEAP) if n in audit.levels_by_age]
    bands = max((list(audit.levels_by_age[n]) for n in names), key=len)  # all begin with the first
    for name in names:
        levels = list(audit.levels_by_age[name].values())
        bold: dict[str, Any] = {"color": "black", "linewidth": 2.2} if name == "expert" else {}
        axis.plot(levels, ".-", label=name, **bold)
    axis.set_xticks(range(len(bands)), bands)
    axis.set_xlabel("age of the episode (steps)")
    axis.set_ylabel("nats a frame")
    axis.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def stand_still_figure(found: dict[str, list[StandStill]], path: Path) -> None:
    """By how much an expert who goes on is paid more than one who stopped, checkpoint by
    checkpoint: a line a task, and their mean."""
    figure, axes = plt.subplots(
        1, len(found), figsize=(5.2 * len(found), 4), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    names = distinct_names(list(found))
    for axis, name, rows in zip(axes[0], names, found.values(), strict=True):
        axis.set_prop_cycle(color=plt.get_cmap("tab20")(range(20)))  # tasks are more than ten
        curves = np.array([row.advantage for row in rows])  # (tasks, steps)
        steps = np.arange(1, curves.shape[1] + 1)
        for row, curve in zip(rows, curves, strict=True):
            axis.plot(steps, curve, linewidth=0.9, alpha=0.7, label=row.task)
        axis.plot(steps, curves.mean(0), color="black", linewidth=2.2, label="mean")
        axis.axhline(0, color="grey", linestyle="--", linewidth=1)
        axis.set_title(f"{name}: frames {rows[0].stride} step(s) apart", parse_math=False)
        axis.set_xlabel("steps since the picture stopped")
    axes[0, 0].set_ylabel("moving expert above stopped\npicture, nats a frame")
    axes[0, -1].legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def points_lost_figure(found: dict[str, PointsLost], path: Path) -> None:
    """One lost game frame by frame (left), and levels by the points lost so far (right)."""
    figure, (game, levels) = plt.subplots(
        1, 2, figsize=(11, 3.6), width_ratios=[1.6, 1], layout="constrained"
    )
    names = distinct_names(list(found))
    for place, (label, row) in enumerate(zip(names, found.values(), strict=True)):
        color = f"C{place}"
        values = np.array(row.example)
        game.plot(values, color=color, alpha=0.2, linewidth=0.7)
        game.plot(_smooth(values), color=color, label=label)
        known = [(n, level) for n, level in enumerate(row.levels) if level is not None]
        levels.plot(
            *zip(*known, strict=True), "o-", color=color, label=f"{label}: {row.change:+.1f} nats"
        )
    for t in row.example_points:
        game.axvline(t, color="grey", linestyle=":", linewidth=0.8)
    game.set_xlabel("environment step (dotted: a point is lost)")
    game.set_ylabel("nats a frame")
    game.legend(loc="lower left", fontsize=8)
    levels.set_xlabel("points lost so far")
    levels.legend(fontsize=8)
    figure.suptitle(row.task, parse_math=False)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def cross_embodiment_figure(
    results: dict[str, dict[int, dict[str, CellScore]]], path: Path
) -> Figure:
    """Figure 8: a held-out cell's experts against its other episodes; a dot a seed.

    Args:
        results: cell -> seed -> which cells the model saw -> score.

    Returns:
        The figure, which is written and closed.
    """
    asked = {"random runs": "expert_over_random", "failed runs": "expert_over_failed"}
    figure, axes = plt.subplots(
        1, 2 * len(results), figsize=(3.1 * 2 * len(results), 3.4), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    panels = [(cell, name, score) for cell in results for name, score in asked.items()]
    for axis, (cell, name, score) in zip(axes[0], panels, strict=True):
        rows = list(results[cell].values())
        for place, condition in enumerate(rows[0]):
            values = [getattr(row[condition], score) for row in rows]
            axis.bar(place, np.mean(values), width=0.6, color=f"C{place}", alpha=0.35)
            axis.plot([place] * len(values), values, "o", color=f"C{place}", markersize=5)
        axis.axhline(0.5, color="grey", linestyle="--", linewidth=1)
        axis.set_xticks(range(len(rows[0])), [c.replace(" ", "\n") for c in rows[0]])
        axis.set_title(f"{cell}: above {name}", fontsize=10)
        axis.set_ylim(0, 1.03)
    axes[0, 0].set_ylabel("share of pairs (0.5 is chance)")
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return figure


def score_figure(
    rewards: np.ndarray,
    episode: Episode,
    title: str,
    unit: str,
    path: Path,
    levels: dict[str, float],
) -> None:
    """Reward curve of one video with its frames above.

    Args:
        levels: name -> a reward to compare with, drawn as a dashed line.
    """
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(10, 3.6), height_ratios=[0.7, 2], layout="constrained"
    )
    top.imshow(_strip(episode, 12), aspect="auto")
    top.set_axis_off()
    frames = np.arange(1, len(rewards) + 1)  # the first has none
    bottom.plot(frames, rewards, alpha=0.25, color="C0", linewidth=0.7)
    bottom.plot(frames, _smooth(rewards), color="C0")
    for n, (name, level) in enumerate(levels.items()):
        bottom.axhline(level, color=f"C{n + 1}", linestyle="--", linewidth=1, label=name)
    if levels:
        bottom.legend(fontsize=8)
    bottom.set_xlabel("frame")
    bottom.set_ylabel(unit)
    figure.suptitle(title, parse_math=False)  # a name may have a "$"
    figure.savefig(path, dpi=90)
    plt.close(figure)


def rollout_gif(
    model: VideoRewardModel,
    task: str,
    episode: Episode,
    path: Path,
    frames: int = 40,
    seen: int | None = None,
) -> None:
    """Figure 4: the real video (left) beside an open-loop rollout (right).

    The rollout sees the first `seen` frames, half a window if left out; a red bar marks imagined
    ones.

    Raises:
        VideoDataError: the video ends before anything is imagined.
    """
    stride = model.config.frame_stride
    context = seen or max(1, model.config.video_model.sequence_length // 2)
    strided = episode.frames[::stride][: context + frames]
    if len(strided) <= context:
        raise VideoDataError(
            f"expected more than {context * stride} frames, of which the first are seen and the "
            f"others imagined, got {len(episode.frames)}"
        )
    numbers = model.task_numbers(task, len(strided))
    codes = model.encode(strided, numbers)[None]  # (1, T, h, w)
    task_index = model.classes(numbers[:1])
    generator = torch.Generator(device=model.device).manual_seed(0)
    exact = cast_for_inference(model.bundle.video_model, torch.float32).to(model.device)
    drawn = exact.generate(
        codes[:, :context], strided.shape[0] - context, task_index, generator=generator
    )
    imagined = np.concatenate([strided[:context], model.decode(drawn[0], task)])
    pairs = []
    for t, (real, dream) in enumerate(zip(strided, imagined, strict=True)):
        pair = np.concatenate([real, np.full((real.shape[0], 2, 3), 255, np.uint8), dream], 1)
        pair = pair.repeat(3, 0).repeat(3, 1)
        if t >= context:
            pair[:6, pair.shape[1] // 2 :] = (200, 40, 40)
        pairs.append(Image.fromarray(pair))
    pairs[0].save(path, save_all=True, append_images=pairs[1:], duration=80, loop=0)


def video_gif(frames: np.ndarray, path: Path, zoom: int = 3, step: int = 2) -> None:
    """Frames uint8 (T, H, W, 3) as an animation, every `step`-th frame."""
    # one after another: all of them, enlarged, may not fit into memory
    images = (Image.fromarray(f.repeat(zoom, 0).repeat(zoom, 1)) for f in frames[::step])
    next(images).save(path, save_all=True, append_images=images, duration=50, loop=0)


def learning_curves(
    curves: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    title: str,
    reference: float | None,
    path: Path,
) -> None:
    """Both returns against environment steps, a line a seed; of agents that no video pays, one.

    Of many episodes at most `CURVE_POINTS` means are drawn, each before a shade from the lowest
    to the highest of its episodes.

    Args:
        curves: label -> (steps, task returns, VIPER returns).
        reference: the oracle's task return, drawn as a dashed line.
    """
    paid = any(np.isfinite(viper).any() for _, _, viper in curves.values())
    size = (10, 3.4) if paid else (6, 3.4)
    figure, axes = plt.subplots(1, 1 + paid, figsize=size, layout="constrained", squeeze=False)
    left, right = axes[0, 0], axes[0, -1]
    for label, (steps, task, viper) in curves.items():
        if not len(steps):
            continue  # no episode has ended yet
        parts = min(CURVE_POINTS, len(steps))
        x = [part.mean() for part in np.array_split(steps, parts)]
        for axis, returns in ((left, task), (right, viper))[: 1 + paid]:
            groups = np.array_split(returns, parts)
            axis.plot(x, [g.mean() for g in groups], label=label)
            axis.fill_between(x, [g.min() for g in groups], [g.max() for g in groups], alpha=0.2)
    if reference is not None:
        left.axhline(reference, linestyle="--", color="grey", label="oracle")
    left.set_ylabel("task return")
    if paid:
        right.set_ylabel("VIPER return")
    for axis in axes[0]:
        axis.set_xlabel("environment steps")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=8)
    figure.suptitle(title, parse_math=False)  # a name may have a "$"
    figure.savefig(path, dpi=90)
    plt.close(figure)

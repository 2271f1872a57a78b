"""Audit or demo of a bundle on a suite or on a folder of episodes: figures, table, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from viper_gym.benchmark.audit import Episodes, Scored, TaskAudit, audit_task, summary
from viper_gym.benchmark.figures import reward_figure, rollout_gif
from viper_gym.checkpoints.bundle import BundleConfig
from viper_gym.data.videos import find_videos, natural_key, read_video
from viper_gym.errors import VideoDataError
from viper_gym.likelihood.reward_model import VideoRewardModel

EpisodeSource = Callable[[str], Episodes]  # task -> behaviour -> episodes


def folder_source(folder: Path, image_size: int) -> EpisodeSource:
    """Episodes of the user's own: `folder/<task>/<behaviour>/…` in any video format.

    Only `expert` is needed. Task returns are known for npz files with `rewards`.
    """

    def source(task: str) -> Episodes:
        root = folder / task
        behaviours = sorted((p for p in root.glob("*") if p.is_dir()), key=natural_key)
        episodes = {b.name: [read_video(v, image_size) for v in find_videos(b)] for b in behaviours}
        if not episodes.get("expert"):
            raise VideoDataError(
                f"{root}: expected sub-folders of videos by behaviour, 'expert' among them; "
                f"found {[b.name for b in behaviours]}"
            )
        return {name: items for name, items in episodes.items() if items}

    return source


def run_audit(
    model: VideoRewardModel,
    tasks: list[str],
    source: EpisodeSource,
    out: Path | None,
    on_task: Callable[[str, TaskAudit, dict[str, list[Scored]]], None] = lambda *_: None,
    on_episode: Callable[[], None] = lambda: None,
) -> dict[str, TaskAudit]:
    """Audit every task; with `out`, write pictures, rollouts and `audit.json` there."""
    audits: dict[str, TaskAudit] = {}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        audit, scored = audit_task(model, task, source(task), on_episode=on_episode)
        audits[task] = audit
        if out is not None:
            reward_figure(model, audit, scored, out / f"{task}_rewards.png")
            rollout_gif(model, task, scored["expert"][0].episode, out / f"{task}_rollout.gif")
            (out / "audit.json").write_text(to_json(audits) + "\n")
        on_task(task, audit, scored)
    return audits


def to_json(audits: dict[str, TaskAudit]) -> str:
    """The documented output of `evaluate --json`; NaN becomes null."""
    return json.dumps({"tasks": {t: _clean(summary(a)) for t, a in audits.items()}}, indent=2)


def _clean(value: object) -> object:
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items()}
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 4)
    return value


def table(audits: dict[str, TaskAudit]) -> Table:
    """The audit as people read it."""
    view = Table(title="Reward audit (shares of pairs the expert wins; 1.00 is best)")
    for column in (
        "task", "AUROC random", "Spearman", "within", "cheap", "best cheap", "gap (sd)", "frozen",
        "shuffled",
    ):  # fmt: skip
        view.add_column(column, justify="left" if column in ("task", "best cheap") else "right")
    for task, a in audits.items():
        view.add_row(
            task, f"{a.auroc_random:.2f}", f"{a.spearman:.2f}", f"{a.spearman_within:.2f}",
            f"{a.beats_cheap:.2f}",
            a.best_cheap, f"{a.gap:.1f}", f"{a.beats_frozen:.2f}", f"{a.beats_shuffled:.2f}",
        )  # fmt: skip
    return view


def with_evaluation(
    config: BundleConfig, audits: dict[str, TaskAudit], command: str
) -> BundleConfig:
    """The config with the audit's figures and the command that made them."""
    figures = json.loads(to_json(audits))
    return replace(config, evaluation={"command": command, **figures})


def model_card(config: BundleConfig) -> str:
    """README.md of a bundle: what it is, how to use it, how good it is."""
    suite = "dmc"
    lines = [
        "---",
        "library_name: viper-gym",
        "license: mit",
        "pipeline_tag: reinforcement-learning",
        "tags: [viper, video-reward, gymnasium, reinforcement-learning]",
        "---",
        "",
        "# VIPER video reward model",
        "",
        "A tokenizer and an autoregressive video model trained on expert videos. The reward of a "
        "step is the log-likelihood of the frame it returned (Escontrela et al. 2023).",
        "",
        "```python",
        "import gymnasium as gym, viper_gym",
        f'env = gym.make("viper/{suite}-{config.tasks[0]}-v0")',
        "```",
        "",
        f"- tasks: {', '.join(config.tasks)}",
        f"- window: {config.video_model.sequence_length} frames, {config.frame_stride} environment "
        f"steps apart; {config.video_model.tokens_per_frame} codes a frame of "
        f"{config.tokenizer.codebook_size}",
        "- training data: episodes of state-based oracles from this project "
        "(`viper-gym collect`), from diverse starts and at several noise levels",
        f"- made with viper-gym {config.library_version}; weights and data are MIT licensed",
        "",
        "## Preprocessing (checked when an environment is wrapped)",
        "",
        *(f"- {task}: `{json.dumps(values)}`" for task, values in config.preprocessing.items()),
        "",
        "## Scale, nats a frame",
        "",
        "| task | reward 0 | reward 1 | set by |",
        "|---|---|---|---|",
        *(
            f"| {t} | {c.low:.2f} | {c.high:.2f} | {c.source} |"
            for t, c in config.calibration.items()
        ),
        "",
    ]
    if config.evaluation:
        lines += _evaluation_lines(config)
    return "\n".join(lines)


def _evaluation_lines(config: BundleConfig) -> list[str]:
    rows = [
        "## Audit on episodes that took no part in training",
        "",
        f"`{config.evaluation['command']}`",
        "",
        "| task | AUROC random | Spearman | within | beats cheap | best cheap | gap (sd) "
        "| beats frozen | beats shuffled |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ("auroc_random", "spearman", "spearman_within", "beats_cheap", "best_cheap", "gap_sd",
            "beats_frozen", "beats_shuffled")  # fmt: skip
    tasks = config.evaluation["tasks"]
    for task, figures in tasks.items():
        rows.append("| " + " | ".join([task, *(str(figures[k]) for k in keys)]) + " |")
    rows += ["", "Shares of pairs and rank correlations; in words:", ""]
    rows += [f"- {task}: {line}" for task, figures in tasks.items() for line in figures["verdict"]]
    return [*rows, ""]

"""The model card of a bundle: README.md with the metadata that the Hub reads."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any

from viper_gym.checkpoints.bundle import PICTURES, BundleConfig, read_config
from viper_gym.checkpoints.index import CheckpointEntry, read_index
from viper_gym.checkpoints.resolve import bundled_folder

_COLUMNS = {
    "auroc_random": "AUROC random",
    "spearman": "Spearman",
    "spearman_success": "steps solved",
    "spearman_clipped": "clipped",
    "spearman_within": "within",
    "beats_cheap": "beats cheap",
    "best_cheap": "best cheap",
    "gap_sd": "gap (sd)",
    "beats_frozen": "beats frozen",
    "beats_shuffled": "beats shuffled",
}
_LEGEND = (
    "AUROC random: share of pairs of episodes in which the expert's is likelier than random play. "
    "Spearman: rank correlation of video and task return over graded rollouts (with steps solved; "
    "clipped: of the reward within its calibrated bounds; within: of single steps, in episodes). "
    "Beats cheap: lowest share of pairs won against a cheap behaviour, over whole episodes or in a "
    "band of their age; best cheap: the likeliest of them (settled: pictures of cheap episodes, at "
    "rest; empty: nothing in view), gap: to it, in standard deviations of the expert's episodes. "
    "Beats frozen, shuffled: share of an expert's moving clips that are likelier than the same "
    "frames so."
)
_NETWORKS = {
    "nats_per_token": "nats a token",
    "codes_used": "codes used",
    "perplexity": "perplexity",
    "moving_error": "error where it moves",
    "still_error": "elsewhere",
}
_NETWORKS_LEGEND = (
    "On the audit's experts: what a token costs the video model (in windows as in training), how "
    "many codes their frames take and how many equally frequent ones would be as varied, and the "
    "mean error of reconstructions in grey levels (0 to 255), where a frame is away from the "
    "median picture and elsewhere. The command also draws reward curves and open-loop rollouts "
    "(GIFs)."
)
_FOLDER = "folder/of/this/bundle"
LIBRARY, TAGS = "viper_gym", "[viper, video-reward, gymnasium, reinforcement-learning]"


def pictures_of(folder: Path) -> list[str]:
    """What a bundle's card is to show, as paths from there: reward curves and rollouts."""
    shown = sorted(p for p in (folder / PICTURES).glob("*") if p.suffix in (".png", ".gif"))
    return [f"{PICTURES}/{path.name}" for path in shown]


def keep_pictures(folder: Path, drawn: Iterable[Path]) -> None:
    """Copy what was drawn of a bundle to where its card shows it; what is not there is left out."""
    (folder / PICTURES).mkdir(exist_ok=True)
    for path in drawn:
        if path.exists():
            copyfile(path, folder / PICTURES / path.name)


def model_card(
    config: BundleConfig,
    repo_id: str | None = None,
    license: str | None = None,
    pictures: Sequence[str] = (),
) -> str:
    """What a bundle is, how to use it, what it was trained on and how good it is.

    Args:
        config: of the bundle; its `evaluation` gives the figures.
        repo_id: Hub repository that the usage names; None: the suite's own checkpoint, or a
            folder.
        license: the Hub's identifier of a licence ("mit", "cc-by-4.0", …). None: "mit" for models
            of this project's own episodes, "unknown" for others.
        pictures: of `pictures_of`.
    """
    # only `viper-gym collect` records how many steps a frame takes
    own = bool(config.preprocessing) and all(
        "action_repeat" in values for values in config.preprocessing.values()
    )
    license = license or ("mit" if own else "unknown")
    data = (
        "episodes of this project's experts, policies and scripts that see the state (`viper-gym "
        "collect`), from diverse starts and at several noise levels"
        if own
        else "not recorded in the bundle: its publisher should say here which videos they were"
    )
    play = (
        ", less that among videos of unskilled play, which the model was trained on as well: a log "
        "likelihood ratio (Ren et al. 2019). All nats below are such ratios"
        if config.contrast
        else ""
    )
    scored = config.policy.length(config.video_model.sequence_length)
    lines = [
        "---",
        f"library_name: {LIBRARY}",
        f"license: {license}",
        "pipeline_tag: reinforcement-learning",
        f"tags: {TAGS}",
        "---",
        "",
        "# VIPER video reward model",
        "",
        "A tokenizer and an autoregressive video model trained on expert videos. The reward of a "
        f"step is the log-likelihood of the frame it returned (Escontrela et al. 2023){play}.",
        "",
        "```python",
        *_usage(config, repo_id),
        "```",
        "",
        f"- tasks: {', '.join(config.tasks)}{_served(config)}",
        f"- window: {config.video_model.sequence_length} frames in training, {scored} in rewards "
        f"({config.policy.kind}{_own(config)}), {config.frame_stride} environment steps apart; "
        f"{config.video_model.tokens_per_frame} codes a frame of {config.tokenizer.codebook_size}",
        f"- training data: {data}",
        f"- licence: {license}; made with viper-gym {config.library_version}",
        "",
    ]
    if config.preprocessing:
        lines += ["## Preprocessing (checked when an environment is wrapped)", ""]
        lines += [f"- {t}: `{json.dumps(values)}`" for t, values in config.preprocessing.items()]
        lines += [""]
    if config.calibration:
        lines += [
            "## Scale, nats a frame",
            "",
            "| task | reward 0 | reward 1 | doing nothing | calibrated clip | set by |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {t} | {c.low:.2f} | {c.high:.2f} | {'–' if c.idle is None else f'{c.idle:.2f}'} "
            f"| {'–' if c.clip is None else f'{c.clip[0]:g} to {c.clip[1]:g}'} | {c.source} |"
            for t, c in config.calibration.items()
        ]
        lines += [""]
    if config.evaluation:
        lines += _evaluation_lines(config)
    if pictures:
        lines += ["", "## Pictures", ""]
        lines += [
            "What each behaviour is paid over an episode, VIPER return against task return, levels "
            "by age; and what the model makes of an expert's first frames, beside what he did.",
            "",
        ]
        lines += [f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in pictures]
    card = "\n".join(lines)
    return f"{card}\n{_mark(card)}\n"


def _mark(card: str) -> str:
    """A comment that tells whether anybody edited the card since, its usage apart."""
    told = re.sub(r"(?s)```python.*?```", "", card).strip()
    return f"<!-- generated by viper-gym, {hashlib.sha256(told.encode()).hexdigest()[:16]} -->"


def _served(config: BundleConfig) -> str:
    """Which of its tasks ids are made of, where others are served by another bundle."""
    row = _row(config)
    if row is None or set(row.tasks) == set(config.tasks):
        return ""
    return f" (this package's ids take {', '.join(row.tasks)} from it, others are unused)"


def _own(config: BundleConfig) -> str:
    """Tasks whose frames are scored with another window, or all of a window together."""
    length = config.video_model.sequence_length
    others = [
        f"{task} {policy.length(length)}{' together' if policy.mode == 'joint' else ''}"
        for task, policy in ((task, config.policy_of(task)) for task in config.tasks)
        if policy != config.policy
    ]
    return f"; {', '.join(others)}" if others else ""


def licence_of(card: str) -> str | None:
    """The licence in a card's metadata, if it names one."""
    found = re.search(r"(?m)^license: (\S+)$", card)
    return found[1] if found and found[1] != "unknown" else None


def is_generated(card: str) -> bool:
    """Whether a card is as `model_card` made it, perhaps an earlier version's."""
    body, _, mark = card.strip().rpartition("\n")
    return mark == _mark(body)


def _usage(config: BundleConfig, repo_id: str | None) -> list[str]:
    served = config.evaluation.get("tasks") or config.calibration  # others may lie unused in it
    row = _row(config)
    if row is not None:
        served = dict.fromkeys(row.tasks)
    task = next((t for t in config.tasks if t in served), config.tasks[0])
    checkpoint = repo_id or ("" if row else _FOLDER)  # an id's own is the bundle of its row
    entry = next((entry for entry in read_index().values() if task in entry.tasks), None)
    if entry is not None:
        env_id = f"viper/{entry.suite}-{task}-v0"
        imports = ["import gymnasium as gym, viper_gym", ""]
        if not checkpoint:
            return [*imports, f'env = gym.make("{env_id}")']
        drawn = _drawn(config.preprocessing.get(task, {}), entry, task)
        given = [f'"{env_id}"', f'checkpoint="{checkpoint}"', *drawn]
        if not drawn:
            return [*imports, f"env = gym.make({', '.join(given)})"]
        return [*imports, "env = gym.make(", *(f"    {x}," for x in given), ")"]
    return [
        "from viper_gym import ViperRewardWrapper",
        "",
        "# env: any Gymnasium environment with render_mode='rgb_array'",
        f'env = ViperRewardWrapper(env, "{repo_id or _FOLDER}", task="{task}")',
    ]


def _drawn(recorded: dict[str, Any], entry: CheckpointEntry, task: str) -> list[str]:
    """Arguments of an id that give frames like a bundle's videos; none where these are as those of
    the suite's own bundle."""
    own = read_config(bundled_folder(entry.alias)) if entry.bundled else None
    if own is not None and own.preprocessing.get(task) == recorded:
        return []
    names = ["image_size", "render_quality"]
    if not isinstance(recorded.get("camera"), str):  # else it cannot be chosen
        names += ["camera", "fovy", "free_camera", "see_through"]
        if "camera" in recorded:
            recorded = {"see_through": [], **recorded}
    view = {name: recorded[name] for name in names if name in recorded}
    robot = {"robot": recorded["robot"]} if "robot" in recorded else None
    given = {"view": view, "action_repeat": recorded.get("action_repeat"), "env_kwargs": robot}
    return [f"{name}={value!r}" for name, value in given.items() if value]


def _row(config: BundleConfig) -> CheckpointEntry | None:
    """The row of `checkpoints.json` that a bundle of this package was audited as."""
    audited = re.findall(r"--checkpoint (\S+)", config.evaluation.get("command", ""))
    if not audited:
        return None
    rows, name = read_index(), audited[-1]
    row = rows.get(name) or next(
        (r for r in rows.values() if name.endswith(f"viper_gym/assets/{r.bundled}")), None
    )
    if row is not None and name == row.suite:  # which of the suite's, the audited tasks say
        told = set(config.evaluation["tasks"])
        return next((r for r in rows.values() if told and told <= set(r.tasks)), row)
    return row


def _evaluation_lines(config: BundleConfig) -> list[str]:
    tasks = config.evaluation["tasks"]
    columns = {k: v for k, v in _COLUMNS.items() if k != "spearman_success" or _told(k, tasks)}
    given = "--episodes" in config.evaluation["command"]  # nobody knows what was trained on
    rows = [
        f"## Audit on {'given episodes' if given else 'episodes that took no part in training'}",
        "",
        f"`{config.evaluation['command']}`",
        "",
        "| task | " + " | ".join(columns.values()) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for task, figures in tasks.items():
        rows.append("| " + " | ".join([task, *(_text(figures.get(k)) for k in columns)]) + " |")
    rows += ["", _LEGEND, "", "In words:", ""]
    rows += [f"- {task}: {line}" for task, figures in tasks.items() for line in figures["verdict"]]
    return [*rows, "", *_network_lines(tasks)]


def _network_lines(tasks: dict[str, Any]) -> list[str]:
    measured = {
        task: figures["networks"] for task, figures in tasks.items() if figures.get("networks")
    }
    if not measured:
        return []
    rows = [
        "## How well the networks fit",
        "",
        "| task | " + " | ".join(_NETWORKS.values()) + " |",
        "|---" * (len(_NETWORKS) + 1) + "|",
    ]
    for task, figures in measured.items():
        cells = [_network_text(name, figures.get(name)) for name in _NETWORKS]
        rows.append("| " + " | ".join([task, *cells]) + " |")
    return [*rows, "", _NETWORKS_LEGEND, ""]


def _network_text(name: str, value: float | None) -> str:
    digits = {"nats_per_token": 3, "codes_used": 0}.get(name, 1)
    return "–" if value is None else f"{value:.{digits}f}"


def _told(key: str, tasks: dict[str, dict[str, Any]]) -> bool:
    return any(figures.get(key) is not None for figures in tasks.values())


def _text(figure: Any) -> str:
    if figure is None:
        return "–"
    return f"{figure:.2f}" if isinstance(figure, float) else str(figure)

"""Audit or demo of a bundle on a suite or on a folder of episodes: figures, table, JSON."""

from __future__ import annotations

import json
import logging
import math
import shlex
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from viper_gym.benchmark.audit import Scored, audit_task
from viper_gym.benchmark.climb import climb
from viper_gym.benchmark.figures import reward_figure, rollout_gif
from viper_gym.benchmark.networks import network_figures
from viper_gym.benchmark.still import Episodes
from viper_gym.benchmark.task_audit import AGENT, CHEAP, STOP, TaskAudit, summary
from viper_gym.checkpoints.bundle import BundleConfig
from viper_gym.data.episodes import Episode
from viper_gym.data.videos import find_videos, natural_key, read_video, warn_of_lossy
from viper_gym.errors import VideoDataError, ViperGymError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.types import RESIZED

REWARDS, ROLLOUT = "_rewards.png", "_rollout.gif"  # what is drawn of a task
logger = logging.getLogger("viper_gym")

JUDGED = {"expert", "graded", STOP, *CHEAP}
"""behaviours that an audit makes figures of"""
NAMED, AND = " --tasks ", " && "  # in the command that is stored with figures
EpisodeSource = Callable[[str], Episodes]  # task -> behaviour -> episodes


def folder_source(folder: Path, config: BundleConfig) -> EpisodeSource:
    """Episodes of the user's own: `folder/<task>/<behaviour>/…` in any video format.

    Only `expert` is needed. Videos of another size than those of training are warned of. Task
    returns are known for npz files with `rewards`. Behaviours of names that no figure is made of
    are left out, with a warning.
    """

    def source(task: str) -> Episodes:
        root = folder / task
        behaviours = sorted((p for p in root.glob("*") if p.is_dir()), key=natural_key)
        found = {b.name: find_videos(b) for b in behaviours if b.name in JUDGED}
        warn_of_lossy(video for videos in found.values() for video in videos)
        if strangers := sorted({b.name for b in behaviours} - JUDGED):
            logger.warning(
                "%s: nothing is made of %s; the names that are judged are %s",
                root, ", ".join(strangers), ", ".join(sorted(JUDGED)),
            )  # fmt: skip
        size = int(config.tokenizer.image_size)
        episodes = {name: [_read(v, size) for v in vs] for name, vs in found.items()}
        if not episodes.get("expert"):
            raise VideoDataError(
                f"{root}: expected sub-folders of videos by behaviour, 'expert' among them; "
                f"found {[b.name for b in behaviours]}"
            )
        warn_of_size(root, [e for items in episodes.values() for e in items], config, task)
        return {name: items for name, items in episodes.items() if items}

    return source


def warn_of_size(root: Path, episodes: list[Episode], config: BundleConfig, task: str) -> None:
    """Say so if videos had another size than those that a model was trained on."""
    own = [int(config.tokenizer.image_size)] * 2
    trained = config.preprocessing.get(task, {}).get(RESIZED) or own
    if others := sorted({tuple(e.meta.get(RESIZED) or own) for e in episodes} - {tuple(trained)}):
        logger.warning(
            "%s: frames of %s, those that the model was trained on have %s, as far as it says: "
            "resized, they look otherwise, and are paid otherwise",
            root, " and ".join(map(str, others)), tuple(trained),
        )  # fmt: skip


def _read(video: Path, image_size: int) -> Episode:
    episode = read_video(video, image_size)
    if episode.frames.shape[1:] != (image_size, image_size, 3):
        raise VideoDataError(
            f"{video}: expected uint8 pictures (T, H, W, 3), got {episode.frames.dtype} "
            f"{episode.frames.shape}"
        )
    return episode


def with_agents(source: EpisodeSource, folder: Path, config: BundleConfig) -> EpisodeSource:
    """Adds `folder/<task>/…`, videos of what agents did with the reward, as behaviour "agent".

    Raises (when called for a task):
        VideoDataError: no video of that task.
    """

    def both(task: str) -> Episodes:
        videos = find_videos(folder / task)
        if not videos:
            raise VideoDataError(
                f"{folder / task}: expected videos of agents on '{task}', found none"
            )
        agents = [_read(v, int(config.tokenizer.image_size)) for v in videos]
        warn_of_size(folder / task, agents, config, task)
        return {**source(task), AGENT: agents}

    return both


def run_audit(
    model: VideoRewardModel,
    tasks: list[str],
    source: EpisodeSource,
    out: Path | None,
    on_task: Callable[[str, TaskAudit, dict[str, list[Scored]]], None] = lambda *_: None,
    on_episode: Callable[[], None] = lambda: None,
    unreachable: tuple[str, ...] = (),
    earlier: dict[str, TaskAudit] | None = None,
    failed: dict[str, ViperGymError] | None = None,
) -> dict[str, TaskAudit]:
    """Audit every task; with `out`, write pictures, rollouts and `audit.json` there.

    Args:
        earlier: of other bundles, told in the same `audit.json`.
        failed: tasks whose videos cannot be used are put there, with the error.

    Raises:
        VideoDataError: such a task, without `failed`.
    """
    audits: dict[str, TaskAudit] = {}
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        try:
            audit, scored = audit_task(
                model, task, source(task), on_episode=on_episode, unreachable=unreachable
            )
        except VideoDataError as error:
            if failed is None:
                raise
            failed[task] = error
            continue
        experts = [s.episode for s in scored["expert"]]
        audit.networks = network_figures(model, task, experts)
        audits[task] = audit
        if out is not None:
            reward_figure(model, audit, scored, out / f"{task}{REWARDS}")
            (out / "audit.json").write_text(to_json({**(earlier or {}), **audits}) + "\n")
            try:
                rollout_gif(model, task, experts[0], out / f"{task}{ROLLOUT}")
            except VideoDataError as error:  # too short a video: no reason to lose the rest
                logger.warning("%s: no open-loop rollout: %s", task, error)
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


UPRIGHT = 4  # tasks; more are a row each


def table(audits: dict[str, TaskAudit]) -> Table:
    """The audit as people read it: of a few tasks a column each, which terminals have room for."""
    view = Table(
        title="Reward audit (shares of pairs the expert wins; 1.00 is best)",
        caption="climb: share of the reward's rise that comes before the task pays 80 % of the "
        "expert's reward; near 0 a learner is told little on the way",
    )
    rows = {task: _row(audit) for task, audit in audits.items()}
    figures = tuple(next(iter(rows.values()), {}))
    upright = len(rows) <= UPRIGHT
    view.add_column("figure" if upright else "task")
    for column in rows if upright else figures:
        view.add_column(column, justify="right")
    if upright:
        for name in figures:
            view.add_row(name, *(row[name] for row in rows.values()))
    else:
        for task, row in rows.items():
            view.add_row(task, *row.values())
    return view


def _row(audit: TaskAudit) -> dict[str, str]:
    figures = {
        "AUROC random": audit.auroc_random,
        "Spearman": audit.spearman,
        "solved": audit.spearman_success,
        "clipped": audit.spearman_clipped,
        "within": audit.spearman_within,
        "climb": climb(audit.paid_by_share),
        "cheap": audit.beats_cheap,
        "gap (sd)": audit.gap,
        "frozen": audit.beats_frozen,
        "shuffled": audit.beats_shuffled,
        "stopped": audit.beats.get(STOP, math.nan),
    }
    shown = {
        name: _figure(value, 1 if name == "gap (sd)" else 2) for name, value in figures.items()
    }
    return {**shown, "best cheap": audit.best_cheap}


def _figure(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def with_evaluation(
    config: BundleConfig, audits: dict[str, TaskAudit], command: str, chosen: Collection[str] = ()
) -> BundleConfig:
    """The config with the audit's figures and the command that makes them all.

    Figures of other tasks stay, and so do the commands that made them, joined by "&&".

    Args:
        command: without `--tasks`.
        chosen: the tasks that were asked for by name.
    """
    new = json.loads(to_json(audits))["tasks"]
    before = config.evaluation
    if not chosen or not before:
        command += NAMED + shlex.join(new) if chosen else ""
        return replace(config, evaluation={"command": command, "tasks": new})
    figures = {**before["tasks"], **new}
    makes: dict[str, set[str]] = {}  # command without `--tasks` -> its tasks
    whole = False  # this command made all of them, without naming any
    for part in before.get("command", "").split(AND):
        made, _, names = part.partition(NAMED)
        made = command if _alike(made, command) else made
        whole |= made == command and not names
        makes.setdefault(made, set()).update(_words(names) or before["tasks"])
    if not (whole and new.keys() <= before["tasks"].keys()):
        makes = {made: tasks - new.keys() for made, tasks in makes.items()}
        makes[command] = makes.pop(command, set()) | new.keys()  # the newest is the last
        order = {made: [t for t in figures if t in tasks] for made, tasks in makes.items()}
        command = AND.join(f"{made}{NAMED}{shlex.join(ts)}" for made, ts in order.items() if ts)
    return replace(config, evaluation={"command": command, "tasks": figures})


def _words(names: str) -> list[str]:
    try:
        return shlex.split(names)
    except ValueError:  # written by hand
        return names.split()


def _alike(one: str, other: str) -> bool:
    """But for how the checkpoint, which both were stored in, is called."""

    def rest(command: str) -> list[str]:
        words = shlex.split(command)
        at = words.index("--checkpoint") if "--checkpoint" in words else len(words)
        return words[:at] + words[at + 2 :]

    try:
        return rest(one) == rest(other)
    except ValueError:  # no command line
        return False

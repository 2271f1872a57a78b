"""Does a reward for an arm and a task come of videos of each with others (paper section 4.3)?

Six cells: two arms at three robosuite tasks. A model that was trained without one cell scores
that cell's episodes; one without any video of the cell's task (lower bound) and one with all six
cells (upper bound) score them as well.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from viper_gym.benchmark.figures import rollout_gif
from viper_gym.benchmark.metrics import share_of_pairs
from viper_gym.benchmark.still import Episodes
from viper_gym.benchmark.suite_episodes import AUDIT_SEED, TRAINING_SEED, suite_episodes
from viper_gym.data.episodes import Episode
from viper_gym.envs.collect import collect
from viper_gym.envs.robosuite import ROBOSUITE_TASKS, robosuite_task
from viper_gym.errors import TrainingError, VideoDataError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy
from viper_gym.training.loop import LoopConfig
from viper_gym.training.tokenizer import TokenizerTraining, train_tokenizer
from viper_gym.training.video_model import SMALL, VideoModelTraining, train_video_model

SUITE = "robosuite"
# As for RLBench (paper Table 2): four frames, four control steps apart. With stride 1 a model
# finds standing still as likely as moving (paper section 4.2).
WINDOW, STRIDE = 4, 4
PLAY = {"random": 3, "constant": 3, "small": 1, "zero": 1}  # parts of unskilled play
TAMPERED = 0.4  # share of play that is experts' windows, held still or in any order


@dataclass(frozen=True)
class CrossEmbodiment:
    """One fold of the experiment, with one seed."""

    cell: str = "panda_door"
    """what no video shows"""
    seed: int = 0
    preset: Literal["small", "small-fine"] = "small-fine"
    """of the tokenizer: 8x8 codes a frame, or the paper's 16x16, which take four times as long"""
    tokenizer_minutes: float = 8.0
    """training, a model"""
    video_model_minutes: float = 12.0
    episodes: int = 50
    """successful ones of a script, a cell"""
    play: int = 0
    """episodes of unskilled play, a cell that is shown; if any, what is scored is by how much
    likelier than in play the frames of a window are among experts (`VideoModelTraining.play`)"""
    expert: int = 15
    """episodes that are scored"""
    random: int = 15
    graded: int = 40
    """of which those that fail are scored"""
    data: Path = Path("data/robosuite")
    out: Path = Path("runs/cross-embodiment")


@dataclass(frozen=True)
class CellScore:
    """How one model ranks the episodes of the held-out cell."""

    expert_over_random: float
    """share of pairs, as AUROC"""
    expert_over_failed: float
    expert: float
    """mean nats a frame"""
    random: float
    failed: float
    failures: int
    """episodes that failed"""


def conditions(cell: str) -> dict[str, tuple[str, ...]]:
    """Which cells each model is trained on.

    Raises:
        UnknownTask: no such cell.
    """
    robosuite_task(cell)
    task = cell.split("_")[1]
    cells = tuple(ROBOSUITE_TASKS)
    return {
        "lower bound": tuple(c for c in cells if c.split("_")[1] != task),
        "held out": tuple(c for c in cells if c != cell),
        "upper bound": cells,
    }


def run(
    settings: CrossEmbodiment,
    workers: int = 2,
    tick: Callable[[str], None] = lambda what: None,
) -> dict[str, CellScore]:
    """Collect, train and score; what is done is kept and used again.

    Args:
        tick: called with what begins.

    Returns:
        Condition (see `conditions`) -> score of its model.

    Raises:
        UnknownTask: no such cell.
        TrainingError: `out` holds results of other settings.
        VideoDataError: see `scored_runs`.
    """
    trained_on = conditions(settings.cell)
    out = settings.out / settings.cell / f"seed_{settings.seed}"
    _same_settings(settings, out)
    files = {}
    for cell in ROBOSUITE_TASKS:
        tick(f"episodes of {cell}")
        files[cell] = collect(
            cell, "diverse", settings.episodes, settings.data / "train",
            first_seed=TRAINING_SEED, workers=workers, suite=SUITE,
        )  # fmt: skip
    play = _collect_play(settings, workers, tick) if settings.play else {}
    tick(f"episodes of {settings.cell} to score")
    counts = {"expert": settings.expert, "random": settings.random, "graded": settings.graded}
    scored = suite_episodes(
        settings.cell, counts, settings.data / "score", AUDIT_SEED, workers, suite=SUITE
    )
    runs = scored_runs(settings.cell, scored)  # before hours of training
    found = {}
    for condition, cells in trained_on.items():
        folder = out / condition.replace(" ", "_")
        done = folder / "score.json"
        if not done.exists():
            tick(f"{condition}, seed {settings.seed}")
            folder.mkdir(exist_ok=True)
            experts, unskilled = ({c: some[c] for c in cells if some} for some in (files, play))
            if condition == "upper bound":  # holds no cell out: the same model in every fold
                models = settings.out / "all_cells" / f"seed_{settings.seed}"
                _same_settings(replace(settings, cell="all"), models)
            else:
                models = folder
            bundle = _train(settings, experts, unskilled, models)
            policy = ContextPolicy("exact", mode="joint") if play else None
            model = VideoRewardModel.from_pretrained(bundle, policy=policy)
            score = score_cell(model, settings.cell, runs)
            rollout_gif(model, settings.cell, runs["expert"][0], folder / "rollout.gif", seen=1)
            written = done.with_suffix(".tmp")
            written.write_text(json.dumps(asdict(score), indent=2) + "\n")
            os.replace(written, done)
        found[condition] = CellScore(**json.loads(done.read_text()))
    return found


def scored_runs(cell: str, episodes: Episodes) -> Episodes:
    """What is compared: experts that succeed, random runs, graded ones that fail.

    Args:
        episodes: "expert", "random" and "graded", which say whether they succeeded.

    Returns:
        "expert", "random" and "failed".

    Raises:
        VideoDataError: no expert succeeded or no graded episode failed.
    """
    successes = [e for e in episodes["expert"] if e.meta["success"]]
    failures = [e for e in episodes["graded"] if not e.meta["success"]]
    if not (successes and failures):
        raise VideoDataError(
            f"{cell}: expected experts that succeed and graded episodes that fail, got "
            f"{len(successes)} and {len(failures)}; score more episodes"
        )
    return {"expert": successes, "random": episodes["random"], "failed": failures}


def score_cell(model: VideoRewardModel, cell: str, runs: Episodes) -> CellScore:
    """Rank `scored_runs` by their mean likelihood a frame, of every `frame_stride`-th frame.

    Frames with less than a full window before them are left out: they cost more, and an
    expert's episodes, which end soon after success, have a larger share of them. The frames
    between are in windows of their own, which look much the same.
    """
    config, joint = model.config, model.policy_of(cell).mode == "joint"
    length = config.video_model.sequence_length

    def level(episode: Episode) -> float:
        frames = episode.frames[:: config.frame_stride]
        codes = model.encode(frames, model.task_numbers(cell, len(frames)))  # (n, h, w)
        windows = codes.unfold(0, length, 1).movedim(-1, 1)  # (n - length + 1, length, h, w)
        scores = model.log_prob_of_window(windows, cell)  # (n - length + 1, length)
        return float(scores.mean() if joint else scores[:, -1].mean())

    def levels(some: list[Episode]) -> np.ndarray:  # (n,)
        return np.array([level(episode) for episode in some])

    expert, random, failed = (levels(runs[name]) for name in ("expert", "random", "failed"))
    return CellScore(
        share_of_pairs(expert, random),
        share_of_pairs(expert, failed),
        float(expert.mean()),
        float(random.mean()),
        float(failed.mean()),
        len(failed),
    )


def _same_settings(settings: CrossEmbodiment, out: Path) -> None:
    """Scores of a short trial must not be taken for those of a long run."""
    now, path = json.dumps(asdict(settings), default=str, indent=2) + "\n", out / "settings.json"
    out.mkdir(parents=True, exist_ok=True)
    if path.exists():  # those from before there was a choice of presets are of the default's
        before = {"preset": CrossEmbodiment.preset, **json.loads(path.read_text())}
        if before != json.loads(now):
            raise TrainingError(
                f"{out} holds results of other settings ({path}): use another --out"
            )
    path.write_text(now)


def _collect_play(
    settings: CrossEmbodiment, workers: int, tick: Callable[[str], None]
) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for cell in ROBOSUITE_TASKS:
        tick(f"unskilled play of {cell}")
        for behaviour, parts in PLAY.items():
            number = max(1, settings.play * parts // sum(PLAY.values()))
            found.setdefault(cell, []).extend(
                collect(
                    cell, behaviour, number, settings.data / "play",
                    first_seed=TRAINING_SEED, workers=workers, suite=SUITE,
                )
            )  # fmt: skip
    return found


def _link(folder: Path, *videos: dict[str, list[Path]]) -> Path:
    """A folder of videos as `train` reads it, of links to episodes of (…/CELL/BEHAVIOUR/FILE)."""
    shutil.rmtree(folder, ignore_errors=True)  # links only
    for cells in videos:
        for cell, files in cells.items():
            for file in files:
                link = folder / cell / file.parent.name / file.name
                link.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(file.resolve(), link)
    return folder


def _train(
    settings: CrossEmbodiment,
    cells: dict[str, list[Path]],
    play: dict[str, list[Path]],
    folder: Path,
) -> Path:
    """Tokenizer and video model of the files of some cells; the bundle's folder."""
    bundle = folder / "video-model" / "bundle"
    if (bundle / "config.json").exists():  # written last
        return bundle
    loop = LoopConfig(seed=settings.seed, resume=True, eval_every=1000)
    tokenizer = train_tokenizer(
        TokenizerTraining(
            data=_link(folder / "seen", cells, play),
            preset=settings.preset,
            shared_background=True,
            loop=replace(loop, out=folder / "tokenizer", max_minutes=settings.tokenizer_minutes),
        )
    )
    return train_video_model(
        VideoModelTraining(
            data=_link(folder / "data", cells),
            play=_link(folder / "play", play) if play else None,
            tampered=TAMPERED if play else 0.0,
            tokenizer=tokenizer,
            model=replace(SMALL, sequence_length=WINDOW),
            frame_stride=STRIDE,
            compositional=True,
            unseen=() if settings.cell in cells else (settings.cell,),
            loop=replace(
                loop, out=folder / "video-model", max_minutes=settings.video_model_minutes
            ),
        )
    )

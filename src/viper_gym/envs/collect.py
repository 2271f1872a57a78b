"""Collect episodes of a behaviour over processes; interrupted runs go on where they were.

Layout: `OUT/<task>/<behaviour>/episode_<seed>.npz`, and `index.jsonl` beside them with a
line for each seed tried (also the rejected ones), written by the parent process only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from viper_gym.data.episodes import Episode
from viper_gym.data.masks import NAME as MASK
from viper_gym.data.masks import write_mask
from viper_gym.data.rollout import record_episode
from viper_gym.envs.behaviours import BY_EXPERT, EMPTY, plan_episode
from viper_gym.envs.drawing import OWN_DRAWING, Drawing
from viper_gym.envs.drawn_env import DrawnEnv
from viper_gym.envs.suite import Suite, find_suite, no_expert
from viper_gym.envs.workers import InProcess, Processes, Workers
from viper_gym.errors import UNWRITABLE, TrainingError, UnknownTask, ViperGymError
from viper_gym.files import replace_text
from viper_gym.types import Policy

SEED_RANGE = (
    100_000  # training's seeds begin at 100000, calibration's at 200000, the audit's behind
)
# Episodes handed out at once, at least, and a worker: the last of them keep few waiting, and an
# interrupted run loses no more.
_BATCH, _BATCH_A_WORKER = 8, 4

DEMONSTRATED = ("expert", "diverse")  # behaviours that `Suite.demonstrate` stands for

_ENVS: dict[tuple[str, str, str], DrawnEnv] = {}
_EXPERTS: dict[tuple[str, str], Policy] = {}


class _Largest(gym.ActionWrapper):
    """Of discrete actions, takes the one whose number is largest in a vector (actions,)."""

    env: gym.Env[Any, Any]

    def action(self, action: np.ndarray) -> int:
        return int(np.argmax(action))


def by_vectors(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """The environment, taking actions as policies give them: vectors, whatever its space."""
    return _Largest(env) if isinstance(env.action_space, gym.spaces.Discrete) else env


@dataclass(frozen=True)
class Job:
    """One episode to play."""

    task: str
    behaviour: str
    seed: int
    folder: str
    suite: str = "dmc"
    drawing: Drawing = OWN_DRAWING


def play(job: Job) -> dict[str, Any]:
    """Play one episode in this process; save it unless it is rejected; return its index line."""
    suite, key = find_suite(job.suite), (job.suite, job.task, repr(job.drawing))
    if key not in _ENVS:  # one environment a process: GL contexts are costly
        _EXPERTS.clear()
        while _ENVS:
            _ENVS.popitem()[1].close()
        _ENVS[key] = job.drawing.make(suite, job.task)
    env, training = _ENVS[key], job.behaviour == "diverse"
    if suite.demonstrate is not None and job.behaviour in DEMONSTRATED:
        try:
            episode, note = suite.demonstrate(env, job.seed), "demonstration"
        except ViperGymError:
            raise
        except RuntimeError as error:  # the planner gave up: another seed may do
            return {"seed": job.seed, "return": None, "steps": 0, "kept": False, "note": str(error)}
    else:
        episode, note = _played(job, suite, env)
    episode.meta.update(task=job.task, behaviour=job.behaviour, note=note, **env.preprocessing)
    kept = not training or suite.is_good(job.task, episode)
    line = {
        "seed": job.seed,
        "return": None if episode.rewards is None else round(episode.task_return, 2),
        "steps": len(episode.frames) - 1,
        "kept": kept,
        "note": note,
    }
    if kept:
        episode.save(_file(Path(job.folder), job.seed))
    return line


def _played(job: Job, suite: Suite, env: DrawnEnv) -> tuple[Episode, str]:
    """An episode by a policy, and what was planned for it."""
    oracle = None
    if job.behaviour in BY_EXPERT:
        key = (job.suite, job.task)
        oracle = _EXPERTS.get(key) or _EXPERTS.setdefault(key, suite.expert(job.task, env))
    size = gym.spaces.flatdim(env.action_space)
    # all lengths are of the task's own action repeat
    longer = suite.tasks[job.task].action_repeat / env.action_repeat
    recipe = suite.recipe.scaled(longer)
    plan = plan_episode(job.behaviour, oracle, size, job.seed, recipe)
    training = job.behaviour == "diverse"
    if training and (most := suite.training_steps(job.task)):
        plan.length = min(plan.length, max(1, round(longer * most)))
    with env.nothing_in_view() if job.behaviour == EMPTY else nullcontext():
        episode = record_episode(
            by_vectors(env),
            plan.policy,
            seed=job.seed,
            length=plan.length,
            warmup=plan.warmup,
            warmup_steps=plan.warmup_steps,
            settle=_times(longer, suite.settle) if plan.expert_from is not None else None,
            settle_from=plan.expert_from or 0,
            rest=suite.rest,
            # what is learned from shows the coming to rest; what is scored, whole episodes
            rest_steps=round(longer * suite.rest_steps) if training else recipe.episode,
        )
    return episode, plan.note


def _times(factor: float, steps: int | None) -> int | None:
    return None if steps is None else round(factor * steps)


def collect(
    task: str,
    behaviour: str,
    episodes: int,
    out: Path,
    *,
    first_seed: int,
    workers: int | Workers = 2,
    suite: str = "dmc",
    on_episode: Callable[[dict[str, Any]], None] = lambda line: None,
    on_resume: Callable[[int], None] = lambda kept: None,
    drawing: Drawing = OWN_DRAWING,
) -> list[Path]:
    """Collect until `episodes` are kept; returns their files, in the order of seeds.

    Args:
        first_seed: seeds count up from here. What the folder has of other ranges of
            `SEED_RANGE` is neither counted nor returned: training's, calibration's and the
            audit's episodes stay apart even there.
        workers: processes, 0 plays in this one; or `Workers`, for several calls.
        on_episode: called with each new index line, for progress.
        on_resume: called once, with the number of episodes that are there already.
        drawing: how the task is seen, and its actions held.

    Raises:
        UnknownTask: no such suite or task, or a behaviour that the suite lacks.
        TrainingError: more than 90 % of 40 or more episodes were rejected, nothing can be
            written, workers die again and again, the folder has episodes of another drawing, or
            the environment cannot be made by this one.
    """
    check_playable(suite, task, behaviour)  # before a folder of that name is left for training
    folder = out / task / behaviour
    index = folder / "index.jsonl"
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write_mask(suite, task, out)
        done = {line["seed"]: line for line in read_index(index)}
        if index.exists():  # a torn last line would swallow the next one
            replace_text(index, "".join(json.dumps(line) + "\n" for line in done.values()))
    ours = range(first_seed, (first_seed // SEED_RANGE + 1) * SEED_RANGE)
    tried = sum(seed in ours for seed in done)
    kept = sum(line["kept"] for seed, line in done.items() if seed in ours)

    _check_drawing(folder, [s for s in done if s in ours and done[s]["kept"]], suite, task, drawing)

    def jobs() -> Iterator[Job]:
        for seed in ours:
            if seed not in done:
                yield Job(task, behaviour, seed, str(folder.resolve()), suite, drawing)
        raise TrainingError(
            f"{task}: seeds {first_seed} to {ours.stop - 1} are used up, and {kept} of {episodes} "
            "episodes were kept: begin with an earlier seed"
        )

    def take(line: dict[str, Any]) -> None:
        nonlocal kept, tried
        _check_shared(folder, line)
        done[line["seed"]] = line
        kept, tried = kept + line["kept"], tried + 1
        with index.open("a") as file:
            file.write(json.dumps(line) + "\n")
        on_episode(line)
        if tried >= 40 and kept < 0.1 * tried:
            raise TrainingError(
                f"{task}: only {kept} of {tried} '{behaviour}' episodes ended as an expert's "
                "do; is the oracle good enough?"
            )

    on_resume(min(kept, episodes))
    source = jobs()
    with _writing(folder), _workers(workers) as those:
        most = max(_BATCH, _BATCH_A_WORKER * those.size)
        while kept < episodes:
            batch = [next(source) for _ in range(min(episodes - kept, most))]
            for line in those.map(play, batch):
                take(line)
    kept_seeds = sorted(seed for seed, line in done.items() if line["kept"] and seed in ours)
    return [_file(folder, seed) for seed in kept_seeds[:episodes]]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Names what keeps a folder from being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise TrainingError(
            f"cannot write to {folder}: {error}. What is recorded is kept: make room, and run the "
            "same again"
        ) from error


def _file(folder: Path, seed: int) -> Path:
    return folder / f"episode_{seed:07d}.npz"


def check_playable(suite: str, task: str, behaviour: str) -> None:
    """Whether a suite can play it, before anything is.

    Raises:
        UnknownTask: no such suite or task, a behaviour that the suite lacks, or one that needs an
            expert where nobody plays the task.
    """
    found = find_suite(suite)
    if behaviour in found.lacks:
        raise UnknownTask(f"'{behaviour}' is nothing that suite '{suite}' can show")
    if task not in found.tasks:
        raise UnknownTask(f"unknown {suite} task {task!r}; expected one of {sorted(found.tasks)}")
    if behaviour in BY_EXPERT and not found.has_expert(task):
        raise no_expert(suite, task)


def _check_drawing(folder: Path, seeds: list[int], suite: str, task: str, drawing: Drawing) -> None:
    """A folder that is gone on with must not hold two ways of looking at a task."""
    if not seeds:
        return
    recorded = Episode.load(_file(folder, seeds[0])).meta
    different = drawing.differences(find_suite(suite), task, recorded)
    if different:
        raise TrainingError(
            f"{folder} has episodes that were recorded with {'; '.join(different)}: use another "
            "folder (--out)"
        )


def _workers(workers: int | Workers) -> AbstractContextManager[Workers]:
    if not isinstance(workers, int):
        return nullcontext(workers)
    return Processes(workers) if workers else nullcontext(InProcess())


def _check_shared(folder: Path, line: dict[str, Any]) -> None:
    if line["kept"] and not _file(folder, line["seed"]).exists():
        raise TrainingError(
            f"a worker recorded seed {line['seed']}, and {folder.resolve()} does not hold it: "
            "machines have to share that folder"
        )


def _write_mask(suite: str, task: str, out: Path) -> None:
    mask = find_suite(suite).mask(task)
    if mask is not None and not (out / task / MASK).exists():  # it may have been drawn on
        write_mask(mask, out / task / MASK)


class Result(NamedTuple):
    """How one episode of an expert ended."""

    task_return: float
    success: bool | None
    """at any step; None where the suite does not tell"""


def expert_results(
    task: str, episodes: int, first_seed: int = 900_000, suite: str = "dmc"
) -> list[Result]:
    """A suite's expert over seeds that neither training nor calibration uses."""
    family = find_suite(suite)
    made = family.make(task, observation="state")
    env, expert = by_vectors(made), family.expert(task, made)
    results = []
    for seed in range(first_seed, first_seed + episodes):
        env.reset(seed=seed)
        expert.reset(np.random.default_rng(seed))
        total, over, success = 0.0, False, list[bool]()
        while not over:
            _, reward, terminated, truncated, info = env.step(expert(made.state()))
            total, over = total + float(reward), terminated or truncated
            success += [bool(info["success"])] if "success" in info else []
        results.append(Result(total, any(success) if success else None))
    return results


def read_index(index: Path) -> list[dict[str, Any]]:
    """The lines of an index whose episode file (if kept) is there; a torn last line is dropped."""
    lines = []
    for text in index.read_text().splitlines() if index.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if not line["kept"] or _file(index.parent, line["seed"]).exists():
            lines.append(line)
    return lines

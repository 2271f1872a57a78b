"""Collect episodes of a behaviour over processes; interrupted runs go on where they were.

Layout: `OUT/<task>/<behaviour>/episode_<seed>.npz`, and `index.jsonl` beside them with a
line for each seed tried (also the rejected ones), written by the parent process only.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viper_gym.data.rollout import record_episode
from viper_gym.envs.behaviours import EMPTY, plan_episode
from viper_gym.envs.dmc import DMCEnv
from viper_gym.envs.oracle import Oracle
from viper_gym.envs.tasks import dmc_task
from viper_gym.errors import TrainingError

# Diverse expert episodes are kept when the end of the episode is at this share of the
# expert's mean reward a step: recoveries that arrive late stay, failures go.
KEEP_SHARE = 0.8
KEEP_TAIL = 0.4  # of the episode
_BATCH = 8  # episodes handed out at once; an interrupted run loses no more than these

_ENVS: dict[str, tuple[DMCEnv, Oracle]] = {}


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Processes that play episodes; spawned, because forking after rendering hangs."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


@dataclass(frozen=True)
class Job:
    """One episode to play."""

    task: str
    behaviour: str
    seed: int
    folder: str


def play(job: Job) -> dict[str, Any]:
    """Play one episode in this process; save it unless it is rejected; return its index line."""
    if job.task not in _ENVS:  # one environment a process: GL contexts are costly
        _ENVS[job.task] = (DMCEnv(job.task, observation="state"), Oracle(job.task))
    env, oracle = _ENVS[job.task]
    size = int(env.action_space.shape[0])
    plan = plan_episode(job.behaviour, oracle, size, job.seed)
    if job.behaviour == "diverse":
        plan.length = min(plan.length, dmc_task(job.task).episode_steps or plan.length)
    with env.nothing_in_view() if job.behaviour == EMPTY else nullcontext():
        episode = record_episode(
            env,
            plan.policy,
            seed=job.seed,
            length=plan.length,
            warmup=plan.warmup,
            warmup_steps=plan.warmup_steps,
        )
    assert episode.rewards is not None
    tail = episode.rewards[-int(len(episode.rewards) * KEEP_TAIL) :].mean()
    expert = dmc_task(job.task).oracle_return / 1000 * env.action_repeat  # a step
    kept = job.behaviour != "diverse" or bool(tail >= KEEP_SHARE * expert)
    line = {
        "seed": job.seed,
        "return": round(episode.task_return, 2),
        "steps": len(episode.rewards),
        "kept": kept,
        "note": plan.note,
    }
    if kept:
        episode.meta.update(
            task=job.task, behaviour=job.behaviour, note=plan.note, **env.preprocessing
        )
        episode.save(Path(job.folder) / f"episode_{job.seed:07d}.npz")
    return line


def collect(
    task: str,
    behaviour: str,
    episodes: int,
    out: Path,
    *,
    first_seed: int,
    workers: int | Executor = 2,
    on_episode: Callable[[dict[str, Any]], None] = lambda line: None,
) -> list[Path]:
    """Collect until `episodes` are kept; returns their files, in the order of seeds.

    Args:
        first_seed: seeds count up from here; use disjoint ranges for training and evaluation.
        workers: processes, 0 plays in this one; or those of `worker_pool`, for several calls.
        on_episode: called with each new index line, for progress.

    Raises:
        TrainingError: more than 90 % of 40 or more episodes were rejected.
    """
    folder = out / task / behaviour
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "index.jsonl"
    done = {line["seed"]: line for line in read_index(index)}
    if index.exists():  # a torn last line would swallow the next one
        index.write_text("".join(json.dumps(line) + "\n" for line in done.values()))
    kept = sum(line["kept"] for line in done.values())

    def jobs() -> Iterator[Job]:
        seed = first_seed
        while True:
            if seed not in done:
                yield Job(task, behaviour, seed, str(folder))
            seed += 1

    def take(line: dict[str, Any]) -> None:
        nonlocal kept
        done[line["seed"]] = line
        kept += line["kept"]
        with index.open("a") as file:
            file.write(json.dumps(line) + "\n")
        on_episode(line)
        if len(done) >= 40 and kept < 0.1 * len(done):
            raise TrainingError(
                f"{task}: only {kept} of {len(done)} '{behaviour}' episodes reached "
                f"{KEEP_SHARE:.0%} of the expert's reward; is the oracle good enough?"
            )

    source = jobs()
    if workers == 0:
        while kept < episodes:
            take(play(next(source)))
    elif kept < episodes:
        with (
            nullcontext(workers) if isinstance(workers, Executor) else worker_pool(workers) as pool
        ):
            while kept < episodes:
                batch = [next(source) for _ in range(min(episodes - kept, _BATCH))]
                for line in pool.map(play, batch):
                    take(line)
    kept_seeds = sorted(seed for seed, line in done.items() if line["kept"])
    return [folder / f"episode_{seed:07d}.npz" for seed in kept_seeds[:episodes]]


def oracle_returns(task: str, episodes: int, first_seed: int = 900_000) -> list[float]:
    """Task returns of the bundled oracle, deterministic, over seeds nothing else uses."""
    env, oracle = DMCEnv(task, observation="state"), Oracle(task)
    returns = []
    for seed in range(first_seed, first_seed + episodes):
        env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(oracle(env.state()))
            total, over = total + reward, terminated or truncated
        returns.append(total)
    return returns


def read_index(index: Path) -> list[dict[str, Any]]:
    """The lines of an index whose episode file (if kept) is there; a torn last line is dropped."""
    lines = []
    for text in index.read_text().splitlines() if index.exists() else []:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if not line["kept"] or (index.parent / f"episode_{line['seed']:07d}.npz").exists():
            lines.append(line)
    return lines

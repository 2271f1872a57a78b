"""`viper-gym bench`."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro
from rich import box
from rich.console import Console
from rich.table import Table

from viper_gym.agents.dreamer.config import DreamerConfig, Size
from viper_gym.agents.trainer import MakeEnvs
from viper_gym.cli.progress import progress
from viper_gym.errors import UnknownTask, VideoDataError, ViperGymError, require_positive


def _ids(tasks: tuple[str, ...]) -> list[str]:
    """Registered ids of these tasks, or of all that have a checkpoint."""
    from viper_gym.checkpoints.index import read_index

    found = {i: re.fullmatch(r"viper/[a-z]+-(.+)-v0", i) for i in gym.registry}
    by_task = {match[1]: i for i, match in found.items() if match}
    rewarded = {task for entry in read_index().values() for task in entry.tasks}
    unknown = sorted(set(tasks) - set(by_task))
    if unknown:
        raise UnknownTask(
            f"no registered environment shows {', '.join(unknown)}; see `viper-gym tasks`"
        )
    return [by_task[task] for task in tasks or by_task if tasks or task in rewarded]


def _kinds(
    env: str, checkpoint: str, drawn: dict[str, Any], device: str, dtype: str
) -> dict[str, MakeEnvs]:
    """What `measure_step` compares; `drawn` is how all are seen (`Drawing.options`)."""
    from viper_gym.cli.train_agent import make_envs

    kinds: dict[str, dict[str, Any]] = {
        "physics": {"checkpoint": None, "observation": "state", **drawn},
        "pixels": {"checkpoint": None, **drawn},
        "reward": {"checkpoint": checkpoint, "device": device, "dtype": dtype, **drawn},
    }
    return {kind: partial(make_envs, env, kwargs) for kind, kwargs in kinds.items()}


@dataclass(frozen=True)
class Bench:
    """Measure what rewards cost: every way to compute them, and beside an agent's other work.

    recompute encodes and scores the whole window at every step; exact keeps the codes;
    "refresh m" keeps keys and values and rebuilds a full window from its newest m frames.
    The paper's sizes are timed with untrained weights (time does not depend on them); the
    agreement with exact is measured on real episodes of the bundle. "state MiB" is what is held
    between steps (codes and keys; recompute's frames), "peak MiB" the most that was allocated on a
    GPU at once, weights included (on a CPU not measured).
    """

    what: Annotated[
        Literal["likelihood", "wrappers", "agents", "environments", "still", "mask"],
        tyro.conf.Positional,
    ] = "likelihood"
    """likelihood: the methods; wrappers: one vector wrapper against a wrapper an environment;
    agents: the parts of a step of both agents, on the first of `tasks`; environments: step and
    reset of every id with a checkpoint of its own (or of `tasks`), scored by that; still: what
    experts earn beside pictures of them that stopped before the task was solved, for each of
    `checkpoints`; mask: what random play in a game earns by the points it has lost, for
    `checkpoints` whose videos had the score hidden or not"""
    size: Literal["paper-dmc", "paper-atari", "bundle"] = "bundle"
    """what is timed: a network of the paper's size, or the checkpoint"""
    checkpoint: str = "dmc"
    checkpoints: tuple[str, ...] = ()
    """of still and mask: bundles to compare, such as one of stride 1 and one of stride 4"""
    suite: Literal["dmc", "metaworld", "robosuite"] | None = None
    """of still: where the experts are from; the suite that has the tasks if left out"""
    experts: int = 12
    """of still: episodes a task"""
    mode: Literal["conditional", "joint"] | None = None
    """of still: a frame given the window before it, or the whole window's frames together; the
    checkpoint's own context if left out"""
    batch: tuple[int, ...] = (1, 8, 32)
    """environments scored together; of agents, the first number is taken"""
    dtype: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")
    """what is compared; still and mask take the faster of two"""
    seconds: float = 3.0
    """a measurement, at least"""
    threads: int | None = None
    """CPU threads; PyTorch's own number if left out"""
    device: str = "auto"
    tasks: tuple[str, ...] = ()
    """tasks whose episodes the agreement is measured on; all of the bundle if left out"""
    out: Path = Path("runs/bench")
    """episodes are kept here"""
    dreamer_size: Size = "small"
    """of the agents: which of DreamerV3's sizes"""
    json: bool = False

    def run(self) -> None:
        import torch

        require_positive(seconds=self.seconds, threads=self.threads, experts=self.experts)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        if self.what in ("wrappers", "mask") and len(self.tasks) > 1:
            raise ViperGymError(f"--tasks: {self.what} takes one, got {', '.join(self.tasks)}")
        if self.what == "wrappers":
            self._wrappers()
        elif self.what == "agents":
            self._agents()
        elif self.what == "environments":
            self._environments()
        elif self.what == "still":
            self._still()
        elif self.what == "mask":
            self._mask()
        else:
            self._likelihood()

    @property
    def _dtype(self) -> Literal["auto", "fp32", "bf16"]:
        """Where one is used: the one that was asked for."""
        return self.dtype[0] if len(self.dtype) == 1 else "auto"

    def _suites(self, known: tuple[str, ...]) -> dict[str, str]:
        """Tasks to record episodes of, and their suites: those asked for, or the bundle's."""
        from viper_gym.envs.suite import suite_of

        found = {task: suite_of([task]) for task in self.tasks or known}
        if unknown := [task for task, suite in found.items() if suite is None]:
            raise UnknownTask(
                f"episodes are recorded from the suites, none of which has {', '.join(unknown)}: "
                "name --tasks of a suite, or --size paper-dmc"
            )
        return {task: suite for task, suite in found.items() if suite is not None}

    def _wrappers(self) -> None:
        from viper_gym.benchmark.batching import measure_batching
        from viper_gym.benchmark.suite_episodes import AUDIT_SEED, episodes_as_trained
        from viper_gym.likelihood.reward_model import VideoRewardModel

        rows = []
        sizes = [n for n in self.batch if n > 1]
        if not sizes:
            got = " ".join(map(str, self.batch))
            raise ViperGymError(f"--batch: expected a number above 1 to compare, got {got}")
        with progress("time", len(self.dtype) * len(sizes)) as tick:
            for dtype in self.dtype:
                model = VideoRewardModel.from_pretrained(
                    self.checkpoint, task=self.tasks, device=self.device, dtype=dtype
                )
                task, suite = next(iter(self._suites(model.tasks).items()))
                found = episodes_as_trained(
                    model.config, task, {"random": 1}, self.out, AUDIT_SEED, workers=0, suite=suite
                )
                frames = found["random"][0].frames
                for envs in sizes:
                    rows.append(measure_batching(model, task, frames, envs, self.seconds))
                    tick()
        if self.json:
            print(json.dumps([{**asdict(r), "ratio": r.ratio} for r in rows], indent=2))
            return
        table = Table("environments", "dtype", "single wrappers ms", "one vector ms", "ratio")
        for r in rows:
            single, vector = r.single_ms - r.bare_ms, r.vector_ms - r.bare_ms
            table.add_row(
                str(r.envs), r.dtype, f"{single:.1f}", f"{vector:.1f}", f"{r.ratio:.2f}"
            )  # fmt: skip
        Console().print(table)
        print("for one step of all environments, the environments' own time taken off")

    def _agents(self) -> None:
        from viper_gym.agents.timing import measure_step
        from viper_gym.checkpoints.bundle import read_config
        from viper_gym.checkpoints.resolve import resolve
        from viper_gym.cli.train_agent import AgentTraining, make_agent
        from viper_gym.envs.drawing import recorded_drawing
        from viper_gym.envs.suite import find_suite
        from viper_gym.likelihood.precision import resolve_device

        config = read_config(resolve(self.checkpoint, task=self.tasks))
        task = (self.tasks or config.tasks)[0]
        env = _ids((task,))[0]
        suite = find_suite(gym.registry[env].kwargs["suite"])
        drawn = recorded_drawing(suite, task, config.preprocessing.get(task, {})).options(suite)
        rows: list[dict[str, Any]] = []
        device = str(resolve_device(self.device))
        agents: tuple[Literal["drq", "dreamer"], ...] = ("drq", "dreamer")
        with progress("time", 3 * len(agents) * len(self.dtype)) as tick:
            for agent in agents:
                settings = AgentTraining(agent=agent, env=env)
                if agent == "dreamer":
                    settings = replace(settings, dreamer=DreamerConfig(size=self.dreamer_size))
                for dtype in self.dtype:
                    envs = _kinds(env, self.checkpoint, drawn, self.device, dtype)
                    make = partial(make_agent, settings, device=device, precision=dtype)
                    cost = measure_step(envs, make, self.batch[0], self.seconds, tick)
                    name = f"dreamer ({self.dreamer_size})" if agent == "dreamer" else agent
                    found = {**asdict(cost), "total": cost.total, "reward_share": cost.reward_share}
                    rows.append({"agent": name, "dtype": dtype, "envs": self.batch[0], **found})
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        table = Table("milliseconds a step", *(f"{r['agent']}, {r['dtype']}" for r in rows))
        for part in ("physics", "rendering", "reward", "acting", "learning"):
            table.add_row(part, *(f"{r[part]:.1f}" for r in rows))
        table.add_row("one update", *(f"{r['update']:.0f}" for r in rows))
        table.add_row("updates a step", *(f"{r['updates_per_step']:g}" for r in rows))
        table.add_row("steps/s", *(f"{1000 / r['total']:.1f}" for r in rows))
        table.add_row("reward's share", *(f"{r['reward_share']:.0%}" for r in rows))
        Console().print(table)
        print(f"one step of one of {self.batch[0]} environments, {env}")

    def _environments(self) -> None:
        from viper_gym.benchmark.environments import measure_environment

        rows, ids = [], _ids(self.tasks)
        with progress("time", len(ids) * len(self.dtype)) as tick:
            for env in ids:
                for dtype in self.dtype:
                    cost = measure_environment(env, self.seconds, self.device, dtype)
                    rows.append({**asdict(cost), "step": cost.step, "dtype": dtype})
                    tick()
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        parts = ("physics", "rendering", "reward", "step", "reset")
        table = Table("id", "dtype", *parts)
        for row in rows:
            table.add_row(row["env"], row["dtype"], *(f"{row[part]:.1f}" for part in parts))
        Console().print(table)
        print("milliseconds; step is the sum of the three before it")

    def _still(self) -> None:
        from viper_gym.benchmark.figures import stand_still_figure
        from viper_gym.benchmark.names import distinct_names
        from viper_gym.benchmark.stand_still import StandStill, stand_still
        from viper_gym.benchmark.suite_episodes import AUDIT_SEED, episodes_as_trained
        from viper_gym.likelihood.reward_model import VideoRewardModel
        from viper_gym.models.context import ContextPolicy

        count = {"expert": self.experts}
        policy = ContextPolicy("exact", mode=self.mode) if self.mode else None
        found: dict[str, list[StandStill]] = {}
        for checkpoint in self.checkpoints or (self.checkpoint,):
            model = VideoRewardModel.from_pretrained(
                checkpoint, task=self.tasks, device=self.device, policy=policy, dtype=self._dtype
            )
            tasks = self.tasks or model.tasks
            suites = dict.fromkeys(tasks, self.suite) if self.suite else self._suites(tasks)
            with progress(f"score {checkpoint}", len(tasks)) as tick:
                for task in tasks:
                    folder = self.out / "episodes"
                    experts = episodes_as_trained(
                        model.config, task, count, folder, AUDIT_SEED, suite=suites[task]
                    )["expert"]
                    row = stand_still(model, task, experts)
                    found.setdefault(checkpoint, []).extend([row] if row else [])
                    tick()
        if not any(found.values()):
            raise VideoDataError(f"no clip in which an expert moves: {', '.join(tasks)}")
        if self.json:
            rows = [{"checkpoint": n, **asdict(r)} for n, items in found.items() for r in items]
            print(json.dumps(rows, indent=2))
            return
        columns = ("task", "stride", "clips", "nats", "in clips", "to the end", "from start")
        for name, items in zip(distinct_names(list(found)), found.values(), strict=True):
            table = Table(*columns, title=name)
            for r in items:
                table.add_row(
                    r.task, str(r.stride), str(r.clips), f"{r.expert:.1f}, {r.frozen:.1f}",
                    f"{r.wins:.2f}", f"{r.wins_to_end:.2f}", f"{r.wins_from_start:.2f}",
                )  # fmt: skip
            Console().print(table)
        stand_still_figure({n: r for n, r in found.items() if r}, self.out / "still.png")
        print("nats a frame: the expert's, and those of the stopped picture, once nothing else is")
        print(
            "in the window. How often the expert is likelier: in clips: there; to the end: stopped"
        )
        print("until the episode ends, over the rest of it; from start: never having moved at all")
        print(f"step by step: {self.out / 'still.png'}")

    def _mask(self) -> None:
        from viper_gym.benchmark.figures import points_lost_figure
        from viper_gym.benchmark.score_mask import MANY, PointsLost, points_lost
        from viper_gym.benchmark.suite_episodes import AUDIT_SEED, FULL_AUDIT, episodes_as_trained
        from viper_gym.likelihood.reward_model import VideoRewardModel

        task = next(iter(self.tasks), "pong")
        count = {"random": FULL_AUDIT["random"]}
        folder = self.out / "episodes"
        found: dict[str, PointsLost] = {}
        alone = "atari" if self.checkpoint == Bench.checkpoint else self.checkpoint
        with progress("score", len(self.checkpoints) or 1) as tick:
            for checkpoint in self.checkpoints or (alone,):
                model = VideoRewardModel.from_pretrained(
                    checkpoint, task=task, device=self.device, dtype=self._dtype
                )
                episodes = episodes_as_trained(
                    model.config, task, count, folder, AUDIT_SEED, suite="atari"
                )
                found[checkpoint] = points_lost(model, task, episodes["random"])
                tick()
        if self.json:
            rows = [{"checkpoint": n, **asdict(r), "change": r.change} for n, r in found.items()]
            print(json.dumps(rows, indent=2))
            return
        table = Table("checkpoint", "no point lost", f"{MANY} and more", "change")
        for name, row in found.items():
            table.add_row(name, f"{row.none:.1f}", f"{row.many:.1f}", f"{row.change:+.1f}")
        Console().print(table)
        points_lost_figure(found, self.out / "mask.png")
        print(f"nats a frame, random play of {task}; picture: {self.out / 'mask.png'}")

    def _likelihood(self) -> None:
        from viper_gym.benchmark.suite_episodes import AUDIT_SEED, episodes_as_trained
        from viper_gym.benchmark.throughput import (
            agreement,
            measure,
            policies,
            ratios,
            untrained_bundle,
        )
        from viper_gym.checkpoints.bundle import load_bundle
        from viper_gym.checkpoints.resolve import resolve

        real = self.size == "bundle"
        bundle = (
            load_bundle(resolve(self.checkpoint, task=self.tasks))
            if real
            else untrained_bundle(self.size)
        )
        chosen = self._suites(bundle.config.tasks) if real else {}
        methods = 1 + len(policies(bundle.config.video_model.sequence_length))
        with progress("time", len(self.batch) * len(self.dtype) * methods) as tick:
            timed = measure(
                bundle, self.batch, self.dtype, self.device, self.seconds, lambda row: tick()
            )
            rows = ratios(timed)
        agreements = {}
        if chosen:
            with progress("agreement", len(chosen)) as tick:
                for task, suite in chosen.items():
                    counts = {"expert": 3, "graded": 3}
                    found = episodes_as_trained(
                        bundle.config, task, counts, self.out, AUDIT_SEED, workers=0, suite=suite
                    )
                    experts, others = found["expert"][1:], found["expert"][:1] + found["graded"]
                    agreements[task] = agreement(bundle, task, experts, others, self.device)
                    tick()
        if self.json:
            by_task = {t: [asdict(a) for a in items] for t, items in agreements.items()}
            print(json.dumps({"rows": rows, "agreement": by_task}, indent=2))
            return
        table = Table(
            "method", "dtype", "batch", "rewards\n/s", "ms", "x\nrecompute", "x\nexact",
            "state\nMiB", "peak\nMiB", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        )  # fmt: skip
        for row in rows:
            table.add_row(
                row["method"], row["dtype"], str(row["batch"]),
                f"{row['rewards_per_second']:.1f}", f"{row['milliseconds']:.2f}",
                f"{row['times_recompute']:.1f}", f"{row['times_exact']:.1f}",
                f"{row['state_mebibytes']:.1f}",
                "–" if row["peak_mebibytes"] is None else f"{row['peak_mebibytes']:.1f}",
            )  # fmt: skip
        Console().print(table)
        if agreements:
            table = Table(
                "task", "method", "mean |difference|", "saw-tooth", "corrected", "lowest rank corr."
            )
            for task, items in agreements.items():
                for a in items:
                    table.add_row(
                        task, a.method, f"{a.difference:.4f}", f"{a.saw_tooth:.4f}",
                        f"{a.corrected:.4f}", f"{a.rank_correlation:.3f}",
                    )  # fmt: skip
            Console().print(table)
            print("differences from 'exact' in nats a token; correlations within an episode")

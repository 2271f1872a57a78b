"""`viper-gym collect`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from viper_gym.cli.progress import console, progress
from viper_gym.errors import TrainingError, require_positive

if TYPE_CHECKING:
    from viper_gym.envs.suite import Suite


@dataclass(frozen=True)
class Collect:
    """Record episodes of a suite from its oracles or scripts (lossless, resumable)."""

    tasks: tuple[str, ...] = ()
    """all tasks of the suite if left out"""
    suite: Literal["dmc", "metaworld", "robosuite", "atari", "rlbench"] = "dmc"
    behaviour: Literal[
        "diverse", "expert", "graded", "zero", "small", "constant", "random", "stop", "empty"
    ] = "diverse"
    """diverse is training data, graded a ladder from failure to success, empty nothing in view"""
    episodes: int | None = None
    """a task; for 'diverse', episodes that reach the return threshold. If left out, the
    suite's own number"""
    out: Path = Path("data")
    seed: int = 100_000
    """first seed; training uses 100000…, calibration 200000…, the audit 300000…"""
    workers: int = 2
    """processes; 0 plays in this one"""
    launcher: Literal["processes", "ray"] = "processes"
    """ray plays on all CPUs of a Ray cluster (extra "ray"), whose machines share `out`"""

    def __post_init__(self) -> None:
        require_positive(episodes=self.episodes)
        if self.workers < 0:
            raise TrainingError(
                f"workers: expected processes, or 0 to play in this, got {self.workers}"
            )

    def run(self) -> None:
        from viper_gym.envs.collect import collect
        from viper_gym.envs.suite import find_suite
        from viper_gym.envs.workers import RayCluster

        workers = RayCluster() if self.launcher == "ray" else self.workers
        suite = find_suite(self.suite)
        # training reads one folder a task, audits one a behaviour below it
        for task in self.tasks or self._all_of(suite):
            episodes = self.episodes
            if episodes is None:
                episodes = suite.training_episodes(task)
            with progress(f"{task} {self.behaviour}", episodes) as tick:
                paths = collect(
                    task,
                    self.behaviour,
                    episodes,
                    self.out,
                    first_seed=self.seed,
                    workers=workers,
                    suite=self.suite,
                    on_episode=partial(_tick_if_kept, tick),
                    on_resume=tick.start_at,
                )
            print(f"{task}: {len(paths)} episodes in {paths[0].parent}")

    def _all_of(self, suite: Suite) -> tuple[str, ...]:
        from viper_gym.envs.behaviours import BY_EXPERT

        known = tuple(suite.tasks)
        if self.behaviour not in BY_EXPERT:
            return known
        without = [task for task in known if not suite.has_expert(task)]
        if without:
            console.print(f"no expert: {', '.join(without)}, left out")
        return tuple(task for task in known if task not in without)


def _tick_if_kept(tick: Callable[[], None], line: dict[str, Any]) -> None:
    if line["kept"]:
        tick()

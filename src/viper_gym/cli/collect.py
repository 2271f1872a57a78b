"""`viper-gym collect`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from viper_gym.cli.progress import console, progress
from viper_gym.cli.values import decode_values
from viper_gym.errors import TrainingError, require_positive

if TYPE_CHECKING:
    from viper_gym.envs.drawing import Drawing
    from viper_gym.envs.suite import Suite


@dataclass(frozen=True)
class Collect:
    """Record episodes of a suite from its oracles or scripts (lossless, resumable)."""

    tasks: tuple[str, ...] = ()
    """all tasks of the suite if left out"""
    suite: Literal["dmc", "metaworld", "robosuite", "atari", "rlbench"] = "dmc"
    behaviour: Literal[
        "diverse", "expert", "graded", "zero", "small", "constant", "random", "held", "stop",
        "rest", "empty",
    ] = "diverse"  # fmt: skip
    """diverse is training data, graded a ladder from failure to success, held are random actions of
    a 25th to a quarter of an episode, stop an expert who stops, rest what is seen behind that,
    empty nothing in view. Of zero, small, constant, random, held and rest `train video-model
    --play` learns what no expert does"""
    episodes: int | None = None
    """a task; for 'diverse', episodes that reach the return threshold. If left out, the
    suite's own number"""
    view: dict[str, str] = field(default_factory=dict)
    """what of a task's own view to draw otherwise (camera, fovy, image_size, render_quality, …),
    names and values: camera 1 fovy null. `train` records it, `evaluate` draws alike, and
    gym.make(ID, checkpoint="FOLDER", view={…}, action_repeat=…) has to"""
    action_repeat: int | None = None
    """control steps a frame; the task's own if left out"""
    env_kwargs: dict[str, str] = field(default_factory=dict)
    """what else the suite's environment takes (rlbench: robot sawyer)"""
    out: Path = Path("data")
    seed: int = 100_000
    """first seed; training uses 100000…, calibration 200000…, the audit 300000…"""
    workers: int = 2
    """processes; 0 plays in this one"""
    launcher: Literal["processes", "ray"] = "processes"
    """ray plays on all CPUs of a Ray cluster (extra "ray"), whose machines share `out`"""

    def __post_init__(self) -> None:
        require_positive(episodes=self.episodes, action_repeat=self.action_repeat)
        if self.workers < 0:
            raise TrainingError(
                f"workers: expected processes, or 0 to play in this, got {self.workers}"
            )

    def run(self) -> None:
        from viper_gym.envs.collect import check_playable, collect
        from viper_gym.envs.suite import find_suite
        from viper_gym.envs.workers import RayCluster

        workers = RayCluster() if self.launcher == "ray" else self.workers
        suite = find_suite(self.suite)
        # training reads one folder a task, audits one a behaviour below it
        tasks = self.tasks or self._all_of(suite)
        for task in tasks:  # of all, before hours go by with the first of them
            check_playable(self.suite, task, self.behaviour)
        for task in tasks:
            episodes = self.episodes
            if episodes is None:
                episodes = suite.training_episodes(task)
            drawing = self._drawing(suite, task)
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
                    drawing=drawing,
                )
            print(f"{task}: {len(paths)} episodes in {paths[0].parent}")

    def _drawing(self, suite: Suite, task: str) -> Drawing:
        from viper_gym.envs.drawing import Drawing, chosen_view

        try:
            view = chosen_view(suite, task, decode_values(self.view)) if self.view else None
        except (TypeError, ValueError) as error:
            raise TrainingError(f"--view: {error}") from error
        return Drawing(view, self.action_repeat, tuple(decode_values(self.env_kwargs).items()))

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

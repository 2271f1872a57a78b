"""`viper-gym tasks`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viper_gym.checkpoints.index import CheckpointEntry
    from viper_gym.envs.suite import Suite

SHOWN = {"auroc_random": "auroc", "spearman": "spearman", "beats_cheap": "beats_cheap"}


@dataclass(frozen=True)
class Tasks:
    """List every task of every suite: its expert, its checkpoint, how well that ranks.

    The figures of a checkpoint are those of its audit: how often an expert's episode is paid more
    than random play's (AUROC), rank correlation with the task return, and share of the pairs that
    the expert wins against the worst cheap behaviour.

    Tasks without a checkpoint have no id yet: `collect` records their experts, and your own bundle
    makes the reward.
    """

    tasks: tuple[str, ...] = ()
    """only these; all if left out"""
    suite: str | None = None
    """only this one: dmc, metaworld, robosuite, atari or rlbench"""
    measure: int = 0
    """play the experts this many episodes and print how they do (if neither suite nor tasks are
    chosen, of the tasks with a checkpoint)"""
    json: bool = False

    def run(self) -> None:
        from viper_gym.checkpoints.index import entry_of
        from viper_gym.envs.suite import SUITES, find_suite
        from viper_gym.errors import UnknownTask, ViperGymError

        names = [find_suite(self.suite).name] if self.suite else list(SUITES)
        known = [task for name in names for task in SUITES[name].tasks]
        if unknown := set(self.tasks) - set(known):
            raise UnknownTask(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        if self.measure < 0:
            raise ViperGymError(f"--measure: expected a number of episodes, got {self.measure}")
        if self.measure:
            self._measure(names)
            return
        rows = []
        for name in names:
            for task in self._chosen(SUITES[name]):
                entry = entry_of(name, task)
                row: dict[str, Any] = {"id": f"{name} {task}", "checkpoint": "none yet"}
                if entry is not None:
                    where = entry.repo_id or f"bundled {entry.bundled}"
                    row = {"id": f"viper/{name}-{task}-v0", "checkpoint": where}
                rows.append({**row, **SUITES[name].facts(task), **_separation(entry, task)})
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        for row in rows:
            facts = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in list(row.items())[2:])
            print(f"{row['id']:40s} {row['checkpoint']:25s} {facts}".rstrip())

    def _chosen(self, suite: Suite) -> list[str]:
        return [task for task in suite.tasks if task in (self.tasks or suite.tasks)]

    def _measure(self, names: list[str]) -> None:
        import numpy as np

        from viper_gym.checkpoints.index import entry_of
        from viper_gym.envs.collect import expert_results
        from viper_gym.envs.suite import SUITES

        measured = []
        for name in names:
            for task in self._chosen(SUITES[name]):
                if not (self.suite or self.tasks or entry_of(name, task)):
                    continue
                results = expert_results(task, self.measure, suite=name)
                returns = np.array([r.task_return for r in results])
                success = [r.success for r in results if r.success is not None]
                row = {"id": f"{name} {task}", "mean": returns.mean(), "sd": returns.std()}
                row |= {"lowest": returns.min(), "success": np.mean(success) if success else None}
                measured.append({**row, "episodes": len(returns)})
                if self.json:
                    continue
                solved = f", success {row['success']:.0%}" if success else ""
                print(
                    f"{name} {task:20s} {row['mean']:.0f} ± {row['sd']:.0f}, lowest "
                    f"{row['lowest']:.0f}{solved} ({len(returns)} episodes)",
                    flush=True,
                )
        if self.json:
            print(json.dumps(measured, indent=2))


def _separation(entry: CheckpointEntry | None, task: str) -> dict[str, float]:
    """What the audit of a bundled checkpoint found; empty where there is none."""
    if entry is None or entry.bundled is None or entry.repo_id is not None:
        return {}
    from viper_gym.checkpoints.bundle import read_config
    from viper_gym.checkpoints.resolve import bundled_folder

    audit = read_config(bundled_folder(entry.alias)).evaluation.get("tasks", {}).get(task, {})
    known = {shown: audit.get(key) for key, shown in SHOWN.items()}
    return {shown: round(figure, 2) for shown, figure in known.items() if figure is not None}

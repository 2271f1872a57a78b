"""`viper-gym tasks`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Tasks:
    """List every task of every suite, its expert and its checkpoint.

    Tasks without a checkpoint have no id yet: `collect` records their experts, and your own bundle
    makes the reward.
    """

    suite: str | None = None
    """only this one: dmc, metaworld, robosuite, atari or rlbench"""
    measure: int = 0
    """play the experts this many episodes and print how they do (of all suites, those with a
    checkpoint)"""
    json: bool = False

    def run(self) -> None:
        from viper_gym.checkpoints.index import entry_of, read_index
        from viper_gym.envs.suite import SUITES, find_suite

        names = [find_suite(self.suite).name] if self.suite else list(SUITES)
        if self.measure:
            served = {entry.suite for entry in read_index().values()}
            self._measure(names if self.suite else [name for name in names if name in served])
            return
        rows = []
        for name in names:
            for task in SUITES[name].tasks:
                entry = entry_of(name, task)
                row: dict[str, Any] = {"id": f"{name} {task}", "checkpoint": "none yet"}
                if entry is not None:
                    where = entry.repo_id or f"bundled {entry.bundled}"
                    row = {"id": f"viper/{name}-{task}-v0", "checkpoint": where}
                rows.append({**row, **SUITES[name].facts(task)})
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        for row in rows:
            facts = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in list(row.items())[2:])
            print(f"{row['id']:40s} {row['checkpoint']:25s} {facts}".rstrip())

    def _measure(self, names: list[str]) -> None:
        import numpy as np

        from viper_gym.envs.collect import expert_results
        from viper_gym.envs.suite import SUITES

        for name in names:
            for task in SUITES[name].tasks:
                results = expert_results(task, self.measure, suite=name)
                returns = np.array([r.task_return for r in results])
                success = [r.success for r in results if r.success is not None]
                solved = f", success {np.mean(success):.0%}" if success else ""
                print(
                    f"{name} {task:20s} {returns.mean():.0f} ± {returns.std():.0f}, lowest "
                    f"{returns.min():.0f}{solved} ({len(returns)} episodes)",
                    flush=True,
                )

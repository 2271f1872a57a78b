"""`viper-gym tasks`."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Tasks:
    """List every registered task, its oracle and its checkpoint."""

    measure: int = 0
    """play the oracles this many episodes and print their returns"""
    json: bool = False

    def run(self) -> None:
        from viper_gym.checkpoints.index import read_index
        from viper_gym.envs.suite import find_suite

        if self.measure:
            self._measure()
            return
        rows = [
            {
                "id": f"viper/{suite}-{task}-v0",
                "checkpoint": entry.repo_id or f"bundled {entry.bundled}",
                **find_suite(suite).facts(task),
            }
            for suite, entry in read_index().items()
            for task in entry.tasks
        ]
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        for row in rows:
            facts = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in list(row.items())[2:])
            print(f"{row['id']:40s} {row['checkpoint']:25s} {facts}")

    def _measure(self) -> None:
        import numpy as np

        from viper_gym.checkpoints.index import read_index
        from viper_gym.envs.collect import expert_results

        for suite, entry in read_index().items():
            for task in entry.tasks:
                results = expert_results(task, self.measure, suite=suite)
                returns = np.array([r.task_return for r in results])
                success = [r.success for r in results if r.success is not None]
                solved = f", success {np.mean(success):.0%}" if success else ""
                print(
                    f"{suite} {task:20s} {returns.mean():.0f} ± {returns.std():.0f}, lowest "
                    f"{returns.min():.0f}{solved} ({len(returns)} episodes)"
                )

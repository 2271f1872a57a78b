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
        from viper_gym.envs.tasks import DMC_TASKS

        rows = [
            {
                "id": f"viper/{suite}-{task}-v0",
                "checkpoint": entry.repo_id or f"bundled {entry.bundled}",
                "oracle_return": DMC_TASKS[task].oracle_return,
                "paper_expert_return": DMC_TASKS[task].expert_return,
            }
            for suite, entry in read_index().items()
            for task in entry.tasks
        ]
        if self.measure:
            self._measure()
            return
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        for row in rows:
            print(
                f"{row['id']:40s} {row['checkpoint']:20s} oracle {row['oracle_return']:.0f} "
                f"(paper's expert {row['paper_expert_return']:.0f})"
            )

    def _measure(self) -> None:
        import numpy as np

        from viper_gym.envs.collect import oracle_returns
        from viper_gym.envs.tasks import DMC_TASKS

        for task, spec in DMC_TASKS.items():
            returns = np.array(oracle_returns(task, self.measure))
            print(
                f"{task:20s} {returns.mean():.0f} ± {returns.std():.0f}, lowest "
                f"{returns.min():.0f} ({len(returns)} episodes; the paper's expert "
                f"{spec.expert_return:.0f})"
            )

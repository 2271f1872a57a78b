"""`viper-gym tasks`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from viper_gym.checkpoints.index import CheckpointEntry
    from viper_gym.envs.suite import Suite

SHOWN = {"auroc_random": "auroc", "spearman": "spearman", "beats_cheap": "beats_cheap"}
HEADERS = {
    "alias": "model", "oracle_return": "expert", "paper_expert_return": "paper's",
    "script_success": "script", "expert_score": "expert", "random_score": "random",
    "human_score": "human",
    "auroc": "AUROC", "spearman": "rank", "beats_cheap": "cheap", "verdict": "verdict",
}  # fmt: skip


@dataclass(frozen=True)
class Tasks:
    """List every task of every suite: its expert, its checkpoint, how well that ranks.

    The figures of a checkpoint are those of its audit: how often an expert's episode is paid more
    than random play's (AUROC), rank correlation with the task return, share of the pairs that the
    expert wins against the worst cheap behaviour, and the worst word of its verdict (model card).

    Tasks without a checkpoint have ids, too, for one of your own: `collect` records their experts,
    `train` makes the bundle, `gym.make(ID, checkpoint="FOLDER")` the reward.
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
        rows: dict[str, list[dict[str, Any]]] = {}
        for name in names:
            for task in self._chosen(SUITES[name]):
                entry = entry_of(name, task)
                row: dict[str, Any] = {"id": f"viper/{name}-{task}-v0", "checkpoint": "none yet"}
                if entry is not None:
                    row["checkpoint"] = entry.repo_id or f"bundled {entry.bundled}"
                    row["alias"] = entry.alias
                row |= {**SUITES[name].facts(task), **_separation(entry, task)}
                rows.setdefault(name, []).append(row)
        if self.json:
            print(json.dumps([row for some in rows.values() for row in some], indent=2))
            return
        view = Console()
        with view.capture() as text:
            for name, some in rows.items():
                view.print(_table(name, some))
        print(text.get(), end="")  # rich would end the process if the reader has gone

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
                if not (self.tasks or SUITES[name].has_expert(task)):
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


def _table(suite: str, rows: list[dict[str, Any]]) -> Table:
    """Of one suite; a column for whatever is known of some task."""
    title = f"viper/{suite}-TASK-v0"
    if not any("alias" in row for row in rows):
        title += " (no checkpoint yet)"
    view = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    view.min_width = len(title)  # or it is broken where columns are few
    names = [k for k in HEADERS if any(k in row for row in rows)]
    view.add_column("task")
    for name in names:
        justify: Literal["left", "right"] = "left" if name in ("alias", "verdict") else "right"
        view.add_column(HEADERS[name], justify=justify)
    for row in rows:
        task = row["id"].removeprefix(f"viper/{suite}-")
        told = [row.get(name, "") for name in names]
        told = [v if isinstance(v, str) else f"{v:g}" for v in told]
        view.add_row(task.removesuffix("-v0"), *told)
    return view


def _separation(entry: CheckpointEntry | None, task: str) -> dict[str, Any]:
    """What the audit of a bundled checkpoint found; empty where there is none."""
    if entry is None or entry.bundled is None or entry.repo_id is not None:
        return {}
    from viper_gym.checkpoints.bundle import read_config
    from viper_gym.checkpoints.resolve import bundled_folder

    audit = read_config(bundled_folder(entry.alias)).evaluation.get("tasks", {}).get(task, {})
    known = {shown: audit.get(key) for key, shown in SHOWN.items()}
    found: dict[str, Any] = {k: round(v, 2) for k, v in known.items() if v is not None}
    told = " ".join(audit.get("verdict", []))
    words = [word for word in ("UNSAFE", "WEAK", "OK") if f"{word}:" in told]
    return found | ({"verdict": words[0]} if words else {})

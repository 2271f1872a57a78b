"""`viper-gym demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from viper_gym.cli.evaluate import audit_checkpoint


@dataclass(frozen=True)
class Demo:
    """Judge the bundled video model on held-out episodes: pictures, rollouts, audit table."""

    out: Path = Path("viper_demo")
    tasks: tuple[str, ...] = ()
    """all tasks of the bundle if left out"""
    workers: int = 2
    device: str = "auto"

    def run(self) -> None:
        from viper_gym.benchmark.suite_episodes import AUDIT_SEED, QUICK_AUDIT

        audit_checkpoint(
            "dmc", self.tasks, QUICK_AUDIT, AUDIT_SEED + 50_000, self.out, self.workers, self.device
        )
        print(f"pictures and audit.json are in {self.out.resolve()}")

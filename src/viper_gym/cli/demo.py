"""`viper-gym demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viper_gym.cli.evaluate import audit_checkpoint, print_audits


@dataclass(frozen=True)
class Demo:
    """Judge the bundled video models on held-out episodes: pictures, rollouts, audit table."""

    out: Path = Path("viper_demo")
    tasks: tuple[str, ...] = ("cartpole_swingup", "cheetah_run", "cup_catch", "reacher_easy")
    """of the DeepMind Control Suite, each by the checkpoint that its id has"""
    workers: int = 2
    device: str = "auto"

    def run(self) -> None:
        from viper_gym.benchmark.suite_episodes import AUDIT_SEED, QUICK_AUDIT
        from viper_gym.errors import UnknownTask

        if not self.tasks:
            raise UnknownTask("--tasks: expected one task or more")
        audits: dict[str, Any] = {}
        for task in self.tasks:
            audits |= audit_checkpoint(
                "dmc",
                (task,),
                QUICK_AUDIT,
                AUDIT_SEED + 50_000,
                self.out,
                self.workers,
                self.device,
                kept="episodes_demo",
                earlier=audits,
            )
        print_audits(audits)
        print(f"pictures and audit.json are in {self.out.resolve()}")

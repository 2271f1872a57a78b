"""`viper-gym doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from viper_gym.cli.progress import progress

Name = Literal["versions", "rendering", "hub", "compute", "reward", "rlbench"]
_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


@dataclass(frozen=True)
class Doctor:
    """Check this installation and say what to do; exit status 1 if there is a problem.

    Versions and pairs of them known to be bad; drawing a scene without a screen; the Hub's cache
    and reach (being offline is only noted); the device and precision that will be chosen; and
    whether a bundled checkpoint pays an expert but not standing still. Only when asked for:
    "rlbench", whether that simulator could start.
    """

    checks: tuple[Name, ...] = ("versions", "rendering", "hub", "compute", "reward")
    """only these"""
    timeout: float = 120.0
    """seconds a check that draws or computes may take"""
    json: bool = False

    def run(self) -> None:
        from viper_gym.diagnosis import compute, hub, rendering, reward, rlbench, versions
        from viper_gym.diagnosis.findings import Finding, guarded

        known: dict[Name, Callable[[], list[Finding]]] = {
            "versions": versions.check,
            "rendering": lambda: rendering.check(self.timeout),
            "hub": lambda: hub.check(self.timeout),
            "compute": lambda: compute.check(self.timeout),
            "reward": lambda: reward.check(self.timeout),
            "rlbench": lambda: rlbench.check(self.timeout),
        }
        findings: list[Finding] = []
        with progress("doctor", len(self.checks)) as tick:
            for name in self.checks:
                findings += guarded(name, known[name])
                tick()
        healthy = all(finding.status != "problem" for finding in findings)
        if self.json:
            report = {
                "ok": healthy,
                "versions": versions.installed(versions.SHOWN),
                "findings": [finding._asdict() for finding in findings],
            }
            print(json.dumps(report, indent=2))
        else:
            table = Table("check", "", show_lines=True)
            table.add_column("found", overflow="fold")  # a path cut short is of no use
            table.add_column("what to do", overflow="fold")
            for check, status, found, todo in findings:
                # Text: a pip line's [extra] is no markup
                table.add_row(check, Text(status, _STYLES[status]), Text(found), Text(todo))
            Console().print(table)
        if not healthy:
            sys.exit(1)

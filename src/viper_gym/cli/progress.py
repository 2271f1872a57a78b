"""Progress bars, on stderr so that stdout stays for results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

from viper_gym.progress import SPEED_OVER

console = Console(stderr=True)


class Tick:
    """Call it when one more is done."""

    def __init__(self, bar: Progress, job: TaskID):
        self._bar, self._job = bar, job

    def __call__(self) -> None:
        self._bar.advance(self._job)

    def start_at(self, done: int) -> None:
        """So many were done before: they say nothing of the speed."""
        self._bar.reset(self._job, completed=done)


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Tick]:
    with Progress(console=console, speed_estimate_period=SPEED_OVER) as bar:
        yield Tick(bar, bar.add_task(label, total=total))

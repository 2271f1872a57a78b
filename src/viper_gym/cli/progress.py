"""Progress bars, on stderr so that stdout stays for results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress

console = Console(stderr=True)


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Any]:
    with Progress(console=console) as bar:
        job = bar.add_task(label, total=total)
        yield lambda: bar.advance(job)

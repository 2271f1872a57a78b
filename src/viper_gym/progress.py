"""Progress bars, on stderr so that stdout stays for results."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

SPEED_OVER = 3600.0
"""seconds of which the speed is taken; by rich's 30 slow steps show no time left"""


def progress_bar(console: Console | None = None) -> Progress:
    """A bar whose tasks have a description, the time that is left, and a note."""
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=11)),
        BarColumn(bar_width=12),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
        TextColumn("left"),
        TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=7)),
        # the one that gives way in a narrow terminal
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, ratio=1)),
        expand=True,
        console=console or Console(stderr=True),
        speed_estimate_period=SPEED_OVER,
    )

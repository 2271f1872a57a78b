"""Time several ways of doing something alternately, so that a busy machine sways all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def in_turns(
    ways: Mapping[str, Callable[[], object]], turn: int, seconds: float, warm_up: int
) -> dict[str, float]:
    """Milliseconds a call of every way, in one run.

    Args:
        turn: calls of one way before the next has its turn.
        seconds: the longest way takes at least this long.
        warm_up: calls that are not counted, of each way.
    """
    for way in ways.values():
        for _ in range(warm_up):
            way()
    spent, calls = dict.fromkeys(ways, 0.0), 0
    while not calls or max(spent.values()) < seconds:
        for name, way in ways.items():
            began = time.perf_counter()
            for _ in range(turn):
                way()
            spent[name] += time.perf_counter() - began
        calls += turn
    return {name: 1000 * total / calls for name, total in spent.items()}

"""Which simulators are here, for checks that need one."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec


def first_installed(modules: Iterable[str]) -> str | None:
    """The first of these modules that is installed; imports none."""
    return next((name for name in modules if find_spec(name) is not None), None)

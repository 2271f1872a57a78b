"""The one place that checks optional packages."""

from __future__ import annotations

import importlib
from types import ModuleType

from viper_gym.errors import DependencyNotInstalled


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise naming the extra that brings it.

    Raises:
        DependencyNotInstalled: with the pip line to run.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = getattr(error, "name", None) or module
        raise DependencyNotInstalled(
            f"'{module}' could not be imported ('{missing}' is missing). "
            f'Run: pip install "viper-gym[{extra}]"'
        ) from error

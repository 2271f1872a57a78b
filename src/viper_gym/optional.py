"""The one place that checks optional packages."""

from __future__ import annotations

import importlib
from types import ModuleType

from viper_gym.errors import DependencyNotInstalled


def require(module: str, extra: str, apart: bool = False) -> ModuleType:
    """Import `module`, or raise naming the extra that brings it.

    Args:
        apart: the extra breaks others, and wants an environment of its own.

    Raises:
        DependencyNotInstalled: with the pip line to run.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        why = f"'{error.name or module}' is missing" if missing else str(error)
        where = " in an environment of its own (it needs older versions)" if apart else ""
        raise DependencyNotInstalled(
            f"'{module}' could not be imported ({why}). "
            f'Run{where}: pip install "viper-gym[{extra}]"'
        ) from error

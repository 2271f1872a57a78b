"""Read the few pickles of the authors' release without running what they may hold.

`args` is an `argparse.Namespace`, `class_map.pkl` a dict of integers, `mask_map.pkl` a dict of
arrays. Only the names that those need are admitted, and they stand for classes of this file: a
pickle can set the state of whatever it is given, and NumPy's own data types take theirs from it
unseen (an array of "objects" is one of addresses).
"""

from __future__ import annotations

import argparse
import io
import pickle
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from viper_gym.errors import CheckpointError

DEEPEST = 8  # of lists and dicts in each other; the releases have three
_NUMBERS = re.compile(r"[<>=|]?[biuf]\d{1,2}")  # bool, integers and floats, by their size in bytes


class _DType:
    """Stands for numpy.dtype: the type of some numbers."""

    def __init__(self, name: str, *_: Any):
        if not (isinstance(name, str) and _NUMBERS.fullmatch(name)):
            raise CheckpointError(f"refused arrays of {name!r}: these files hold numbers")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])  # the rest describes other kinds


class _Array:
    """Stands for numpy.ndarray, whose state is its contents."""

    value: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, data = state
        self.value = _frombuffer(data, dtype, shape, "F" if by_columns else "C").value


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """What protocol 5 makes arrays with."""
    if not (isinstance(data, bytes | bytearray) and isinstance(dtype, _DType)):
        raise CheckpointError("an array is not made of bytes and the type of its numbers")
    made = _Array()
    made.value = np.frombuffer(bytes(data), dtype.dtype).reshape(shape, order=order)
    return made


def _scalar(dtype: Any, data: Any) -> Any:
    return _frombuffer(data, dtype, (), "C").value[()]


def _admitted() -> dict[tuple[str, str], Any]:
    """Names -> what stands for them, made anew: a pickle may write to the classes themselves."""
    dtype, array = type("dtype", (_DType,), {}), type("ndarray", (_Array,), {})
    admitted: dict[tuple[str, str], Any] = {
        ("argparse", "Namespace"): type("Namespace", (argparse.Namespace,), {}),
        ("numpy", "ndarray"): array,
        ("numpy", "dtype"): dtype,
    }
    for core in ("numpy.core", "numpy._core"):  # it moved between NumPy's versions
        admitted[f"{core}.multiarray", "_reconstruct"] = lambda *_: array()
        admitted[f"{core}.multiarray", "scalar"] = lambda *given: _scalar(*given)
        admitted[f"{core}.numeric", "_frombuffer"] = lambda *given: _frombuffer(*given)
    return admitted


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO):
        super().__init__(file)
        self._known = _admitted()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise CheckpointError(
                f"refused to import {module}.{name}: these files hold only a Namespace, "
                "dicts, numbers and arrays"
            )
        return self._known[module, name]


def _plain(value: Any, done: dict[int, Any], depth: int = 0) -> Any:
    """What was read, with NumPy's arrays and argparse's Namespaces in place of what stood for them.

    Args:
        done: what was made of objects by their ids: lists that hold one another several times are
            few bytes and would be many items.
        depth: of what it is in.

    Raises:
        TypeError: something else is in it, or it is nested too deeply.
    """
    if depth > DEEPEST:
        raise TypeError(f"it is nested more than {DEEPEST} deep")
    if isinstance(value, _Array):
        return value.value
    if id(value) in done:
        return done[id(value)]
    inside = partial(_plain, done=done, depth=depth + 1)
    if isinstance(value, argparse.Namespace):
        done[id(value)] = argparse.Namespace(**inside(vars(value)))
    elif isinstance(value, dict):
        done[id(value)] = {inside(key): inside(item) for key, item in value.items()}
    elif isinstance(value, list | tuple | set | frozenset):
        done[id(value)] = type(value)(map(inside, value))
    if id(value) in done:
        return done[id(value)]
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return value
    raise TypeError(f"a {type(value).__name__} is in it")


def load_restricted(path: Path) -> Any:
    """Unpickle a file that holds plain data.

    Raises:
        CheckpointError: missing, truncated, or it wants to import anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: missing")
    try:
        return _plain(_Unpickler(io.BytesIO(path.read_bytes())).load(), {})
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # a broken pickle can raise nearly anything
        raise CheckpointError(f"{path}: not a readable pickle ({error})") from error

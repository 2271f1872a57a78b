"""Read the few pickles of the authors' release without running what they may hold.

`args` is an `argparse.Namespace`, `class_map.pkl` a dict of integers, `mask_map.pkl` a dict
of arrays. Only the classes those need are admitted.
"""

from __future__ import annotations

import argparse
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from viper_gym.errors import CheckpointError

# numpy's own pickles name these by a module that moved between its versions
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_RECONSTRUCT = np.zeros(1).__reduce__()[0]
_SCALAR = np.int64(1).__reduce__()[0]
_ADMITTED: dict[tuple[str, str], Any] = {
    ("argparse", "Namespace"): argparse.Namespace,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{(module, "_reconstruct"): _RECONSTRUCT for module in _ARRAY_MODULES},
    **{(module, "scalar"): _SCALAR for module in _ARRAY_MODULES},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise CheckpointError(
                f"refused to import {module}.{name}: these files hold only a Namespace, "
                "dicts, numbers and arrays"
            )
        return _ADMITTED[module, name]


def load_restricted(path: Path) -> Any:
    """Unpickle a file that holds plain data.

    Raises:
        CheckpointError: missing, truncated, or it wants to import anything else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: missing")
    try:
        return _Unpickler(io.BytesIO(path.read_bytes())).load()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # a broken pickle can raise nearly anything
        raise CheckpointError(f"{path}: not a readable pickle ({error})") from error

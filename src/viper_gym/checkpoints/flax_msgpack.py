"""Read a flax checkpoint (msgpack) without JAX."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from viper_gym.errors import CheckpointError
from viper_gym.optional import require

# extension codes of flax.serialization
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3


def read_flax(folder: Path) -> dict[str, Any]:
    """The newest `checkpoints/checkpoint_N` below a release folder, as nested dicts of arrays.

    Raises:
        CheckpointError: none there, truncated, or not a flax checkpoint.
    """
    msgpack = require("msgpack", extra="convert")
    found = sorted(
        (
            path
            for path in (folder / "checkpoints").glob("checkpoint_*")
            if re.fullmatch(r"checkpoint_\d+", path.name)  # not one that a kill left unfinished
        ),
        key=lambda path: int(path.name.split("_")[-1]),
    )
    if not found:
        raise CheckpointError(f"{folder}: no checkpoints/checkpoint_N in it")
    if found[-1].is_dir():
        raise CheckpointError(f"{found[-1]}: expected flax's msgpack file, got a folder (orbax's?)")

    def extension(code: int, data: bytes) -> Any:
        if code not in (_ARRAY, _SCALAR):
            raise CheckpointError(f"{found[-1]}: msgpack extension {code} is not an array")
        shape, dtype, buffer = msgpack.unpackb(data, raw=False)
        return np.frombuffer(buffer, dtype=np.dtype(dtype)).reshape(shape)

    try:
        tree = msgpack.unpackb(
            found[-1].read_bytes(), ext_hook=extension, raw=False, strict_map_key=False
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise CheckpointError(f"{found[-1]}: not a readable flax checkpoint ({error})") from error
    if not isinstance(tree, dict):
        raise CheckpointError(f"{found[-1]}: expected a dict, got {type(tree).__name__}")
    return tree

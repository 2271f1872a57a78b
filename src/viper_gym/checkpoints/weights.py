"""Networks and their safetensors files: written atomically, checked before memory is taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from viper_gym.errors import CheckpointError

M = TypeVar("M", bound=nn.Module)


def save_weights(module: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a state dict as safetensors, atomically.

    float16 halves the file; values are kept to about three digits (the audit figures of a
    bundle are those of the stored weights).
    """
    weights = {k: v.detach().to("cpu", dtype).contiguous() for k, v in module.state_dict().items()}
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(save(weights))  # safetensors' own file would be for this user alone
    os.replace(temporary, path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Load safetensors into a module, strictly.

    Raises:
        CheckpointError: missing or truncated file, other keys or shapes, NaN weights.
    """
    _check_shapes(module, path)
    weights = load_file(str(path))
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} has NaN or infinite weights")
    module.load_state_dict({k: v.float() for k, v in weights.items()})


def load_network(make: Callable[[], M], path: Path, layers: int) -> M:
    """The network that a config describes, with its weights.

    It is made without memory for its weights first: a config from anywhere may ask for any amount.
    The caller's random numbers are left alone.

    Args:
        layers: that the config asks for; each has weights of its own in the file.

    Raises:
        CheckpointError: the config describes no network, or see `load_weights`.
    """
    try:
        if not layers <= len(stored := _stored_shapes(path)):
            raise CheckpointError(
                f"{path}: has {len(stored)} tensors, the config beside it asks for {layers} layers"
            )
        with torch.device("meta"):
            shell = make()
        _check_shapes(shell, path)
        with torch.random.fork_rng(devices=[]):
            network = make()
    except CheckpointError:  # a ValueError, too
        raise
    except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        raise CheckpointError(
            f"{path}: the config beside it describes no network ({error})"
        ) from error
    load_weights(network.float(), path)  # a caller's default dtype may have fewer bits
    return frozen(network)


def frozen(module: M) -> M:
    """The module in fp32 and evaluation mode, without gradients."""
    return module.float().eval().requires_grad_(False)


def _stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """By the file's header alone."""
    if not path.is_file():
        raise CheckpointError(f"{path}: missing")
    try:
        with safe_open(str(path), "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def _check_shapes(module: nn.Module, path: Path) -> None:
    shapes = _stored_shapes(path)
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    unknown, missing = sorted(set(shapes) - set(expected)), sorted(set(expected) - set(shapes))
    if unknown or missing:
        raise CheckpointError(
            f"{path}: unknown tensors {unknown[:4]}, missing tensors {missing[:4]}"
        )
    for name, shape in shapes.items():
        if shape != expected[name]:
            raise CheckpointError(
                f"{path}: {name} has shape {shape}, config.json says {expected[name]}"
            )

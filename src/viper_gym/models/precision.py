"""Networks that compute in the precision they were cast to, whatever their caller is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch

_LOCK = Lock()
_inside = 0  # contexts that are open
_before: list[tuple[Any, str, Any]] = []  # what the outermost found


@contextmanager
def own_precision(device: torch.device) -> Iterator[None]:
    """The context to run a network in that casts by itself, or is in fp32.

    On a GPU PyTorch computes convolutions of fp32 in TF32 unless it is told not to, and whoever set
    `torch.set_float32_matmul_precision` to less has products so, too (on CPUs in bf16). Ten bits
    are too few for a tokenizer: of the fixtures' codes some change, and rewards by nats.
    """
    with torch.autocast(device.type, enabled=False):
        _enter()
        try:
            yield
        finally:
            _leave()


def _exact() -> list[tuple[Any, str, Any]]:
    """PyTorch's settings, and the values by which fp32 is fp32. (There are newer and older ones,
    not to be mixed.)"""
    known: Any = torch.backends
    cudnn, matmul = known.cudnn, known.cuda.matmul
    if not hasattr(getattr(cudnn, "conv", None), "fp32_precision"):
        return [(cudnn, "allow_tf32", False), (matmul, "allow_tf32", False)]
    return [
        (owner, "fp32_precision", "ieee") for owner in (cudnn.conv, matmul, known.mkldnn.matmul)
    ]


def _enter() -> None:
    """Whole fp32 from here on; the settings are the process's, so the first in makes them."""
    global _inside, _before
    with _LOCK:
        if _inside == 0:
            exact = _exact()
            _before = [(owner, name, getattr(owner, name)) for owner, name, _ in exact]
            for owner, name, value in exact:
                setattr(owner, name, value)
        _inside += 1


def _leave() -> None:
    global _inside
    with _LOCK:
        _inside -= 1
        if _inside == 0:
            for owner, name, value in _before:
                setattr(owner, name, value)

"""Networks that compute in the precision they were cast to, whatever their caller is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

import torch

_LOCK = Lock()
_inside = 0  # contexts that are open
_restore: list[Callable[[], Any]] = []  # what the last out does


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


def _enter() -> None:
    """Whole fp32 from here on; the settings are the process's, so the first in makes them."""
    global _inside
    with _LOCK:
        if _inside == 0:
            _restore[:] = _make_exact()
        _inside += 1


def _leave() -> None:
    global _inside
    with _LOCK:
        _inside -= 1
        if _inside == 0:
            for restore in _restore:
                restore()


def _make_exact() -> list[Callable[[], Any]]:
    """Let fp32 be fp32; returns what undoes it. PyTorch has newer and older settings for it, not
    to be mixed."""
    known: Any = torch.backends
    cudnn = known.cudnn
    if hasattr(getattr(cudnn, "conv", None), "fp32_precision"):
        owners = (cudnn.conv, known.cuda.matmul, known.mkldnn.matmul)
        undo = [partial(setattr, o, "fp32_precision", o.fp32_precision) for o in owners]
        for owner in owners:
            owner.fp32_precision = "ieee"
        return [*undo]
    asked = torch.get_float32_matmul_precision()
    undo = [
        partial(setattr, cudnn, "allow_tf32", cudnn.allow_tf32),
        partial(torch.set_float32_matmul_precision, asked),
    ]
    cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    return [*undo]

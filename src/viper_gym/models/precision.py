"""Networks that compute in the precision they were cast to, whatever their caller is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch

_LOCK = Lock()
_inside, _before = 0, (None, "", None)  # contexts that are open, and what the outermost found


@contextmanager
def own_precision(device: torch.device) -> Iterator[None]:
    """The context to run a network in that casts by itself, or is in fp32.

    On a GPU PyTorch computes convolutions of fp32 in TF32 unless it is told not to, and ten bits
    are too few for a tokenizer: of the fixtures' codes some change, and rewards by nats.
    """
    with torch.autocast(device.type, enabled=False):
        if device.type != "cuda":
            yield
            return
        _enter()
        try:
            yield
        finally:
            _leave()


def _enter() -> None:
    """Without TF32 from here on; the setting is the process's, so the first in makes it."""
    global _inside, _before
    with _LOCK:
        if _inside == 0:
            cudnn: Any = torch.backends.cudnn
            newer = hasattr(getattr(cudnn, "conv", None), "fp32_precision")  # and not to be mixed
            owner, name = (cudnn.conv, "fp32_precision") if newer else (cudnn, "allow_tf32")
            _before = owner, name, getattr(owner, name)
            setattr(owner, name, "ieee" if newer else False)
        _inside += 1


def _leave() -> None:
    global _inside
    with _LOCK:
        _inside -= 1
        if _inside == 0:
            owner, name, value = _before
            setattr(owner, name, value)

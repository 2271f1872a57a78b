"""Inference precision: fp32, or bf16 products with fp32 norms and log-softmax."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import os
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from viper_gym.errors import DeviceUnavailable, NonFiniteLikelihood
from viper_gym.models.bf16 import bf16_is_fast
from viper_gym.models.packed import pack
from viper_gym.models.precision import own_precision
from viper_gym.models.transformer import Block

M = TypeVar("M", bound=nn.Module)
logger = logging.getLogger("viper_gym")

_BLOCK = 31 << 20  # bytes; glibc does not learn from blocks above 32 MiB


def keep_heap() -> None:
    """Let the whole process keep memory that it frees, up to 62 MiB, instead of returning it.

    A network that runs frame by frame frees and asks for the same buffers again and again, and
    each page that had been returned faults when it is written to (docs/decisions.md). When a
    mapped block is freed, glibc maps none of that size any more and trims the heap only from twice
    that size on (mallopt(3), M_MMAP_THRESHOLD). Does nothing with another C library, or where
    MALLOC_MMAP_THRESHOLD_ or MALLOC_TRIM_THRESHOLD_ are set.
    """
    torch.empty(_BLOCK, dtype=torch.uint8, device="cpu")  # freed at once, and never touched


@cache
def one_thread_in_forks() -> None:
    """Let processes that are forked from this one compute with one thread each.

    PyTorch's threads do not survive a fork, and whoever waits for them there waits for ever:
    `AsyncVectorEnv` forks by default, maybe behind a reward that was computed here.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))


def resolve_device(device: str | torch.device) -> torch.device:
    """ "auto" is a GPU where there is one, else the CPU; in a worker process always the CPU.

    Raises:
        DeviceUnavailable: it is not there.
    """
    named = _named(device)
    there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    there += ["cuda"] if len(there) > 1 else []
    there += ["mps"] if torch.backends.mps.is_available() else []
    if named == "auto":
        named = "cuda" if "cuda" in there and not _leave_gpu_alone() else "cpu"
    if named not in there:
        raise DeviceUnavailable(f"device: expected auto, {' or '.join(there)}, got {device}")
    return torch.device(named)


def _leave_gpu_alone() -> bool:
    """Whether this is a worker of `multiprocessing` (asked where there is a GPU).

    Each would load a model of its own there (`SubprocVecEnv`, `AsyncVectorEnv` around rewards).
    """
    if multiprocessing.parent_process() is None:
        return False
    _tell_of_the_gpu()
    return True


@cache  # one line a process
def _tell_of_the_gpu() -> None:
    logger.warning(
        "device 'auto' in a worker process is the CPU, so that not every worker takes the GPU: "
        "pass device='cuda', or score all environments in one process (ViperVectorRewardWrapper, "
        "ViperVecEnvWrapper)"
    )


def _named(device: str | torch.device) -> str:
    """ "cpu:0" and `torch.device("cpu")` are "cpu"."""
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError):  # auto, or nonsense
        return str(device)
    return str(parsed) if parsed.type == "cuda" else parsed.type


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """ "auto" is bf16 where products of it are faster than fp32's (`bf16_is_fast`), else fp32.

    Raises:
        ValueError: not one of auto, fp32, bf16.
    """
    known = {"fp32": torch.float32, "bf16": torch.bfloat16}
    if dtype in known:
        return known[dtype]
    if dtype != "auto":
        raise ValueError(f"dtype must be auto, fp32 or bf16, got {dtype!r}")
    return torch.bfloat16 if bf16_is_fast(device.type) else torch.float32


def cast_for_inference(model: M, dtype: torch.dtype) -> M:
    """A copy whose linear and convolutional layers hold `dtype` weights.

    Autocast would cast them at every call. Norms, embeddings and codebooks stay in fp32.
    """
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, Block):
            module.fold_activation()
    if dtype != torch.float32:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.to(dtype)
            elif isinstance(module, nn.Conv2d):
                module.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if dtype == torch.bfloat16:
        pack(model)
    return model


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """The context to run a tokenizer from `cast_for_inference` in."""
    return own_precision(device) if dtype == torch.float32 else torch.autocast(device.type, dtype)


def finite(scores: Tensor) -> np.ndarray:
    """Log-probabilities as float32.

    Raises:
        NonFiniteLikelihood: NaN or infinity among them.
    """
    values = scores.float().cpu().numpy()
    if not np.isfinite(values).all():
        raise NonFiniteLikelihood("the video model returned NaN or infinite log-probabilities")
    return values

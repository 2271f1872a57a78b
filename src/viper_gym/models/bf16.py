"""Where bf16 products pay."""

from __future__ import annotations

import time
from functools import cache

import torch

_SIZE = 256  # of the matrices: a fraction of a millisecond a product on one core
_WORTH = 1.2  # casts cost, too


@cache
def bf16_is_fast(device: str) -> bool:
    """Whether bf16 products are faster than fp32's: on a CPU both are timed, once a process.

    Instructions do not say it: some CPUs have AVX512-BF16 and multiply fp32 faster.

    Args:
        device: "cpu", "cuda" or another of torch's types; on a GPU native bf16 is taken for fast.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu" or not (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    ):
        return False
    fp32, bf16 = _seconds()
    return fp32 > _WORTH * bf16


def _seconds(times: int = 64) -> tuple[float, float]:
    """Of one product in fp32 and in bf16, at best: other work on the machine only adds."""
    both = [torch.ones(_SIZE, _SIZE, dtype=d) for d in (torch.float32, torch.bfloat16)]
    taken = [float("inf")] * 2
    with torch.autocast("cpu", enabled=False):  # a caller's would make both bf16
        for _ in range(times):  # by turns, so that both meet the machine when it is idle
            for i, a in enumerate(both):
                start = time.perf_counter()
                a @ a
                taken[i] = min(taken[i], time.perf_counter() - start)
    return taken[0], taken[1]

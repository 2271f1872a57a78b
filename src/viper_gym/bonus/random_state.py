"""Networks made from a seed of their own, with the user's random states left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Draw from this seed on the CPU, in fp32; afterwards every generator is where it was, and
    the caller's default dtype as well.

    `torch.manual_seed` would reseed the generators of GPUs as well, which a fork of the CPU's does
    not put back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)  # others would draw other numbers
        try:
            yield
        finally:
            torch.set_default_dtype(before)

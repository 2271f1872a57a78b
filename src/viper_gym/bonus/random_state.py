"""Networks made from a seed of their own, with the user's random states left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_state(seed: int) -> Iterator[None]:
    """Draw from this seed on the CPU; afterwards every generator is where it was.

    `torch.manual_seed` would reseed the generators of GPUs as well, which a fork of the CPU's does
    not put back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield

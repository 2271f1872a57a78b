"""Which frames a frame is scored with.

A window holds at most n frames. When it is full, it is rebuilt from its newest `keep`
frames and grows again, so every value is an exact likelihood of the same weights with
keep … n-1 frames of context. n = L and keep = L-1 is the paper's Eq. 7: the full window,
always.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Mode = Literal["conditional", "joint"]


@dataclass(frozen=True)
class ContextPolicy:
    """How the streaming and the batch engine choose the context of a frame.

    Raises:
        ValueError: no such kind or mode, or `keep` or `window` is no whole number.
    """

    kind: Literal["exact", "refresh"] = "refresh"
    keep: int | None = None
    """frames kept at a refresh; None means half of the window"""
    mode: Mode = "conditional"
    """conditional: ln p(x_t | context). joint: the sum over the window's frames, what the
    authors' release computes; a window of fewer than n frames is scaled up to n"""
    window: int | None = None
    """n, frames a window holds at most; None means the model's sequence length L"""

    def __post_init__(self) -> None:
        for value, known in ((self.kind, ("exact", "refresh")), (self.mode, get_args(Mode))):
            if value not in known:
                raise ValueError(f"expected one of {', '.join(known)}, got {value!r}")
        for name, number in (("keep", self.keep), ("window", self.window)):
            whole = isinstance(number, numbers.Integral) and not isinstance(number, bool)
            if number is not None and not whole:
                raise ValueError(f"{name} must be a whole number of frames, got {number!r}")

    def length(self, sequence_length: int) -> int:
        """n for a model of this sequence length.

        Raises:
            ValueError: `window` outside 1 … L.
        """
        window = sequence_length if self.window is None else self.window
        if not 1 <= window <= sequence_length:
            raise ValueError(f"window must be in 1 … {sequence_length}, got {window}")
        return window

    def kept(self, sequence_length: int) -> int:
        """Frames kept when a window is full.

        Raises:
            ValueError: `keep` outside 1 … n-1, or joint without the exact window.
        """
        length = self.length(sequence_length)
        if self.mode == "joint" and self.kind != "exact":
            raise ValueError("mode 'joint' sums over the full window: use the 'exact' policy")
        if length == 1:
            return 0
        if self.kind == "exact":
            return length - 1
        keep = length // 2 if self.keep is None else self.keep
        if not 1 <= keep < length:
            raise ValueError(f"keep must be in 1 … {length - 1}, got {keep}")
        return keep

    def context_frames(self, steps: np.ndarray, stride: int, sequence_length: int) -> np.ndarray:
        """How many frames of context the frames at these steps of an episode have.

        Args:
            steps: int (…), 0 is the episode's first frame.
            stride: frames of a window are this many steps apart.

        Returns:
            int (…), in 0 … n-1.
        """
        n, keep = self.length(sequence_length), self.kept(sequence_length)
        number = np.asarray(steps) // stride  # of the frame within its phase
        return np.where(number < n, number, keep + (number - n) % (n - keep))

"""Which frames a frame is scored with (design section 3, "context policies").

A window holds at most L frames. When it is full, it is rebuilt from its newest `keep`
frames and grows again, so every value is an exact likelihood of the same weights with
keep … L-1 frames of context. keep = L-1 is the paper's Eq. 7: the full window, always.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["conditional", "joint"]


@dataclass(frozen=True)
class ContextPolicy:
    """How the streaming and the batch engine choose the context of a frame."""

    kind: Literal["exact", "refresh"] = "refresh"
    keep: int | None = None
    """frames kept at a refresh; None means half of the window"""
    mode: Mode = "conditional"
    """conditional: ln p(x_t | context). joint: L times the mean over the window's frames"""

    def kept(self, sequence_length: int) -> int:
        """Frames kept when a window of this length is full.

        Raises:
            ValueError: `keep` outside 1 … L-1, or joint without the exact window.
        """
        if self.mode == "joint" and self.kind != "exact":
            raise ValueError("mode 'joint' sums over the full window: use the 'exact' policy")
        if sequence_length == 1:
            return 0
        if self.kind == "exact":
            return sequence_length - 1
        keep = sequence_length // 2 if self.keep is None else self.keep
        if not 1 <= keep < sequence_length:
            raise ValueError(f"keep must be in 1 … {sequence_length - 1}, got {keep}")
        return keep

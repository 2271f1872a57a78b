"""Layers whose bf16 weights oneDNN has packed once, for inference on a CPU.

PyTorch hands oneDNN plain weights, which are brought into the order that its bf16 kernels read
anew at every call: of one frame's 3x3 convolution at 8x8 cells that is nearly half the time
(docs/decisions.md). `torch.compile` packs frozen weights, too, after a minute of compiling.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ONEDNN = torch.ops.mkldnn  # what `torch.compile` calls; not promised, so looked for (`_can_pack`)
_NEEDED = (
    "_linear_pointwise",
    "_reorder_linear_weight",
    "_convolution_pointwise",
    "_reorder_convolution_weight",
)


class _Packed(nn.Module):
    """What both share: packed weights are made at first use, and made again by copies."""

    _packed: Tensor | None = None

    def _takes(self, x: Tensor) -> bool:
        """Whether the packed weights serve: gradients and other devices need the plain ones."""
        return x.device.type == "cpu" and not torch.is_grad_enabled()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_packed"}  # opaque to pickle


class PackedLinear(_Packed, nn.Linear):
    """(…, in) -> (…, out), in the precision of the weights."""

    def forward(self, x: Tensor) -> Tensor:
        if not self._takes(x):
            return F.linear(x, self.weight, self.bias)
        if self._packed is None:
            rows = x.numel() // self.in_features
            self._packed = _ONEDNN._reorder_linear_weight(self.weight, rows)
        x = x.to(self.weight.dtype)
        return _ONEDNN._linear_pointwise(x, self._packed, self.bias, "none", [], "")


class PackedConv2d(_Packed, nn.Conv2d):
    """(B, in, H, W) -> (B, out, h, w), in the precision of the weights, zeros around."""

    def forward(self, x: Tensor) -> Tensor:
        if not self._takes(x):
            return self._conv_forward(x, self.weight, self.bias)
        shape = self.padding, self.stride, self.dilation, self.groups
        x = x.to(self.weight.dtype)
        if self._packed is None:  # for this size of input; others are served as exactly
            self._packed = _ONEDNN._reorder_convolution_weight(self.weight, *shape, x.shape)
        return _ONEDNN._convolution_pointwise(x, self._packed, self.bias, *shape, "none", [], "")


def pack(model: nn.Module) -> None:
    """Let a network's bf16 layers pack their weights, where the CPU has kernels for them.

    The weights must not change any more. Results are the plain layers' to the bit.
    """
    if not _can_pack():
        return
    for module in model.modules():
        if module.__class__ is nn.Linear:
            module.__class__ = PackedLinear
        elif module.__class__ is nn.Conv2d and module.padding_mode == "zeros":
            module.__class__ = PackedConv2d


def _can_pack() -> bool:
    known = torch.backends.mkldnn.is_available() and hasattr(_ONEDNN, "_is_mkldnn_bf16_supported")
    return (
        known and _ONEDNN._is_mkldnn_bf16_supported() and all(hasattr(_ONEDNN, n) for n in _NEEDED)
    )

"""Layers, the picture encoder and decoder, and the perceptrons of DreamerV3 (paper Table 3)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 4  # pixels a side of the last feature map
EPSILON = 1e-3  # added to variances: the authors' (viper_rl, dreamerv3/nets.py, Norm)


def init_weights(module: nn.Module) -> None:
    """Truncated normal weights of variance 1 / mean(fan in, fan out), as DreamerV3 has."""
    if not isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
        return
    area = math.prod(module.weight.shape[2:])
    fan = area * (module.weight.shape[0] + module.weight.shape[1]) / 2
    std = math.sqrt(1 / fan) / 0.8796  # what truncation at two deviations takes away
    nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class Norm(nn.LayerNorm):
    """LayerNorm over the last dimension, of `width`, in fp32 whatever comes."""

    def __init__(self, width: int):
        super().__init__(width, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


class NormAct(Norm):
    """The same, then swish ("LayerNorm + swish" in Table 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(super().forward(x))


class MLP(nn.Module):
    """Hidden layers with LayerNorm and swish, and a linear output: (…, D) -> (…, outputs).

    Args:
        scale: of the output layer's first weights; 0 makes every first output 0.
    """

    def __init__(self, inputs: int, units: int, layers: int, outputs: int, scale: float = 1.0):
        super().__init__()
        hidden: list[nn.Module] = []
        for _ in range(layers):
            hidden += [nn.Linear(inputs, units, bias=False), NormAct(units)]
            inputs = units
        self.hidden, self.out = nn.Sequential(*hidden), nn.Linear(inputs, outputs)
        self.apply(init_weights)
        with torch.no_grad():
            self.out.weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x)).float()


class _ChannelNormAct(NormAct):
    """The same over the channels of pictures (B, C, H, W), which lie last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def stages(size: tuple[int, int]) -> int:
    """How often pictures are halved on the way to four pixels a side.

    Raises:
        ValueError: sides that do not halve evenly.
    """
    number = round(math.log2(min(size) / SMALLEST)) if min(size) >= 2 * SMALLEST else 0
    if number < 1 or any(side % 2**number for side in size):
        raise ValueError(
            f"DreamerV3 needs pictures of at least {2 * SMALLEST} pixels a side that can be halved "
            f"down to about {SMALLEST}, such as 64x64; got {size[0]}x{size[1]}"
        )
    return number


class Encoder(nn.Module):
    """Convolutions of stride 2, doubling their channels: (N, 3, H, W) in 0…1 -> (N, width)."""

    def __init__(self, size: tuple[int, int], depth: int):
        super().__init__()
        layers: list[nn.Module] = []
        channels, number = 3, stages(size)
        for stage in range(number):
            width = depth * 2**stage
            layers += [nn.Conv2d(channels, width, 4, 2, 1, bias=False), _ChannelNormAct(width)]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.width = channels * (size[0] >> number) * (size[1] >> number)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, frames: Tensor) -> Tensor:
        return self.layers(frames - 0.5).flatten(1)


class Decoder(nn.Module):
    """The way back: features (N, D) -> pictures (N, 3, H, W), about 0…1."""

    def __init__(self, features: int, size: tuple[int, int], depth: int):
        super().__init__()
        number = stages(size)
        channels = depth * 2 ** (number - 1)
        self._shape = (channels, size[0] >> number, size[1] >> number)
        self.inputs = nn.Linear(features, math.prod(self._shape))
        layers: list[nn.Module] = []
        for stage in reversed(range(number)):
            last = stage == 0
            width = 3 if last else depth * 2 ** (stage - 1)
            layers.append(nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=last))
            if not last:
                layers.append(_ChannelNormAct(width))
            channels = width
        self.layers = nn.Sequential(*layers)
        self.apply(init_weights)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Tensor) -> Tensor:
        x = self.inputs(features).unflatten(1, self._shape)
        x = x.contiguous(memory_format=torch.channels_last)
        return self.layers(x).float() + 0.5

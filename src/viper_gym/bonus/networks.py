"""Networks of the bonuses: tensors in, tensors out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import wraps
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from viper_gym.errors import FrameMismatch

Method = TypeVar("Method", bound=Callable[..., Any])
SMALLEST_FRAME = 36  # pixels: less leaves nothing behind the three convolutions


def in_fp32(method: Method) -> Method:
    """A bonus's method (it has `_device`) in fp32, whatever autocast its caller is in."""

    @wraps(method)
    def shielded(self: Any, *arguments: Any, **named: Any) -> Any:
        with torch.autocast(self._device.type, enabled=False):
            return method(self, *arguments, **named)

    return cast(Method, shielded)


def move(device: torch.device, networks: Sequence[nn.Module], optimizer: Optimizer) -> None:
    """Put networks on a device, and what their optimiser remembers beside them."""
    remembered = optimizer.state_dict()
    parameters = [p for network in networks for p in network.to(device).parameters()]
    # not every device takes them in place
    optimizer.param_groups[0]["params"] = [p for p in parameters if p.requires_grad]
    optimizer.load_state_dict(remembered)


def on_cpu(state: Any) -> Any:
    """A copy of a state whose tensors are on the CPU, to be read where there is no GPU."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {key: on_cpu(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(on_cpu(value) for value in state)
    return deepcopy(state)


def both_sides(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels, of one number for both or of these."""
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    return height, width


def frame_network(
    size: int | tuple[int, int], channels: tuple[int, int, int], width: int, head: int
) -> nn.Sequential:
    """The paper's CNN (Table 4): frames (B, 3, H, W) -> features (B, width).

    Args:
        size: pixels: (height, width), or one number for both.
        channels: of the three convolutions.
        width: of the linear layers.
        head: linear layers behind the first one.

    Raises:
        FrameMismatch: smaller frames than the convolutions can take.
    """
    height, breadth = both_sides(size)
    if min(height, breadth) < SMALLEST_FRAME:
        raise FrameMismatch(
            f"the bonus networks need frames of at least {SMALLEST_FRAME} pixels a side, got "
            f"{height}x{breadth}: pass bonus=Disagreement(features=…) or a bonus of your own"
        )
    a, b, c = channels
    convolutions = nn.Sequential(
        nn.Conv2d(3, a, 8, stride=4),
        nn.ReLU(),
        nn.Conv2d(a, b, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(b, c, 3),
        nn.ReLU(),
        nn.Flatten(),
    )
    with torch.no_grad():
        flat = convolutions(torch.zeros(1, 3, height, breadth)).shape[1]
    layers: list[nn.Module] = [convolutions, nn.Linear(flat, width)]
    for _ in range(head):
        layers += [nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*layers)


class Ensemble(nn.Module):
    """Perceptrons of one shape, all computed by one batched product a layer.

    Args:
        members: M.
        sizes: width of the input, of each hidden layer and of the output.
    """

    def __init__(self, members: int, sizes: Sequence[int]):
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            weight = torch.empty(members, fan_in, fan_out).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(members, 1, fan_out)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> what each member predicts, (M, B, out)."""
        x = x.expand(len(self.weights[0]), *x.shape)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)  # (M, B, width)
            x = x if layer == last else torch.relu(x)
        return x

"""Weights that oneDNN has packed give what plain ones give, and do not get in anybody's way."""

import copy
import pickle

import pytest
import torch
from torch import nn

from viper_gym.likelihood.precision import cast_for_inference
from viper_gym.models.packed import PackedConv2d, PackedLinear, pack

BF16 = torch.bfloat16


def conv(**options) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 48, 3, **options)
    return layer.to(dtype=BF16, memory_format=torch.channels_last)


def linear(**options) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 96, **options).to(BF16)


def packed(layer: nn.Module) -> nn.Module:
    network = nn.Sequential(copy.deepcopy(layer))
    pack(network)
    if not isinstance(network[0], PackedLinear | PackedConv2d):
        pytest.skip("this CPU has no bf16 kernels that pack weights")
    return network[0]


def pictures(batch: int, size: int) -> torch.Tensor:
    x = torch.randn(batch, 32, size, size, dtype=BF16)
    return x.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
@pytest.mark.parametrize(
    "options", [{}, {"padding": 1}, {"padding": 1, "stride": 2}, {"padding": 1, "bias": False}]
)
def test_convolutions_of_any_input_are_the_plain_ones_to_the_bit(options):
    plain = conv(**options)
    layer = packed(plain)
    for batch, size in ((1, 8), (3, 16), (1, 9)):  # packed for the first
        x = pictures(batch, size)
        assert torch.equal(layer(x), plain(x)) and layer(x).stride() == plain(x).stride()
    plane = torch.randn(2, 32, 8, 8, dtype=BF16)  # not channels-last
    assert torch.equal(layer(plane), plain(plane))
    assert torch.equal(layer(plane.float()), plain(plane)), "casts by itself"


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
def test_products_of_any_input_are_the_plain_ones_to_the_bit(bias):
    plain = linear(bias=bias)
    layer = packed(plain)
    for shape in ((1, 64, 64), (512, 64), (2, 5, 3, 64), (64,)):
        x = torch.randn(shape, dtype=BF16)
        assert torch.equal(layer(x), plain(x)), shape
    strided = torch.randn(4, 64, 7, dtype=BF16).transpose(1, 2)
    expected = plain(strided.contiguous())  # of others the plain layer rounds before the bias, too
    assert torch.equal(layer(strided), expected)
    assert torch.equal(layer(strided.float()), expected), "casts by itself"


@pytest.mark.parametrize(
    ("layer", "x"), [(linear(), torch.ones(3, 64)), (conv(), torch.ones(1, 32, 8, 8))]
)
def test_copies_and_gradients_of_a_used_layer(layer, x):
    x = x.to(BF16)
    used = packed(layer)
    with torch.inference_mode():
        expected = used(x)
        assert used._packed is not None
        for other in (copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
            assert torch.equal(other(x), expected)
    assert list(used.state_dict()) == list(layer.state_dict())
    x = x.requires_grad_()
    used(x).sum().backward()
    assert x.grad is not None and used.weight.grad is not None


def test_only_an_inference_copy_is_packed():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 8))
    assert type(cast_for_inference(model, torch.float32)[0]) is nn.Conv2d
    half = cast_for_inference(model, BF16)
    assert type(model[0]) is nn.Conv2d and type(model[1]) is nn.Linear
    packed(conv())  # else skips
    assert isinstance(half[0], PackedConv2d) and isinstance(half[1], PackedLinear)

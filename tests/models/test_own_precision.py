"""TF32 is left out of networks on a GPU, and the caller's setting comes back."""

import pytest
import torch

from viper_gym.models import precision


@pytest.mark.parametrize("newer", [False, True])
def test_the_first_in_switches_and_the_last_out_restores(monkeypatch, newer):
    class Cudnn:
        allow_tf32 = True

    if newer:
        Cudnn.conv = type("conv", (), {"fp32_precision": "tf32"})
    monkeypatch.setattr(torch.backends, "cudnn", Cudnn)
    read = (lambda: Cudnn.conv.fp32_precision) if newer else (lambda: Cudnn.allow_tf32)
    before, inside = ("tf32", "ieee") if newer else (True, False)
    precision._enter()
    precision._enter()  # of another thread
    assert read() == inside
    precision._leave()
    assert read() == inside
    precision._leave()
    assert read() == before
    assert Cudnn.allow_tf32  # only one of the two is touched: PyTorch refuses a mix
    precision._enter()
    precision._leave()
    assert read() == before


def test_on_a_cpu_nothing_is_touched():
    with torch.autocast("cpu", torch.bfloat16), precision.own_precision(torch.device("cpu")):
        x = torch.randn(4, 4)
        assert (x @ x).dtype == torch.float32

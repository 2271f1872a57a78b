"""TF32 is left out of networks on a GPU, and the caller's setting comes back."""

import pytest
import torch

from viper_gym.models import precision


@pytest.mark.parametrize("newer", [False, True])
def test_the_first_in_switches_and_the_last_out_restores(monkeypatch, newer):
    kinds = [type(name, (), {"allow_tf32": True}) for name in ("Cudnn", "Products", "Mkldnn")]
    cudnn, products, mkldnn = kinds
    told = (type("conv", (), {}), products, type("matmul", (), {}))
    if newer:
        cudnn.conv, mkldnn.matmul = told[0], told[2]
        for owner in told:
            owner.fp32_precision = "tf32"
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(torch.backends.cuda, "matmul", products)
    monkeypatch.setattr(torch.backends, "mkldnn", mkldnn)

    def read() -> set:
        return (
            {owner.fp32_precision for owner in told}
            if newer
            else {cudnn.allow_tf32, products.allow_tf32}
        )

    before, inside = ({"tf32"}, {"ieee"}) if newer else ({True}, {False})
    precision._enter()
    precision._enter()  # of another thread
    assert read() == inside
    precision._leave()
    assert read() == inside
    precision._leave()
    assert read() == before
    # only the ones or the others are touched: PyTorch refuses a mix
    assert not newer or all(kind.allow_tf32 for kind in kinds)
    precision._enter()
    precision._leave()
    assert read() == before


@pytest.mark.parametrize("asked", ["highest", "high", "medium"])
def test_products_are_fp32_whatever_the_process_asked_for(asked):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(asked)
        with torch.autocast("cpu", torch.bfloat16), precision.own_precision(torch.device("cpu")):
            x = torch.randn(4, 4)
            assert (x @ x).dtype == torch.float32
            settings = [getattr(owner, name) for owner, name, _ in precision._exact()]
            assert settings == [exact for *_, exact in precision._exact()]
        assert torch.get_float32_matmul_precision() == asked
    finally:
        torch.set_float32_matmul_precision(before)

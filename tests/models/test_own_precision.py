"""TF32 is left out of networks on a GPU, and the caller's setting comes back."""

import pytest
import torch

from viper_gym.models import precision


@pytest.mark.parametrize("asked", ["highest", "high", "medium"])
@pytest.mark.parametrize("newer", [False, True])
def test_the_first_in_switches_and_the_last_out_restores(monkeypatch, newer, asked):
    """Newer PyTorch has three settings; in older ones products have one, of three values."""
    products = [asked]
    cudnn = type("Cudnn", (), {"allow_tf32": True})
    owners = [type(name, (), {"fp32_precision": "tf32"}) for name in ("conv", "cuda", "mkldnn")]
    if newer:
        cudnn.conv = owners[0]
        monkeypatch.setattr(torch.backends.cuda, "matmul", owners[1])
        monkeypatch.setattr(torch.backends.mkldnn, "matmul", owners[2])
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: products[-1])
    monkeypatch.setattr(torch, "set_float32_matmul_precision", products.append)

    def read() -> object:
        if newer:
            return {owner.fp32_precision for owner in owners}
        return cudnn.allow_tf32, products[-1]

    before, inside = ({"tf32"}, {"ieee"}) if newer else ((True, asked), (False, "highest"))
    for _ in range(2):
        precision._enter()
        precision._enter()  # of another thread
        assert read() == inside
        precision._leave()
        assert read() == inside
        precision._leave()
        assert read() == before
    # only the ones or the others are touched: PyTorch refuses a mix
    assert not newer or (cudnn.allow_tf32 and products == [asked])


@pytest.mark.parametrize("asked", ["highest", "high", "medium"])
def test_products_are_fp32_whatever_the_process_asked_for(asked):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(asked)
        with torch.autocast("cpu", torch.bfloat16), precision.own_precision(torch.device("cpu")):
            x = torch.randn(4, 4)
            assert (x @ x).dtype == torch.float32
            known = torch.backends
            if hasattr(getattr(known.cudnn, "conv", None), "fp32_precision"):
                products = known.cuda.matmul, known.mkldnn.matmul
                assert {owner.fp32_precision for owner in products} == {"ieee"}
            else:
                assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == asked
    finally:
        torch.set_float32_matmul_precision(before)

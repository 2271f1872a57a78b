import pytest
import torch

from viper_gym.models import bf16


@pytest.mark.parametrize(("has", "fp32", "half", "fast"), [
    (True, 1.0, 0.5, True),
    (True, 1.0, 1.6, False),  # AVX512-BF16 that is slower than fp32
    (True, 1.0, 0.9, False),  # casts take what is gained
    (False, 1.0, 0.5, False),
])  # fmt: skip
def test_it_is_used_where_its_products_are_faster(monkeypatch, has, fp32, half, fast):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(bf16, "_seconds", lambda: (fp32, half))
    assert bf16.bf16_is_fast.__wrapped__("cpu") is fast


def test_products_of_more_work_take_longer(monkeypatch):
    small = bf16._seconds()
    monkeypatch.setattr(bf16, "_SIZE", 4 * bf16._SIZE)
    assert all(0 < a < b for a, b in zip(small, bf16._seconds(times=4), strict=True))

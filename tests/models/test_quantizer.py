import torch

from viper_gym.models.quantizer import VectorQuantizer, perplexity


def test_nearest_entry_and_straight_through_gradient():
    quantizer = VectorQuantizer(3, 2)
    with torch.no_grad():
        quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    z = torch.tensor([[0.9, 0.2], [0.1, 0.7], [-1.0, -1.0]], requires_grad=True)
    out = quantizer(z)
    assert out.indices.tolist() == [1, 2, 0]
    assert torch.allclose(out.quantized, quantizer.codebook[out.indices])
    (grad,) = torch.autograd.grad(out.quantized.sum(), z)
    assert torch.equal(grad, torch.ones_like(z))


def test_loss_weighs_commitment():
    """codebook term 1, commitment term beta: loss = (1 + beta) * mse at equal distances."""
    quantizer = VectorQuantizer(1, 1, commitment_weight=0.25)
    with torch.no_grad():
        quantizer.codebook.zero_()
    assert torch.isclose(quantizer(torch.tensor([[2.0]])).loss, torch.tensor(1.25 * 4.0))


def test_dead_codes_come_back():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 2, ema_decay=0.9, dead_after=3).train()
    quantizer(torch.zeros(64, 2))  # every entry starts at the same point: a collapse
    z = torch.randn(256, 2) * 5
    for _ in range(30):
        indices = quantizer(z).indices
    use, unused = perplexity(indices, 8)
    assert unused == 0
    assert use > 4


def test_codes_do_not_come_back_from_a_training_that_diverged():
    """Who trains says so by the loss, which is not finite; a sampler of NaN would come first."""
    quantizer = VectorQuantizer(8, 2, ema_decay=0.9, dead_after=3).train()
    for _ in range(3):
        quantizer(torch.zeros(64, 2))
    for _ in range(3):
        loss = quantizer(torch.full((64, 2), float("nan"))).loss
    assert not torch.isfinite(loss)


def test_perplexity_of_uniform_use():
    use, unused = perplexity(torch.tensor([0, 1, 2, 3]), 8)
    assert abs(use - 4.0) < 1e-5
    assert unused == 4

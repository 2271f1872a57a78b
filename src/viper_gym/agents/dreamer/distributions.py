"""Distributions and scales of DreamerV3: symlog, two-hot, straight-through categoricals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BINS = 255  # of two-hot numbers


def symlog(x: Tensor) -> Tensor:
    """sign(x) ln(|x| + 1): the identity near zero, a logarithm far from it (equation 9)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Undo `symlog`."""
    return x.sign() * x.abs().expm1()


class TwoHot(nn.Module):
    """Numbers as weights on the two nearest of `bins` points, evenly spaced in symlog space.

    A network gives logits (…, bins); what it means is their expectation.
    """

    points: Tensor

    def __init__(self, bins: int = BINS, limit: float = 20.0):
        super().__init__()
        self.register_buffer("points", torch.linspace(-limit, limit, bins), persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """Numbers (…) -> weights (…, bins) that add up to one."""
        bins = len(self.points)
        scaled = (symlog(x) - self.points[0]) / (self.points[1] - self.points[0])
        scaled = scaled.clamp(0, bins - 1)
        low = scaled.floor().clamp(max=bins - 2)
        upper = (scaled - low)[..., None]
        index = low.long()
        return (1 - upper) * F.one_hot(index, bins) + upper * F.one_hot(index + 1, bins)

    def log_prob(self, logits: Tensor, x: Tensor) -> Tensor:
        """Minus the cross-entropy (nats) between the encoded numbers and the logits: (…)."""
        return (self.encode(x) * logits.float().log_softmax(-1)).sum(-1)

    def mean(self, logits: Tensor) -> Tensor:
        """What logits (…, bins) stand for: (…)."""
        return symexp((logits.float().softmax(-1) * self.points).sum(-1))


def unimix(logits: Tensor, share: float) -> Tensor:
    """Log-probabilities (…, K) with `share` of a uniform distribution mixed in.

    No class ever becomes impossible, so no KL divergence becomes infinite.
    """
    probabilities = (1 - share) * logits.float().softmax(-1) + share / logits.shape[-1]
    return probabilities.log()


def sample_one_hot(log_probs: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A one-hot draw (…, K) whose gradient is that of the probabilities (straight-through)."""
    uniform = torch.rand(log_probs.shape, generator=generator, device=log_probs.device)
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    drawn = F.one_hot((log_probs + gumbel).argmax(-1), log_probs.shape[-1]).float()
    probabilities = log_probs.exp()
    return drawn + (probabilities - probabilities.detach())


def categorical_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats of log-probabilities (…, S, K), added up over the S latents: (…)."""
    return (p.exp() * (p - q)).sum((-2, -1))


def categorical_entropy(log_probs: Tensor) -> Tensor:
    """Nats: (…, K) -> (…)."""
    return -(log_probs.exp() * log_probs).sum(-1)

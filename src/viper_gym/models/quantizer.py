"""Vector quantiser: nearest codebook entry, straight-through gradient, EMA or learned codebook."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QuantizerOutput(NamedTuple):
    """`quantized` carries straight-through gradients."""

    quantized: Tensor  # (B, h, w, D)
    indices: Tensor  # int64 (B, h, w)
    loss: Tensor  # codebook and commitment terms, scalar


class VectorQuantizer(nn.Module):
    """Codebook of `codebook_size` vectors (taming calls the size `n_embed`).

    Args:
        codebook_size: K.
        codebook_dim: D.
        commitment_weight: beta of the paper's Table 1.
        ema_decay: the codebook follows its cells' means with this decay and takes no
            gradient (van den Oord et al. 2017, appendix A.1); None learns it by gradient.
        dead_after: training batches without use after which an entry is moved to a badly
            quantised input, which is how a collapsing codebook is mended.
    """

    counts: Tensor
    sums: Tensor
    unused_for: Tensor
    initialised: Tensor

    def __init__(
        self,
        codebook_size: int,
        codebook_dim: int,
        commitment_weight: float = 0.25,
        ema_decay: float | None = None,
        dead_after: int = 50,
    ):
        super().__init__()
        self.commitment_weight = commitment_weight
        self.ema_decay = ema_decay
        self.dead_after = dead_after
        self.codebook = nn.Parameter(
            torch.empty(codebook_size, codebook_dim).uniform_(
                -1 / codebook_size, 1 / codebook_size
            ),
            requires_grad=ema_decay is None,
        )
        # Training state only: not part of a bundle.
        self.register_buffer("counts", torch.ones(codebook_size), persistent=False)
        self.register_buffer("sums", self.codebook.detach().clone(), persistent=False)
        self.register_buffer("unused_for", torch.zeros(codebook_size), persistent=False)
        self.register_buffer("initialised", torch.tensor(False), persistent=False)

    def indices(self, z: Tensor) -> Tensor:
        """Nearest entries: (..., D) -> int64 (...). Computed in fp32 whatever the autocast."""
        flat = z.reshape(-1, z.shape[-1]).float()
        with torch.autocast(z.device.type, enabled=False):
            book = self.codebook.float()
            # |z|^2 is the same for every entry and left out
            distance = book.pow(2).sum(1) - 2.0 * flat @ book.T  # (M, K)
        return distance.argmin(1).view(z.shape[:-1])

    def forward(self, z: Tensor) -> QuantizerOutput:
        z = z.float()
        if self.training and self.ema_decay is not None:
            self._initialise(z)
        indices = self.indices(z)
        quantized = F.embedding(indices, self.codebook)
        loss = self.commitment_weight * F.mse_loss(z, quantized.detach())
        if self.ema_decay is None:
            loss = loss + F.mse_loss(quantized, z.detach())
        if self.training:
            self._track(z.detach(), indices, quantized.detach())
        return QuantizerOutput(z + (quantized - z).detach(), indices, loss)

    @torch.no_grad()
    def _initialise(self, z: Tensor) -> None:
        if self.initialised:
            return
        flat = z.reshape(-1, z.shape[-1])
        pick = torch.randint(len(flat), (len(self.codebook),), device=z.device)
        self.codebook.copy_(flat[pick])
        self.sums.copy_(self.codebook)
        self.initialised.fill_(True)

    @torch.no_grad()
    def _track(self, z: Tensor, indices: Tensor, quantized: Tensor) -> None:
        flat, index = z.reshape(-1, z.shape[-1]), indices.reshape(-1)
        counts = torch.bincount(index, minlength=len(self.codebook)).float()
        if self.ema_decay is not None:
            sums = torch.zeros_like(self.sums).index_add_(0, index, flat)
            self.counts.lerp_(counts, 1 - self.ema_decay)
            self.sums.lerp_(sums, 1 - self.ema_decay)
            self.codebook.copy_(self.sums / (self.counts[:, None] + 1e-5))
        self.unused_for.add_(1).masked_fill_(counts > 0, 0)
        dead = self.unused_for > self.dead_after
        error = (flat - quantized.reshape(flat.shape)).pow(2).sum(1)
        if dead.any() and torch.isfinite(error).all():  # else training has diverged, and says so
            pick = torch.multinomial(error + 1e-6, int(dead.sum()), replacement=True)
            self.codebook[dead] = flat[pick]
            self.sums[dead] = flat[pick]
            self.counts[dead] = 1.0
            self.unused_for[dead] = 0.0


def perplexity(indices: Tensor, codebook_size: int) -> tuple[float, int]:
    """exp(entropy) of the code use, and the number of entries never used."""
    counts = torch.bincount(indices.reshape(-1), minlength=codebook_size).float()
    p = counts[counts > 0] / counts.sum()
    return float(torch.exp(-(p * p.log()).sum())), int((counts == 0).sum())

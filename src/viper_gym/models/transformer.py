"""The blocks of `VideoGPT`: norms that know the task, causal attention, MLP."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viper_gym.models.kv_cache import KVCache
from viper_gym.models.videogpt_config import Activation, VideoGPTConfig

_QUICK = 1.702


def _quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x), as in the authors' release."""
    return F.silu(_QUICK * x) / _QUICK


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "quick_gelu": _quick_gelu,
    "gelu": F.gelu,
}


class TaskNorm(nn.Module):
    """LayerNorm with scale and shift, which are learned for each task if there are classes."""

    def __init__(self, dim: int, num_classes: int, eps: float = 1e-6):
        super().__init__()
        self.dim, self.conditional, self.eps = dim, num_classes > 0, eps
        if self.conditional:
            self.scale = nn.Parameter(torch.zeros(num_classes, dim))
            self.bias = nn.Parameter(torch.zeros(num_classes, dim))
        else:
            self.scale = nn.Parameter(torch.ones(dim))
            self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor, task: Tensor | None) -> Tensor:
        """x (B, L, D), task int64 (B,) -> fp32 (B, L, D)."""
        if not self.conditional:
            gain, bias = self.scale.float(), self.bias.float()
            return F.layer_norm(x.float(), (self.dim,), gain, bias, self.eps)
        assert task is not None
        alone = len(x) == 1 and x.device.type == "cpu" and not torch.compiler.is_compiling()
        if alone:  # one pass in place of five; a compiler fuses them, and could not read the task
            row = int(task)
            gain, bias = 1.0 + self.scale[row].float(), self.bias[row].float()
            return F.layer_norm(x.float(), (self.dim,), gain, bias, self.eps)
        x = F.layer_norm(x.float(), (self.dim,), eps=self.eps)
        gain, bias = 1.0 + self.scale[task].float(), self.bias[task].float()  # (B, D)
        return torch.addcmul(bias[:, None], x, gain[:, None])


class Attention(nn.Module):
    """Causal self-attention; with a cache, over everything the cache holds.

    Without a mask the tokens are the first of their window, which the causal kernels know how
    to do in half the time.
    """

    def __init__(self, config: VideoGPTConfig):
        super().__init__()
        self.num_heads = config.num_heads
        self.dropout = config.dropout
        self.qkv = nn.Linear(config.embed_dim, 3 * config.embed_dim)
        self.out = nn.Linear(config.embed_dim, config.embed_dim)

    def forward(
        self, x: Tensor, cache: KVCache | None, layer: int, mask: Tensor | None, wanted: int
    ) -> Tensor:
        """x (B, L, D) -> what its last `wanted` tokens attend to (B, wanted, D)."""
        B, L, D = x.shape
        x = x.to(self.qkv.weight.dtype)
        q, k, v = (
            self.qkv(x).view(B, L, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        )  # (B, H, L, d)
        if cache is not None:
            k, v = cache.extend(layer, k, v)  # (B, H, S, d)
        if wanted == 0:  # the cache is all that was wanted
            return x[:, :0]
        q = q[:, :, L - wanted :]
        if mask is not None:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, :, L - wanted :])
        elif wanted == L:
            p = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)
        else:
            hidden = torch.full((wanted, L), float("-inf"), dtype=q.dtype, device=q.device)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=hidden.triu(L - wanted + 1))
        return self.out(y.transpose(1, 2).reshape(B, wanted, D))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: VideoGPTConfig):
        super().__init__()
        self.norm_attention = TaskNorm(config.embed_dim, config.num_classes, config.norm_eps)
        self.attention = Attention(config)
        self.norm_mlp = TaskNorm(config.embed_dim, config.num_classes, config.norm_eps)
        self.activation = ACTIVATIONS[config.activation]
        self.expand = nn.Linear(config.embed_dim, config.mlp_dim)
        self.project = nn.Linear(config.mlp_dim, config.embed_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        task: Tensor | None,
        cache: KVCache | None,
        layer: int,
        mask: Tensor | None,
        wanted: int | None = None,
    ) -> Tensor:
        """x (B, L, D) -> (B, L, D), or of its last `wanted` tokens only (all are attended to)."""
        wanted = x.shape[1] if wanted is None else wanted
        attended = self.attention(self.norm_attention(x, task), cache, layer, mask, wanted)
        x = x[:, x.shape[1] - wanted :] + self.dropout(attended)
        hidden = self.norm_mlp(x, task).to(self.expand.weight.dtype)
        hidden = self.activation(self.expand(hidden))
        return x + self.dropout(self.project(hidden))

    @torch.no_grad()
    def fold_activation(self) -> None:
        """Move quick_gelu's two factors into the weights around it: SiLU alone is left.

        On a CPU the two are passes over the widest layer, a tenth of a frame's time and more.
        """
        if self.activation is _quick_gelu:
            self.expand.weight.mul_(_QUICK)
            self.expand.bias.mul_(_QUICK)
            self.project.weight.div_(_QUICK)
            self.activation = F.silu

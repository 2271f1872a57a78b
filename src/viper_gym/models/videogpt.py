"""VideoGPT-style autoregressive transformer over frame codes (paper Table 2, section 3.1).

The layout follows the authors' release so that its weights can be loaded: codebook
vectors -> linear -> shifted right behind a learned start vector -> learned position
biases an axis (t, h, w), concatenated over chunks of the width -> pre-norm blocks whose
norms take a gain and a bias from the task -> norm -> logits. Tokens are in raster order,
frame by frame.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viper_gym.models.kv_cache import KVCache
from viper_gym.models.local_history import LocalHistory, no_frames
from viper_gym.models.transformer import Block, TaskNorm
from viper_gym.models.videogpt_config import VideoGPTConfig


class VideoGPT(nn.Module):
    """p(code | earlier codes of the window, task).

    `codebook` is the tokenizer's, kept as a buffer: tokens enter as codebook vectors.
    """

    codebook: Tensor

    def __init__(self, config: VideoGPTConfig):
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.register_buffer("codebook", torch.zeros(config.codebook_size, config.codebook_dim))
        self.embed = nn.Linear(config.codebook_dim, dim)
        self.start = nn.Parameter(torch.randn(dim) * 0.02)
        self.local: LocalHistory | None = None
        if config.local_frames:
            self.local = LocalHistory(config.local_frames, config.codebook_dim, dim)
        sizes: tuple[int, ...] = (dim,)
        lengths: tuple[int, ...] = (config.max_tokens,)
        if config.positions == "axes":
            sizes = self._axis_widths(dim)
            lengths = (config.sequence_length, config.grid_size, config.grid_size)
        self.position = nn.ParameterList(
            nn.Parameter(torch.randn(n, size) * 0.02)
            for n, size in zip(lengths, sizes, strict=True)
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = TaskNorm(dim, config.num_classes, config.norm_eps)
        self.head = nn.Linear(dim, config.codebook_size)
        self.copy = nn.Linear(dim, 1) if config.copy else None
        self._initialise()

    @staticmethod
    def _axis_widths(dim: int) -> tuple[int, ...]:
        """The width split over (t, h, w); the first axes take the remainder."""
        return tuple(dim // 3 + (axis < dim % 3) for axis in range(3))

    def _initialise(self) -> None:
        residual = ("out.weight", "project.weight")
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and name.endswith("weight"):
                std = (
                    0.02 / math.sqrt(2 * self.config.num_layers)
                    if name.endswith(residual)
                    else 0.02
                )
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias") and parameter.ndim == 1:
                nn.init.zeros_(parameter)
        nn.init.normal_(self.embed.weight, std=1.0 / math.sqrt(self.config.codebook_dim))

    def positions(self, frames: Tensor) -> Tensor:
        """Position biases of whole frames: their numbers (B, F) -> (B, F * N, D)."""
        N, S = self.config.tokens_per_frame, self.config.grid_size
        if self.config.positions == "tokens":
            return self.position[0].view(-1, N, self.config.embed_dim)[frames].flatten(1, 2)
        t, h, w = self.position
        cells = torch.cat([h[:, None].expand(S, S, -1), w[None].expand(S, S, -1)], -1)
        B, F_ = frames.shape
        axes = [t[frames][:, :, None].expand(B, F_, N, -1), cells.view(N, -1).expand(B, F_, N, -1)]
        return torch.cat(axes, -1).flatten(1, 2)

    def _embed(self, tokens: Tensor) -> Tensor:
        """(…,) -> (…, D), in the precision of the weights."""
        return self.embed(F.embedding(tokens, self.codebook).to(self.embed.weight.dtype))

    def _check_task(self, task: Tensor | None) -> None:
        if (self.config.num_classes > 0) != (task is not None):
            kind = "needs" if self.config.num_classes > 0 else "takes no"
            raise ValueError(f"this video model {kind} task index")

    def _hidden(self, indices: Tensor, task: Tensor | None, first: int = 0) -> Tensor:
        """Codes (B, T, h, w) -> what the head reads, from frame `first` on: (B, (T-first)*N, D)."""
        self._check_task(task)
        B = len(indices)
        tokens = indices.reshape(B, -1)  # (B, L)
        x = self._embed(tokens)
        x = torch.cat([self.start.expand(B, 1, -1).to(x.dtype), x[:, :-1]], dim=1)
        x = x + self.positions(torch.arange(indices.shape[1], device=x.device)[None])
        if self.local is not None:
            c = self.config
            earlier = no_frames(B, c.local_frames, c.grid_size, x.device)
            x = x + self.local(indices, earlier, self.codebook)
        wanted = (indices.shape[1] - first) * self.config.tokens_per_frame
        return self._through_blocks(x, task, None, None, wanted)

    def _through_blocks(
        self,
        x: Tensor,
        task: Tensor | None,
        cache: KVCache | None,
        mask: Tensor | None,
        wanted: int,
    ) -> Tensor:
        """(B, L, D) -> (B, wanted, D): the last block only does the tokens that are wanted."""
        for layer, block in enumerate(self.blocks):
            is_last = layer == len(self.blocks) - 1
            x = block(x, task, cache, layer, mask, wanted if is_last else None)
        return x

    def logits(self, indices: Tensor, task: Tensor | None = None) -> Tensor:
        """Codes (B, T, h, w), T <= sequence_length -> fp32 logits (B, T * N, K).

        The logits at position i are for token i, given the tokens before it.
        """
        return self._logits(self._hidden(indices, task), _one_before(indices), task)

    def log_prob(self, indices: Tensor, task: Tensor | None = None, first: int = 0) -> Tensor:
        """ln p of every token given the earlier ones of the window, in nats.

        Args:
            indices: codes (B, T, h, w).
            first: frames before this one are context only; their logits are not computed.

        Returns:
            fp32 (B, T - first, h, w).
        """
        before = _one_before(indices)[:, first:]
        return self._score(self._hidden(indices, task, first), indices[:, first:], before, task)

    def _logits(self, hidden: Tensor, before: Tensor, task: Tensor | None) -> Tensor:
        """(B, L, D), and the code each cell had a frame earlier (B, …; -1: none) -> (B, L, K)."""
        hidden = self.norm(hidden, task).to(self.head.weight.dtype)
        logits = self.head(hidden).float()
        if self.copy is None:
            return logits
        before = before.flatten(1)[..., None]  # (B, L, 1)
        extra = self.copy(hidden).float() * (before >= 0)
        return logits.scatter_add(-1, before.clamp(min=0), extra)

    def _score(
        self, hidden: Tensor, indices: Tensor, before: Tensor, task: Tensor | None
    ) -> Tensor:
        logits = self._logits(hidden, before, task)
        flat = F.cross_entropy(logits.flatten(0, 1), indices.reshape(-1), reduction="none")
        return -flat.view(indices.shape)

    def extend(
        self,
        indices: Tensor,
        cache: KVCache,
        task: Tensor | None = None,
        rows: Tensor | None = None,
        first: bool = False,
        want_log_prob: bool = True,
    ) -> Tensor | None:
        """Append whole frames to a cache and score them.

        Args:
            indices: (B, F, h, w), the new frames of the rows.
            cache: holds the earlier frames; updated in place.
            rows: which rows of the cache, int64 (B,); None means all.
            first: the rows are empty (`KVCache.reset`), which makes the pass cheaper.
            want_log_prob: False only fills the cache.

        Returns:
            ln p of every new token, fp32 (B, F, h, w), nats; None if not wanted.
        """
        self._check_task(task)
        B, frames = indices.shape[:2]
        N = self.config.tokens_per_frame
        tokens = indices.reshape(B, -1)  # (B, L)
        L = tokens.shape[1]
        here: Any = slice(None) if rows is None else rows
        x = self._embed(tokens)
        count, last = cache.frames[here], cache.last[here]
        # the input of a frame's first token is the token before it: (B, D)
        start = torch.where((count == 0)[:, None], self.start, last).to(x.dtype)
        cache.last[here] = x[:, -1].float()
        x = torch.cat([start[:, None], x[:, :-1]], dim=1)
        place = count[:, None] * N + torch.arange(L, device=x.device)  # (B, L)
        x = x + self.positions(count[:, None] + torch.arange(frames, device=x.device))
        before = _one_before(indices)
        if self.local is not None:
            earlier = cache.recent[here]
            before = torch.cat([earlier[:, -1:], indices[:, :-1]], 1)
            x = x + self.local(indices, earlier, self.codebook).to(x.dtype)
            cache.recent[here] = torch.cat([earlier, indices], 1)[:, -self.local.frames :]
        mask = cache.begin(place, rows, first)
        x = self._through_blocks(x, task, cache, mask, wanted=L if want_log_prob else 0)
        cache.commit(frames)
        return self._score(x, indices, before, task) if want_log_prob else None

    @torch.no_grad()
    def generate(
        self,
        context: Tensor,
        frames: int,
        task: Tensor | None = None,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Open-loop rollout: continue codes (B, T, h, w) by `frames` sampled frames.

        A window that is full is rebuilt from its newest half. Returns (B, frames, h, w).
        """
        B, _, S, _ = context.shape
        most = self.config.sequence_length - 1  # frames before the one that is drawn
        keep = min(most, max(1, self.config.sequence_length // 2))
        history = context[:, max(0, context.shape[1] - most) :]
        produced: list[Tensor] = []
        while len(produced) < frames:
            if history.shape[1] > most:
                history = history[:, history.shape[1] - keep :]
            tokens = torch.cat(
                [history, torch.zeros(B, 1, S, S, dtype=torch.int64, device=history.device)], 1
            ).flatten(1)
            base = history.shape[1] * S * S
            tokens = self._sample_frame(tokens, base, history, task, temperature, generator)
            frame = tokens[:, base:].view(B, 1, S, S)
            produced.append(frame)
            history = torch.cat([history, frame], 1)
        return torch.cat(produced, 1)

    def _sample_frame(
        self,
        tokens: Tensor,
        base: int,
        history: Tensor,
        task: Tensor | None,
        temperature: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        B, S = len(tokens), self.config.grid_size
        cache = KVCache.for_config(self.config, B, self.start.device, self.head.weight.dtype)
        if base:
            self.extend(history, cache, task, first=True, want_log_prob=False)
        x = torch.where((cache.frames == 0)[:, None], self.start, cache.last)  # (B, D)
        local = torch.zeros(B, S * S, self.config.embed_dim, device=tokens.device)
        if self.local is not None:  # the frame to come is not looked at
            coming = torch.zeros(B, 1, S, S, dtype=torch.int64, device=tokens.device)
            local = self.local(coming, cache.recent, self.codebook)
        before = cache.recent[:, -1:].flatten(1)  # (B, S * S), or (B, 0)
        position = self.positions(cache.frames[:, None])  # (B, S * S, D)
        for i in range(S * S):
            place = torch.full((B, 1), base + i, device=tokens.device)
            mask = cache.begin(place)
            hidden = x[:, None] + position[:, i : i + 1] + local[:, i : i + 1]
            hidden = self._through_blocks(hidden, task, cache, mask, wanted=1)
            logits = self._logits(hidden, before[:, i : i + 1], task)[:, 0] / temperature
            choice = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            tokens[:, base + i] = choice[:, 0]
            x = self._embed(choice[:, 0])
        return tokens


def _one_before(indices: Tensor) -> Tensor:
    """Codes of the frame before each (B, T, h, w); -1 before the first."""
    return torch.cat([torch.full_like(indices[:, :1], -1), indices[:, :-1]], 1)

"""Keys and values of the tokens a transformer has seen, for rows at different positions."""

from __future__ import annotations

import torch
from torch import Tensor

from viper_gym.models.local_history import no_frames
from viper_gym.models.videogpt_config import VideoGPTConfig


class KVCache:
    """Static buffers (layers, B, H, max_tokens, d); every row has its own length.

    `frames` (B,) counts the frames of each row, `last` (B, D) is the embedding of its last
    token, `recent` (B, k, h, w) its newest frames for `LocalHistory` (-1: none). One pass
    writes new keys with `extend` in every layer between `begin` and `commit`.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        heads: int,
        tokens: int,
        head_dim: int,
        width: int,
        device: torch.device,
        dtype: torch.dtype,
        local_frames: int = 0,
        grid_size: int = 1,
    ):
        shape = (layers, batch, heads, tokens, head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.frames = torch.zeros(batch, dtype=torch.int64, device=device)
        self.last = torch.zeros(batch, width, device=device, dtype=torch.float32)
        self.recent = no_frames(batch, local_frames, grid_size, device)
        self._rows = torch.arange(batch, device=device)
        self._all_rows = True
        self._alone: int | None = None  # the row of a pass that has one only
        self._place = torch.zeros(0, dtype=torch.int64, device=device)
        self._span = 0

    @classmethod
    def for_config(
        cls,
        config: VideoGPTConfig,
        batch: int,
        device: torch.device,
        dtype: torch.dtype,
        frames: int | None = None,
    ) -> KVCache:
        """An empty cache for a model of that shape, with room for so many frames (None: all)."""
        c = config
        tokens = c.max_tokens if frames is None else frames * c.tokens_per_frame
        head_dim = c.embed_dim // c.num_heads
        return cls(
            c.num_layers, batch, c.num_heads, tokens, head_dim, c.embed_dim, device, dtype,
            c.local_frames, c.grid_size,
        )  # fmt: skip

    def begin(
        self, place: Tensor, rows: Tensor | None = None, first: bool = False
    ) -> Tensor | None:
        """Announce the positions (B, L) of the tokens to come, and which rows they belong to.

        Those of a row follow each other without a gap.

        Args:
            rows: int64 (B,), the rows of the cache this pass extends; None means all.
            first: the rows are empty, so the tokens only see each other.

        Returns:
            Additive mask (B, 1, L, S), -inf at those of the first S cached positions that a
            token may not see; None where plain causal attention is all there is to say.
        """
        self._place = place
        self._all_rows = rows is None
        batch = self.frames.shape[0]
        self._rows = torch.arange(batch, device=place.device) if rows is None else rows
        self._alone = int(self._rows[0]) if len(self._rows) == 1 else None
        # Only the span that some row uses takes part: one host sync, much less attention.
        self._span = place.shape[1] if first else int(place.max()) + 1
        if first:
            return None
        hidden = torch.arange(self._span, device=place.device) > place[..., None]  # (B, L, S)
        mask = torch.zeros(hidden.shape, dtype=self.keys.dtype, device=place.device)
        return mask.masked_fill_(hidden, float("-inf"))[:, None]

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write k, v (B, H, L, d) at the announced positions; return all of (B, H, S, d)."""
        return self._write(self.keys[layer], k), self._write(self.values[layer], v)

    def _write(self, store: Tensor, new: Tensor) -> Tensor:
        if self._alone is not None:  # a slice is copied faster than it is indexed
            row = store[self._alone : self._alone + 1, :, : self._span]
            row[:, :, self._span - new.shape[2] :] = new
            return row
        # advanced indices around a slice put (B, L) first: (B, L, H, d)
        store[self._rows[:, None], :, self._place] = new.transpose(1, 2).to(store.dtype)
        seen = store[:, :, : self._span]
        return seen if self._all_rows else seen[self._rows]

    def commit(self, frames: int) -> None:
        """The pass is over: its rows grew by `frames` frames."""
        self.frames[self._rows] += frames

    def reset(self, rows: Tensor) -> None:
        """Forget everything of the given rows (int64 or bool mask)."""
        # keys beyond a row's position are never attended to, so only the count matters
        self.frames[rows] = 0
        self.recent[rows] = -1

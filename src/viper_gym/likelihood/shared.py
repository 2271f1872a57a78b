"""One model a process, however many wrappers use it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from viper_gym.checkpoints.bundle import CONFIG, TOKENIZER, VIDEO_MODEL
from viper_gym.likelihood.reward_model import VideoRewardModel


def shared_reward_model(folder: str, device: str, dtype: str) -> VideoRewardModel:
    """One model a process for each bundle, device and precision: wrappers share it."""
    files = (Path(folder) / name for name in (CONFIG, TOKENIZER, VIDEO_MODEL))
    # a bundle that was trained on since is another one
    stamp = tuple((f.stat().st_mtime_ns, f.stat().st_size) if f.exists() else None for f in files)
    return _loaded(folder, device, dtype, stamp)


@lru_cache(maxsize=4)
def _loaded(folder: str, device: str, dtype: str, stamp: tuple[Any, ...]) -> VideoRewardModel:
    return VideoRewardModel.from_pretrained(folder, device=device, dtype=dtype)

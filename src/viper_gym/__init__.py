"""Learning from video: the likelihoods of a video model as reward (VIPER) for Gymnasium.

Importing the package registers the `viper/…` ids and imports neither torch nor a simulator.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from viper_gym.registration import register_all

__version__ = "0.1.0"

_PUBLIC = {
    "ViperRewardWrapper": "viper_gym.wrappers.single",
    "ViperVectorRewardWrapper": "viper_gym.wrappers.vector",
    "VideoRewardModel": "viper_gym.likelihood.reward_model",
    "BonusRewardWrapper": "viper_gym.wrappers.bonus",
    "BonusVectorRewardWrapper": "viper_gym.wrappers.vector_bonus",
    "RND": "viper_gym.bonus.rnd",
    "Disagreement": "viper_gym.bonus.disagreement",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'viper_gym' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


register_all()

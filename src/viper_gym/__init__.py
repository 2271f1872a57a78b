"""Learning from video: the likelihoods of a video model as reward (VIPER) for Gymnasium.

Importing the package registers the `viper/…` ids and imports neither torch nor a simulator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from viper_gym.registration import register_all

if TYPE_CHECKING:  # what `__getattr__` gives
    from viper_gym.bonus.disagreement import Disagreement
    from viper_gym.bonus.rnd import RND
    from viper_gym.likelihood.reward_model import VideoRewardModel
    from viper_gym.wrappers.bonus import BonusRewardWrapper
    from viper_gym.wrappers.single import ViperRewardWrapper
    from viper_gym.wrappers.vector import ViperVectorRewardWrapper
    from viper_gym.wrappers.vector_bonus import BonusVectorRewardWrapper

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
__all__ = [
    "RND",
    "BonusRewardWrapper",
    "BonusVectorRewardWrapper",
    "Disagreement",
    "VideoRewardModel",
    "ViperRewardWrapper",
    "ViperVectorRewardWrapper",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'viper_gym' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


register_all()

"""What the wrappers whose reward a video model pays have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from viper_gym.bonus.choose import name_of
from viper_gym.errors import finite
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.types import Bonus
from viper_gym.wrappers.scoring import RewardOptions, Scorer


class ScoredByVideo:
    """What every wrapper shows of its scorer."""

    paid_by_video = True
    """what `refuse_scored` asks an environment for"""
    _scorer: Scorer

    @property
    def reward_model(self) -> VideoRewardModel:
        """The video model behind the reward (loaded on first use)."""
        return self._scorer.model

    @property
    def bonus(self) -> Bonus | None:
        """The exploration bonus, for its `state_dict`."""
        return self._scorer.bonus

    @property
    def beta(self) -> float:
        """Weight of the bonus; may be set between steps, to let exploration fade.

        (Where Stable-Baselines3 holds environments that are scored each for itself:
        `venv.env_method("set_wrapper_attr", "beta", 0.1)`; its `set_attr` asks the outermost
        wrapper only.)
        """
        return self._scorer.beta

    @beta.setter
    def beta(self, value: float) -> None:
        self._scorer.beta = finite("beta", value)


def refuse_scored(paid: bool) -> None:
    """Around an environment that a video pays already, its "task reward" would be that.

    Raises:
        ValueError: it is one.
    """
    if paid:
        raise ValueError(
            "this environment's rewards are a video model's already, and they would be taken for "
            "its task reward: make it without (gym.make(…, checkpoint=None))"
        )


def recorded_arguments(
    checkpoint: str | Path | VideoRewardModel, options: RewardOptions
) -> dict[str, Any]:
    """Arguments as a spec may hold them: deep-copied and pickled, so never a model or a bonus.

    A model is recorded as what it was loaded from, and how where arguments say it, a bonus of this
    package by its name (with its default settings); others by the names of their classes, which
    cannot be made again.
    """
    told = vars(options)
    if isinstance(checkpoint, VideoRewardModel):
        how = {key: value for key, value in checkpoint.loaded_with.items() if value is not None}
        said = how.keys() <= {"revision", "device", "dtype"}  # not a policy of its own
        if said:
            told = {**told, **{key: str(value) for key, value in how.items()}}
        checkpoint = (said and checkpoint.source) or type(checkpoint).__name__
    if isinstance(checkpoint, Path):
        checkpoint = checkpoint.absolute()  # its bare name may be an alias
    clip = options.reward_clip
    return {
        **told,
        "reward_clip": list(clip) if isinstance(clip, tuple) else clip,  # as JSON gives it back
        "checkpoint": str(checkpoint),
        "bonus": name_of(options.bonus),
    }

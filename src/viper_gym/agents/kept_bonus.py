"""The exploration bonus of vector environments: as a checkpoint keeps it, and how it fades."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gymnasium.vector import VectorEnv

from viper_gym.errors import TrainingError


class KeptBonus:
    """Finds the bonus of environments, whatever they are wrapped in, if its state can be kept.

    Args:
        envs: some of whose bonuses are made at the first reset only.
        steps: in which its weight falls to zero; 0 keeps it.
    """

    def __init__(self, envs: VectorEnv, steps: int = 0):
        self._envs, self._steps = envs, steps
        self._waiting: dict[str, Any] | None = None
        self._beta: float | None = None  # what the environments were made with

    def _layers(self) -> Iterator[Any]:
        """The environments and what they wrap: wrappers hide attributes."""
        layer: Any = self._envs
        while layer is not None:
            yield layer
            layer = getattr(layer, "env", None)

    def find(self) -> Any:
        """The bonus; None without one."""
        bonuses = (getattr(layer, "bonus", None) for layer in self._layers())
        return next((bonus for bonus in bonuses if hasattr(bonus, "load_state_dict")), None)

    def fade(self, step: int) -> None:
        """Pay what is left at this step of the bonus that the environments were made with.

        Raises:
            TrainingError: they pay none, or its weight cannot be set.
        """
        if not self._steps:
            return
        paying = (x for x in self._layers() if hasattr(getattr(x, "bonus", None), "compute"))
        giver = next((x for x in paying if hasattr(x, "beta")), None)
        if giver is None:
            raise TrainingError(
                "bonus_steps says when an exploration bonus ends, and these environments pay none "
                "(viper/ ids: --env-kwargs bonus rnd beta 0.5; others: BonusVectorRewardWrapper)"
            )
        if self._beta is None:
            self._beta = giver.beta
        giver.beta = max(0.0, 1 - step / self._steps) * self._beta

    def state_dict(self) -> dict[str, Any] | None:
        """None without a bonus."""
        bonus = self.find()
        return self._waiting if bonus is None else bonus.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Undo `state_dict`, at once or by `after_reset`."""
        self._waiting = state
        bonus = self.find()
        if bonus is not None and state is not None:
            bonus.load_state_dict(state)
            self._waiting = None

    def after_reset(self) -> None:
        """To be called once every bonus is made.

        Raises:
            TrainingError: there was a state, and there is no bonus to take it.
        """
        self.load_state_dict(self._waiting)
        if self._waiting is not None:
            raise TrainingError(
                "the checkpoint has the state of an exploration bonus, and these environments have "
                "no bonus that takes it"
            )

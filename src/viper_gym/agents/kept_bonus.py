"""The exploration bonus of vector environments, as a checkpoint keeps it."""

from __future__ import annotations

from typing import Any

from gymnasium.vector import VectorEnv

from viper_gym.errors import TrainingError


class KeptBonus:
    """Finds the bonus of environments, whatever they are wrapped in, if its state can be kept.

    Args:
        envs: some of whose bonuses are made at the first reset only.
    """

    def __init__(self, envs: VectorEnv):
        self._envs = envs
        self._waiting: dict[str, Any] | None = None

    def find(self) -> Any:
        """The bonus; None without one."""
        envs: Any = self._envs
        while not hasattr(envs, "bonus") and hasattr(envs, "env"):  # wrappers hide attributes
            envs = envs.env
        bonus = getattr(envs, "bonus", None)
        return bonus if hasattr(bonus, "load_state_dict") else None

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

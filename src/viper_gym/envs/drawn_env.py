"""What environments of every suite share: how they are seen, and what their spec records."""

from __future__ import annotations

import operator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from viper_gym.envs.tasks import View


class Seen(Protocol):
    """What a suite says of the frames of a task."""

    @property
    def view(self) -> View: ...
    @property
    def action_repeat(self) -> int: ...


class DrawnEnv(gym.Env):
    """Observations are pixels of `view` or the state; either way `render` draws the pixels.

    Args:
        task: name in the suite.
        spec: what the suite says of it.
        observation: "pixels" or "state".
        view: camera and size; the task's own by default.
        render_quality: shorthand that replaces `view.render_quality` ("fast" or "full").
        action_repeat: control steps an action is held; the task's own by default.

    Raises:
        ValueError: another kind of observation, render mode or quality, or an action repeat that is
            no whole number from 1 on.
    """

    _spec: Any = None
    spec_kwargs: dict[str, Any] | None = None
    """what the spec records in place of objects that the environment was made with"""

    def __init__(
        self,
        task: str,
        spec: Seen,
        observation: str,
        view: View | None,
        render_quality: str | None,
        action_repeat: int | None,
        render_mode: str | None,
    ):
        if observation not in ("pixels", "state"):
            raise ValueError(f"observation must be 'pixels' or 'state', got {observation!r}")
        self.task, self.render_mode, self._observation = task, render_mode, observation
        self.view = view or spec.view
        if render_quality is not None:
            self.view = replace(self.view, render_quality=render_quality)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}")
        repeat = spec.action_repeat if action_repeat is None else action_repeat
        try:
            self.action_repeat = operator.index(repeat)
        except TypeError:
            raise ValueError(f"action_repeat must be a whole number, got {repeat!r}") from None
        if self.action_repeat < 1:
            raise ValueError(f"action_repeat must be at least 1, got {self.action_repeat}")

    @property
    def spec(self) -> Any:
        """Gymnasium's record of how this was made; holds no models, which it would copy."""
        return self._spec

    @spec.setter
    def spec(self, spec: Any) -> None:
        if spec is not None and self.spec_kwargs:
            spec.kwargs = {**spec.kwargs, **self.spec_kwargs}
        self._spec = spec

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What a bundle records about the frames of this environment."""
        return {**self.view.recorded(), "action_repeat": self.action_repeat}

    def state(self) -> np.ndarray:
        """What experts act on: float32 (n,)."""
        raise NotImplementedError

    def nothing_in_view(self) -> AbstractContextManager[None]:
        """Inside, frames show the scene without what moves."""
        raise NotImplementedError

    def _observation_space(self, state_size: int) -> gym.spaces.Box:
        if self._observation == "state":
            return gym.spaces.Box(-np.inf, np.inf, (state_size,), np.float32)
        size = self.view.image_size
        return gym.spaces.Box(0, 255, (size, size, 3), np.uint8)

    def _observe(self) -> Any:
        return self.render() if self._observation == "pixels" else self.state()

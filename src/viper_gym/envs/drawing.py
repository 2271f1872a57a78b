"""How a suite's environment is made to be recorded, where that is not its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from viper_gym.envs.drawn_env import DrawnEnv
from viper_gym.envs.suite import Suite
from viper_gym.envs.tasks import View
from viper_gym.errors import CheckpointError, TrainingError, ViperGymError


@dataclass(frozen=True)
class Drawing:
    """What `collect` makes an environment with; None is the task's own."""

    view: View | None = None
    action_repeat: int | None = None
    """control steps an action is held"""
    env_kwargs: tuple[tuple[str, Any], ...] = ()
    """what else the suite's environment takes"""

    def make(self, suite: Suite, task: str) -> DrawnEnv:
        """The environment, observing its state.

        Raises:
            TrainingError: it does not take one of the values.
        """
        more = dict(self.env_kwargs)
        env: DrawnEnv | None = None
        try:
            env = suite.make(
                task, "state", view=self.view, action_repeat=self.action_repeat, **more
            )
            if not self.is_own(suite, task):  # what it names is looked up at the first frame
                env.reset(seed=0)
                env.render()
        except BaseException as error:
            if env is not None:
                env.close()
            known = isinstance(error, TypeError | ValueError | LookupError)
            if not known or isinstance(error, ViperGymError):
                raise
            raise TrainingError(f"cannot make {suite.name} {task}: {error}") from error
        return env

    def options(self, suite: Suite) -> dict[str, Any]:
        """What gives `gym.make` of the suite's ids this drawing."""
        view = {} if self.view is None else asdict(self.view)
        chosen = {
            "view": {k: v for k, v in view.items() if k in _view_fields(suite)},
            "action_repeat": self.action_repeat,
            "env_kwargs": dict(self.env_kwargs),
        }
        return {name: value for name, value in chosen.items() if value}

    def is_own(self, suite: Suite, task: str) -> bool:
        """Whether it draws as the suite's environments do by themselves; a task that the suite
        lacks has no other way."""
        spec, more = suite.tasks.get(task), dict(self.env_kwargs)
        return spec is None or (
            self.view in (None, spec.view)
            and self.action_repeat in (None, spec.action_repeat)
            and {**suite.own_kwargs, **more} == suite.own_kwargs
        )

    def differences(self, suite: Suite, task: str, recorded: Mapping[str, Any]) -> list[str]:
        """In what an episode that says this of itself was drawn otherwise: "camera 0, not 1"."""
        spec = suite.tasks.get(task)
        view = self.view or (View() if spec is None else spec.view)
        repeat = self.action_repeat or (None if spec is None else spec.action_repeat)
        asked = {k: v for k, v in view.recorded().items() if k in _view_fields(suite)}
        asked |= {} if repeat is None else {"action_repeat": repeat}
        asked |= {**suite.own_kwargs, **dict(self.env_kwargs)}
        keys = asked.keys() & recorded.keys()
        if "camera" in keys:  # who says where it looks from says these only where they are so
            keys |= (asked.keys() | recorded.keys()) & {"free_camera", "see_through"}
        return [
            f"{key} {recorded.get(key)}, not {asked.get(key)}"
            for key in sorted(keys)
            if asked.get(key) != recorded.get(key)
        ]


OWN_DRAWING = Drawing()


def chosen_view(suite: Suite, task: str, view: Mapping[str, Any]) -> View:
    """The task's own view with the given fields of `View` put in.

    Raises:
        TypeError: no such field, or none that can be chosen in this suite.
        ValueError: a value that nothing can be drawn with.
    """
    if not isinstance(view, Mapping):
        raise TypeError(f"view: expected fields and values ({{'camera': 1}}), got {view!r}")
    known = _view_fields(suite)
    refused = sorted(view.keys() - set(known))
    if refused:
        raise TypeError(
            f"of a view of {suite.name} {', '.join(known)} can be chosen, not {', '.join(refused)}"
        )
    own = suite.tasks[task].view if task in suite.tasks else View()
    # a camera that is named is meant, where the task's own view has a free one
    free = {"free_camera": None} if "camera" in view else {}
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in view.items()}
    return replace(own, **{**free, **given})


def recorded_drawing(suite: Suite, task: str, preprocessing: Mapping[str, Any]) -> Drawing:
    """What makes environments that look like a bundle's videos (`DrawnEnv.preprocessing`).

    Raises:
        CheckpointError: the suite cannot draw what is recorded.
    """
    known = _view_fields(suite)
    view = {name: value for name, value in preprocessing.items() if name in known}
    if "camera" in view:  # who says where it looks from says these only where they are so
        view = {"free_camera": None, "see_through": (), **view}
    robot = preprocessing.get("robot")
    try:
        chosen = chosen_view(suite, task, view)
    except ValueError as error:
        raise CheckpointError(
            f"{suite.name} cannot draw '{task}' as this bundle's videos were drawn: {error}. Audit "
            "it on recorded episodes (--episodes)"
        ) from error
    return Drawing(
        chosen,
        preprocessing.get("action_repeat"),
        () if robot is None else (("robot", robot),),
    )


def _view_fields(suite: Suite) -> tuple[str, ...]:
    return suite.view_fields or tuple(field.name for field in fields(View))

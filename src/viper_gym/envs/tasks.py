"""Every task a suite offers, and how its frames are taken.

The view is part of the model: what the camera cannot see cannot be rewarded.
`expert_return` is the 90th percentile of the paper's own expert data over 1000
simulator frames (the authors' data-preparation notebook), `oracle_return` what our
expert reaches (mean of 20 episodes, `viper-gym tasks --measure 20`); `fovy` overrides the
camera's field of view where the default one crops the scene (docs/decisions.md).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from viper_gym.errors import UnknownTask

_EXPECTED = {
    "image_size": "a number of pixels",
    "camera": "the number of a camera",
    "fovy": "degrees between 0 and 180, or null for the camera's own",
    "free_camera": "six numbers (x, y, z, distance, azimuth, elevation), or null",
    "see_through": "a list of names of geoms",
    "render_quality": "'fast' or 'full'",
}


def _is(kind: type | tuple[type, ...], value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


@dataclass(frozen=True)
class View:
    """How a frame is drawn; recorded in every bundle and compared when it is used."""

    image_size: int = 64  # pixels, square
    camera: int = 0
    fovy: float | None = None  # degrees; None keeps the model's own
    free_camera: tuple[float, float, float, float, float, float] | None = None
    """in place of `camera`: x, y, z that it looks at and its distance (m), azimuth and elevation
    (degrees)"""
    see_through: tuple[str, ...] = ()
    """geoms whose material is drawn half transparent, because they hide what the task is about"""
    render_quality: str = "fast"  # "fast": no shadows, reflections or multisampling

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: a value that nothing can be drawn with.
        """
        for name in ("image_size", "camera", "fovy"):  # NumPy's numbers become Python's, for JSON
            if isinstance(value := getattr(self, name), np.integer | np.floating):
                object.__setattr__(self, name, value.item())
        free, seen = self.free_camera, self.see_through
        fits = {
            "image_size": _is(int, self.image_size) and self.image_size >= 1,
            "camera": _is(int, self.camera) and self.camera >= 0,
            "fovy": self.fovy is None or (_is((int, float), self.fovy) and 0 < self.fovy < 180),
            "free_camera": free is None
            or (_is(tuple, free) and len(free) == 6 and all(_is((int, float), x) for x in free)),
            "see_through": _is(tuple, seen) and all(_is(str, x) for x in seen),
            "render_quality": self.render_quality in ("fast", "full"),
        }
        for name, fit in fits.items():
            if not fit:
                value = getattr(self, name)
                raise ValueError(f"{name} must be {_EXPECTED[name]}, got {value!r}")

    def recorded(self) -> dict[str, Any]:
        """What a bundle keeps of it, as JSON has it; what only some views have where they do."""
        record = asdict(self)
        rare = {name: record.pop(name) for name in ("free_camera", "see_through")}
        return record | {name: list(value) for name, value in rare.items() if value}


@dataclass(frozen=True)
class DMCTask:
    """One DeepMind Control task."""

    domain: str
    task: str
    expert_return: float
    oracle_return: float | None
    """None: there is no expert"""
    view: View = View()
    action_repeat: int = 2
    episodes: int = 220
    """training episodes, by default"""
    episode_steps: int | None = None
    """longest training episode: short where each one draws its own goal, which many short
    episodes cover better than few long ones; None leaves them at 200 to 450 steps"""


DMC_TASKS: dict[str, DMCTask] = {
    # The default field of view (45 degrees) crops the rail: the cart can leave the picture.
    "cartpole_swingup": DMCTask("cartpole", "swingup", 862, 855, View(fovy=64.0), episodes=300),
    "cheetah_run": DMCTask("cheetah", "run", 919, 857, episodes=140),
    "cup_catch": DMCTask("ball_in_cup", "catch", 974, 965, View(fovy=60.0)),
    "reacher_easy": DMCTask("reacher", "easy", 990, 983, episodes=900, episode_steps=50),
    "cartpole_balance": DMCTask("cartpole", "balance", 997, 997, View(fovy=64.0)),
    "finger_spin": DMCTask("finger", "spin", 983, 948),
    "finger_turn_hard": DMCTask("finger", "turn_hard", 986, 961, episodes=600, episode_steps=60),
    "hopper_stand": DMCTask("hopper", "stand", 956, 924, episodes=110),
    "pendulum_swingup": DMCTask("pendulum", "swingup", 940, 837),
    # The target encloses the mass that has reached it: opaque, it would make "solved" and "nothing
    # in view" one picture.
    "pointmass_easy": DMCTask(
        "point_mass", "easy", 937, 885, View(see_through=("target",)), episode_steps=120
    ),
    "pointmass_hard": DMCTask(
        "point_mass", "hard", 898, 863, View(see_through=("target",)), episode_steps=120
    ),
    "reacher_hard": DMCTask("reacher", "hard", 981, 979, episodes=900, episode_steps=50),
    "walker_walk": DMCTask("walker", "walk", 751, 944, episodes=160),
    "acrobot_swingup": DMCTask("acrobot", "swingup", 731, None),
    "manipulator_bring_ball": DMCTask("manipulator", "bring_ball", 242, None),
    # the camera of the paper's videos
    "quadruped_run": DMCTask("quadruped", "run", 951, None, View(camera=2)),
    "quadruped_walk": DMCTask("quadruped", "walk", 975, None, View(camera=2)),
}


def dmc_task(name: str) -> DMCTask:
    """Look a task up by the name used in ids (`cartpole_swingup`).

    Raises:
        UnknownTask: naming the known tasks.
    """
    if name not in DMC_TASKS:
        raise UnknownTask(f"unknown dmc task '{name}'; known: {', '.join(sorted(DMC_TASKS))}")
    return DMC_TASKS[name]

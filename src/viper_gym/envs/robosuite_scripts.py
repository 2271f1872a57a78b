"""Scripted experts of the robosuite tasks, the same for every arm.

A script is a list of waypoints for the hand. It reads robosuite's own observation, because
positions of hand and objects are what it is written in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

GAIN = 14.0  # of the fastest motion, a metre off
OPEN, CLOSED = -1.0, 1.0

Seen = dict[str, np.ndarray]
Where = Callable[[Seen], np.ndarray]


@dataclass(frozen=True)
class Waypoint:
    """Where the hand goes, until it is there or has tried long enough."""

    target: Where
    """metres (3,), of what is seen"""
    grip: float
    near: float
    """metres from the target that are near enough"""
    least: int
    """control steps that it takes in any case"""
    most: int


class RobosuiteScript:
    """Plays the waypoints of a task: state -> action (7,) in [-1, 1].

    Args:
        task: robosuite's name: "Lift", "Stack" or "Door".
        env: the environment it plays in, whose `seen` it reads.
    """

    def __init__(self, task: str, env: Any):
        self._plan, self._env = _PLANS[task], env

    def reset(self, rng: np.random.Generator) -> None:
        """Plan anew from what is seen at the first action."""
        self._waypoints: list[Waypoint] = []

    def __call__(self, state: np.ndarray) -> np.ndarray:
        seen = self._env.seen
        if not self._waypoints:
            self._waypoints, self._at, self._steps = self._plan(seen), 0, 0
        now = self._waypoints[self._at]
        error = now.target(seen) - seen["robot0_eef_pos"]
        action = np.zeros(self._env.action_space.shape)
        action[:3], action[-1] = np.clip(GAIN * error, -1, 1), now.grip
        self._steps += self._env.action_repeat
        there = np.linalg.norm(error) < now.near and self._steps >= now.least
        if (there or self._steps >= now.most) and self._at < len(self._waypoints) - 1:
            self._at, self._steps = self._at + 1, 0
        return action


def _up(metres: float) -> np.ndarray:
    return np.array([0.0, 0.0, metres])


class _Grasped:
    """Where an object was when it was last looked at: once held, it moves with the hand."""

    def __init__(self, key: str):
        self._key, self._last = key, np.zeros(3)

    def look(self, seen: Seen) -> np.ndarray:
        self._last = seen[self._key].copy()
        return self._last

    def above(self, metres: float) -> Where:
        return lambda seen: self._last + _up(metres)


def _grasp(key: str) -> tuple[list[Waypoint], _Grasped]:
    held = _Grasped(key)
    return [
        Waypoint(lambda seen: seen[key] + _up(0.08), OPEN, 0.012, 3, 150),
        Waypoint(held.look, OPEN, 0.01, 3, 60),
        Waypoint(held.above(0.0), CLOSED, 0.0, 10, 10),
    ], held


def _lift(seen: Seen) -> list[Waypoint]:
    grasp, held = _grasp("cube_pos")
    return [*grasp, Waypoint(held.above(0.2), CLOSED, 0.01, 1, STAY)]


def _stack(seen: Seen) -> list[Waypoint]:
    grasp, held = _grasp("cubeA_pos")

    def over(metres: float) -> Where:  # the hand, such that the cube it holds is over the other
        def target(seen: Seen) -> np.ndarray:
            slip = seen["robot0_eef_pos"] - seen["cubeA_pos"]
            return seen["cubeB_pos"] + slip + _up(metres)

        return target

    return [
        *grasp,
        Waypoint(held.above(0.15), CLOSED, 0.02, 1, 40),
        Waypoint(over(0.12), CLOSED, 0.01, 3, 60),
        Waypoint(over(0.052), CLOSED, 0.006, 3, 40),
        Waypoint(lambda seen: seen["robot0_eef_pos"], OPEN, 1.0, 8, 8),
        Waypoint(lambda seen: seen["cubeB_pos"] + _up(0.2), OPEN, 0.02, 1, STAY),
    ]


def _door(seen: Seen) -> list[Waypoint]:
    handle = seen["handle_pos"].copy()  # before it moves
    before = handle + np.array([0.0, 0.02, 0.12])

    def pull(seen: Seen) -> np.ndarray:  # along the arc that the handle describes
        inward = np.array([0.03 * float(np.ravel(seen["hinge_qpos"])[0]), 0.0, 0.0])
        return seen["handle_pos"] + np.array([0.0, 0.09, 0.0]) - inward

    return [
        Waypoint(lambda seen: before, OPEN, 0.012, 3, 90),
        Waypoint(lambda seen: handle, OPEN, 0.012, 10, 25),
        Waypoint(lambda seen: handle, CLOSED, 1.0, 8, 8),
        Waypoint(pull, CLOSED, 0.0, 1, STAY),
    ]


STAY = 10**6  # control steps: to the end of the episode
_PLANS: dict[str, Callable[[Seen], list[Waypoint]]] = {
    "Lift": _lift,
    "Stack": _stack,
    "Door": _door,
}

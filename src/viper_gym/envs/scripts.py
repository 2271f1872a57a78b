"""Experts of dmc tasks that a few lines of control solve as well as learning does.

A script has one more merit: it comes to rest. A policy trained on the reward alone pays
nothing for trembling on its target, and no video model can predict that
(docs/decisions.md, "What the rank correlation is made of").
"""

from __future__ import annotations

from typing import Any

import numpy as np


class PointMassScript:
    """Proportional-derivative law towards the centre, through the task's own actuators.

    The hard task turns each episode's actuators into other directions, which no picture shows;
    the script reads them from the simulator.

    State: position (2,), velocity (2,); metres and seconds.
    """

    STIFFNESS, DAMPING = 20.0, 4.0  # of the largest force, a metre and a metre a second

    def __init__(self, physics: Any):
        self._physics = physics

    def reset(self, rng: np.random.Generator) -> None:
        """Nothing to reset: the script is a function of the state."""

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """State (4,) -> action (2,) in [-1, 1]."""
        directions = self._physics.model.wrap_prm[:4].reshape(2, 2)  # (actuator, axis)
        force = -self.STIFFNESS * state[:2] - self.DAMPING * state[2:4]
        action = np.linalg.solve(directions.T, force)
        return action / max(1.0, float(np.abs(action).max()))  # as strong as it can, straight


class PendulumScript:
    """Pump energy with full torque, then balance.

    State: cosine and sine of the angle from upright, angular velocity (radians a second).
    """

    INERTIA, WEIGHT = 0.251, 4.905  # kg m^2 about the hinge; N m held out sideways
    SPARE = 0.2  # joules above rest at the top: friction takes some of it
    STIFFNESS, DAMPING = 14.0, 2.0  # N m a radian, and a radian a second
    CATCH_ANGLE, CATCH_TORQUE = 0.7, 3.0  # radians; N m that balancing may ask for (it gets 1)

    def reset(self, rng: np.random.Generator) -> None:
        """Nothing to reset: the script is a function of the state."""

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """State (3,) -> action (1,) in [-1, 1]."""
        cosine, sine, velocity = (float(s) for s in state)
        angle = np.arctan2(sine, cosine)
        balance = -self.STIFFNESS * angle - self.DAMPING * velocity
        if abs(angle) < self.CATCH_ANGLE and abs(balance) < self.CATCH_TORQUE:
            return np.clip([balance], -1, 1)
        energy = 0.5 * self.INERTIA * velocity**2 + self.WEIGHT * (cosine - 1)
        pump = 1.0 if velocity >= 0 else -1.0
        if energy < self.SPARE:
            return np.array([pump])
        return np.array([-pump * min(1.0, 2 * (energy - self.SPARE))])


class ReacherScript:
    """Inverse kinematics and a proportional-derivative law on the two joints.

    Of the two poses that reach the target it takes the one that is nearer now.

    State: joint angles (2,), target minus finger in the arm's plane (2,), joint velocities (2,).
    """

    LINK = 0.12  # metres, both links
    STIFFNESS, DAMPING = 2.0, 0.1  # of the largest torque, a radian and a radian a second; weaker
    # ones creep the last way, which a video model cannot tell from rest

    def reset(self, rng: np.random.Generator) -> None:
        """Nothing to reset: the script is a function of the state."""

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """State (6,) -> action (2,) in [-1, 1]."""
        shoulder, elbow = state[0], state[0] + state[1]
        finger = self.LINK * np.array(
            [np.cos(shoulder) + np.cos(elbow), np.sin(shoulder) + np.sin(elbow)]
        )
        turns = [pose - state[:2] for pose in self._poses(finger + state[2:4])]
        for turn in turns:  # the shoulder goes the short way round, the elbow cannot go round
            turn[0] = (turn[0] + np.pi) % (2 * np.pi) - np.pi
        turn = min(turns, key=lambda t: np.abs(t).max())
        return np.clip(self.STIFFNESS * turn - self.DAMPING * state[4:6], -1, 1)

    def _poses(self, target: np.ndarray) -> list[np.ndarray]:
        """Both pairs of joint angles that bring the finger to (x, y), or nearest to it."""
        square = 2 * self.LINK**2
        bend = np.arccos(np.clip((target @ target - square) / square, -1, 1))
        direction = np.arctan2(target[1], target[0])
        return [
            np.array([direction - np.arctan2(np.sin(b), 1 + np.cos(b)), b]) for b in (bend, -bend)
        ]

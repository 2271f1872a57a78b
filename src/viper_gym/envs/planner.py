"""An expert that plans: it plays a few dozen futures in MuJoCo and begins the best of them.

Predictive sampling (Howell et al. 2022, "Predictive Sampling: Real-time Behaviour Synthesis with
MuJoCo"): the plan of the step before, moved on by a step, and noisy copies of it are played from
the present state; the best becomes the plan. No learning, for tasks where that takes hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from viper_gym.envs.dmc import DMCEnv
from viper_gym.optional import require

Objective = Callable[[Any], float]
"""Value of a moment, of an MjData whose positions (also of bodies and sites) and velocities count.
Denser than a task's reward, which may be 0 everywhere an untrained hand gets to."""


@dataclass(frozen=True)
class Plan:
    """What a task's expert aims at, and how far and widely it looks."""

    objective: Callable[[Any], Objective]
    """of the dm_control model"""
    futures: int = 32
    horizon: int = 20
    """environment steps of a future"""
    knots: int = 5
    """points between which a future's noise is interpolated"""
    spreads: tuple[float, ...] = (0.1, 0.3, 0.8)
    """standard deviations of that noise, each future's drawn from these"""
    action_cost: float = 0.0
    """of the mean squared action, a step: experts at rest where rest is good"""


def _turn(model: Any) -> Objective:
    tip, target = model.name2id("tip", "site"), model.name2id("target", "site")

    def value(data: Any) -> float:
        gap = np.linalg.norm(data.site_xpos[tip] - data.site_xpos[target])
        outside = float(gap) - model.site_size[target, 0]  # metres
        return float(outside <= 0) - 2 * max(0.0, outside)

    return value


def _stand(model: Any) -> Objective:
    torso, foot = model.name2id("torso", "body"), model.name2id("foot", "body")
    tall = 0.6  # metres from foot to torso that the task asks for

    def value(data: Any) -> float:
        aside, _, height = data.xipos[torso] - data.xipos[foot]  # over its foot it stays up
        lean = 1.0 - data.xmat[torso, 8]  # 1 - cosine of the angle from upright
        moving = float(np.abs(data.qvel).mean())
        high = float(height >= tall) + 2 * min(height, 0.7)
        return float(high - abs(aside) - 0.3 * lean - 0.02 * moving)

    return value


PLANS = {
    "finger_turn_hard": Plan(_turn, action_cost=0.01),
    # wide noise, because one that has fallen must throw itself up
    "hopper_stand": Plan(_stand, futures=48, horizon=30, knots=6, spreads=(0.1, 0.4, 1.0, 2.0)),
}


class Planner:
    """Policy of one environment, planned in a copy of its state at every step.

    Args:
        env: the environment it will be played in.
        plan: what it aims at.

    Raises:
        DependencyNotInstalled: mujoco is missing.
    """

    def __init__(self, env: DMCEnv, plan: Plan):
        self._mujoco = require("mujoco", extra="dmc")
        self._rollout = require("mujoco.rollout", extra="dmc").rollout
        self._env, self._config = env, plan
        self._model = env.physics.model.ptr
        self._value = plan.objective(env.physics.model)
        self._data = self._mujoco.MjData(self._model)
        self._size = int(env.action_space.shape[0])

    def reset(self, rng: np.random.Generator) -> None:
        """A new episode: no plan yet."""
        self._rng = rng
        self._plan = np.zeros((self._config.horizon, self._size))

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """The simulator's own state is used, `state` is not looked at -> action (A,)."""
        futures = self._futures()
        values = self._play(futures)
        values -= self._config.action_cost * (futures**2).mean(-1).sum(-1)
        best = futures[int(values.argmax())]
        # what lies beyond the horizon is not known: half of the last action, towards rest
        self._plan = np.concatenate([best[1:], 0.5 * best[-1:]])
        return best[0]

    def _futures(self) -> np.ndarray:
        """Actions (futures, horizon, A) in [-1, 1]: the plan, rest, half the plan, noisy ones."""
        c, rng = self._config, self._rng
        spread = rng.choice(c.spreads, (c.futures, 1, 1))
        knots = spread * rng.standard_normal((c.futures, c.knots, self._size))
        at = np.linspace(0, c.knots - 1, c.horizon)  # in knots
        before = np.minimum(at.astype(int), c.knots - 2)
        share = (at - before)[:, None]
        noise = (1 - share) * knots[:, before] + share * knots[:, before + 1]
        futures = np.clip(self._plan + noise, -1.0, 1.0)
        futures[0], futures[1], futures[2] = self._plan, 0.0, 0.5 * self._plan
        return futures

    def _play(self, futures: np.ndarray) -> np.ndarray:
        """Sum of the objective over the steps of each future: (futures,)."""
        mujoco, kind = self._mujoco, self._mujoco.mjtState.mjSTATE_FULLPHYSICS
        now = np.empty(mujoco.mj_stateSize(self._model, kind))
        mujoco.mj_getState(self._model, self._env.physics.data.ptr, now, kind)
        steps = self._env.simulator_steps
        controls = self._env.to_controls(futures).repeat(steps, 1)  # (futures, horizon * steps, A)
        start, values = now[None].repeat(len(futures), 0), np.zeros(len(futures))
        states, _ = self._rollout(self._model, self._data, start, controls)
        q, v = self._model.nq, self._model.nv  # a state is: time, positions, velocities, …
        for i, future in enumerate(states[:, steps - 1 :: steps, 1:]):
            for moment in future:
                self._data.qpos[:], self._data.qvel[:] = moment[:q], moment[q : q + v]
                mujoco.mj_kinematics(self._model, self._data)
                values[i] += self._value(self._data)
        return values

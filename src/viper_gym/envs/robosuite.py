"""robosuite tasks, each with two arms, as Gymnasium environments with fast 64x64 frames.

The suite of the cross-embodiment experiment (paper section 4.3): scene, camera, actions and expert
are the same for both arms, so that only the arm differs. A task here is an arm and what it does:
"panda_door". robosuite wants an older mujoco and numpy than the other suites, hence an environment
of its own (`make test-robosuite` makes it).
"""

from __future__ import annotations

import logging
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from viper_gym.envs.drawn_env import DrawnEnv
from viper_gym.envs.gl import configure_headless_gl, require_simulator
from viper_gym.envs.mujoco_view import SceneRenderer, nothing_but_the_table
from viper_gym.envs.tasks import View
from viper_gym.envs.version_pairs import names_bad_versions
from viper_gym.errors import UnknownTask

STEPS = 200  # control steps of 1/20 s; the scripts need 40 to 140
RATE = 20  # Hz
COLLISION = 0  # group of the shapes for collisions, which hide the arm
# Arm, hand and object are in view for both arms; robosuite's own cameras show little of the arm.
VIEW = View(free_camera=(-0.15, 0.0, 1.0, 1.35, 140.0, -25.0))


@dataclass(frozen=True)
class RobosuiteTask:
    """One arm at one task, by robosuite's names; and how often our script succeeds.

    Of 20 episodes (`viper-gym tasks --suite robosuite --measure 20`).
    """

    robot: str
    name: str
    success: float
    view: View = VIEW
    action_repeat: int = 1


ROBOSUITE_TASKS: dict[str, RobosuiteTask] = {
    "panda_lift": RobosuiteTask("Panda", "Lift", 1.0),
    "panda_stack": RobosuiteTask("Panda", "Stack", 0.95),
    "panda_door": RobosuiteTask("Panda", "Door", 1.0),
    "sawyer_lift": RobosuiteTask("Sawyer", "Lift", 1.0),
    "sawyer_stack": RobosuiteTask("Sawyer", "Stack", 0.9),
    "sawyer_door": RobosuiteTask("Sawyer", "Door", 1.0),
}


def robosuite_task(name: str) -> RobosuiteTask:
    """Look a task up by the name used in ids (`panda_lift`).

    Raises:
        UnknownTask: naming the known tasks.
    """
    if name not in ROBOSUITE_TASKS:
        known = ", ".join(sorted(ROBOSUITE_TASKS))
        raise UnknownTask(f"unknown robosuite task '{name}'; known: {known}")
    return ROBOSUITE_TASKS[name]


class RobosuiteEnv(DrawnEnv):
    """One arm at one task. Actions are the hand's motion, rotation and grip, each in [-1, 1].

    Observations are uint8 pixels (H, W, 3) or the float32 state; `render()` always returns the
    pixels of `view`. Rewards are robosuite's sparse ones: 1 a control step while it is solved.
    Episodes never terminate: they are cut after `STEPS` control steps, and `info["success"]` says
    how it stands.

    Args:
        task: name in `ROBOSUITE_TASKS`, e.g. "panda_door".
        observation: "pixels" or "state".
        view: camera and size; the task's own by default.
        render_quality: shorthand that replaces `view.render_quality` ("fast" or "full").
        action_repeat: control steps an action is held; the task's own by default.

    Raises:
        UnknownTask: no such task.
        DependencyNotInstalled: robosuite is missing.
        RenderingUnavailable: no OpenGL backend works (said here or at the first frame).
    """

    def __init__(
        self,
        task: str,
        observation: Literal["pixels", "state"] = "pixels",
        view: View | None = None,
        render_quality: str | None = None,
        action_repeat: int | None = None,
        render_mode: str | None = "rgb_array",
    ):
        spec = robosuite_task(task)
        super().__init__(task, spec, observation, view, render_quality, action_repeat, render_mode)
        configure_headless_gl()
        with names_bad_versions("robosuite"):
            self._env = _make(spec)
        self._steps = 0
        self.seen: dict[str, np.ndarray] = self._env.reset()
        """robosuite's own observation, which scripts act on"""
        self._renderer = SceneRenderer(
            self._env.sim.model._model, self.view, hidden_groups=(COLLISION,)
        )
        width = int(self._env.action_dim)
        self.action_space: gym.spaces.Box = gym.spaces.Box(-1.0, 1.0, (width,), np.float32)
        self.observation_space = self._observation_space(len(self.state()))
        fps = max(1, round(RATE / self.action_repeat))
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        # robosuite takes no seed at reset; all of its samplers share this generator
        seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self._env.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
        self.seen = self._env.reset()
        self._steps = 0
        return self._observe(), {"success": 0.0}

    def step(self, action: np.ndarray):
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        reward, success = 0.0, 0.0
        for _ in range(self.action_repeat):
            self.seen, _, _, _ = self._env.step(action)
            solved = float(self._env._check_success())
            reward, success = reward + solved, max(success, solved)
            self._steps += 1
            if self._steps == STEPS:
                break
        over = self._steps >= STEPS
        return self._observe(), reward, False, over, {"success": success}

    def state(self) -> np.ndarray:
        """Joints, hand and objects: float32 (n,)."""
        parts = [self.seen["robot0_proprio-state"], self.seen["object-state"]]
        return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)

    def render(self) -> np.ndarray:
        """uint8 (H, W, 3), a fresh array."""
        sim = self._env.sim
        return self._renderer.frame(sim.model._model, sim.data._data)

    def nothing_in_view(self) -> AbstractContextManager[None]:
        """Inside, frames show the table without arm and objects."""
        return nothing_but_the_table(self._env.sim.model._model)

    def close(self) -> None:
        self._renderer.close()
        self._env.close()


def _make(spec: RobosuiteTask) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        robosuite = require_simulator("robosuite", extra="robosuite", apart=True)
        # it warns of every part that an arm does not have
        logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
        controller = robosuite.load_composite_controller_config(
            controller="BASIC", robot=spec.robot
        )
        options = {"use_latch": False} if spec.name == "Door" else {}
        return robosuite.make(
            spec.name,
            robots=spec.robot,
            controller_configs=controller,
            has_renderer=False,
            has_offscreen_renderer=False,  # ours leaves out what is slow
            use_camera_obs=False,
            control_freq=RATE,
            horizon=STEPS,
            ignore_done=True,  # the limit is ours
            hard_reset=False,  # a new model would cost 0.7 s and a new renderer
            seed=0,  # of what is drawn once, with the model: the size of Lift's cube
            **options,
        )

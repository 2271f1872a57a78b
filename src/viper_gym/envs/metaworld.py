"""Meta-World tasks (Sawyer arm) as Gymnasium environments with fast 64x64 frames.

One environment step is `action_repeat` control steps of 0.0125 s each. Episodes never terminate:
they are cut after `STEPS` steps, and `info["success"]` says how it stands (an episode counts as
solved if it was 1 at any step, as in Meta-World's own evaluation).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
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
from viper_gym.optional import require

STEPS = 200  # environment steps an episode; the scripts need 50 to 200

# From the front left and above: gripper, object and goal are in view in every task, also
# inside the shelf; the cameras that Meta-World ships look past some of them.
VIEW = View(free_camera=(0.0, 0.68, 0.1, 1.25, 145.0, -45.0))


@dataclass(frozen=True)
class MetaWorldTask:
    """One Meta-World task: its name there, and how often its script succeeds.

    Of 20 episodes (`envs.collect.expert_results(task, 20, suite="metaworld")`).
    """

    name: str
    success: float
    view: View = VIEW
    action_repeat: int = 1
    leads: bool = False
    """success needs the point that the hand follows to stay ahead of it: to hold a lever, or where
    hand and target must meet"""


METAWORLD_TASKS: dict[str, MetaWorldTask] = {
    "pick_place": MetaWorldTask("pick-place-v3", 1.0),
    "coffee_pull": MetaWorldTask("coffee-pull-v3", 1.0),
    "bin_picking": MetaWorldTask("bin-picking-v3", 0.95),
    "shelf_place": MetaWorldTask("shelf-place-v3", 0.9),
    "disassemble": MetaWorldTask("disassemble-v3", 0.95),
    "peg_unplug_side": MetaWorldTask("peg-unplug-side-v3", 1.0),
    # with peg_unplug_side, the tasks that diffusion_reward published models for (Huang et al. 2024)
    "assembly": MetaWorldTask("assembly-v3", 1.0),
    "coffee_push": MetaWorldTask("coffee-push-v3", 1.0),
    "dial_turn": MetaWorldTask("dial-turn-v3", 1.0),
    "door_close": MetaWorldTask("door-close-v3", 1.0),
    "lever_pull": MetaWorldTask("lever-pull-v3", 1.0, leads=True),
    "reach": MetaWorldTask("reach-v3", 1.0, leads=True),
    # what moves is large, and in the way of a hand that is where experts end
    "button_press_topdown": MetaWorldTask("button-press-topdown-v3", 1.0),
    "drawer_close": MetaWorldTask("drawer-close-v3", 1.0),
    "drawer_open": MetaWorldTask("drawer-open-v3", 1.0),
    # in the third bundle's videos, which ranks them too badly to serve them
    "handle_press": MetaWorldTask("handle-press-v3", 1.0),
    "window_close": MetaWorldTask("window-close-v3", 1.0),
}


def metaworld_task(name: str) -> MetaWorldTask:
    """Look a task up by the name used in ids (`pick_place`).

    Raises:
        UnknownTask: naming the known tasks.
    """
    if name not in METAWORLD_TASKS:
        known = ", ".join(sorted(METAWORLD_TASKS))
        raise UnknownTask(f"unknown metaworld task '{name}'; known: {known}")
    return METAWORLD_TASKS[name]


class MetaWorldEnv(DrawnEnv):
    """One Meta-World task; object and goal are drawn anew at every reset.

    Observations are uint8 pixels (H, W, 3) or the float32 state (39,) with the goal in it;
    `render()` always returns the pixels of `view`. Rewards are Meta-World's dense ones, at most 10
    a control step.

    Args:
        task: name in `METAWORLD_TASKS`, e.g. "pick_place".
        observation: "pixels" or "state".
        view: camera and size; the task's own by default.
        render_quality: shorthand that replaces `view.render_quality` ("fast" or "full").
        action_repeat: control steps an action is held; the task's own by default.

    Raises:
        UnknownTask: no such task.
        DependencyNotInstalled: metaworld is missing.
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
        spec = metaworld_task(task)
        super().__init__(task, spec, observation, view, render_quality, action_repeat, render_mode)
        configure_headless_gl()
        environments = require_simulator("metaworld.env_dict", extra="metaworld")
        with names_bad_versions("metaworld"):
            self._env = environments.ALL_V3_ENVIRONMENTS[spec.name]()
        self._show_goal()
        self._steps = 0
        self._renderer = SceneRenderer(self._env.model, self.view)
        self.action_space: gym.spaces.Box = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.observation_space = self._observation_space(39)
        fps = max(1, round(1.0 / (self._env.dt * self.action_repeat)))
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}

    def _show_goal(self) -> None:
        """Draw object and goal at every reset, and let the state say where the goal is."""
        env = self._env
        env._freeze_rand_vec, env.seeded_rand_vec = False, True
        env._set_task_called, env._partially_observable = True, False
        env.__dict__.pop("sawyer_observation_space", None)  # cached from before; it hides the goal

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        if seed is not None:
            self._env.seed(seed)
        elif self._env._np_random is None:
            self._env.seed(int(self.np_random.integers(2**31)))
        with names_bad_versions("metaworld"):
            self._state, _ = self._env.reset()
        self._steps = 0
        return self._observe(), {"success": 0.0}

    def step(self, action: np.ndarray):
        action = np.clip(np.asarray(action, np.float32), -1.0, 1.0)
        reward, success = 0.0, 0.0
        for _ in range(self.action_repeat):
            self._env.curr_path_length = 0  # the limit is ours
            self._state, value, _, _, info = self._env.step(action)
            self._steps += 1
            reward, success = reward + float(value), max(success, float(info["success"]))
            if self._steps == STEPS:
                break
        over = self._steps >= STEPS
        return self._observe(), reward, False, over, {"success": success}

    def state(self) -> np.ndarray:
        """Gripper, objects, those of the step before, and the goal: float32 (39,)."""
        return self._state.astype(np.float32)

    def target_lead(self) -> np.ndarray:
        """How far the point that actions move is ahead of the hand behind it: (3,), meters."""
        return self._env.data.mocap_pos[0] - self._env.get_endeff_pos()

    def render(self) -> np.ndarray:
        """uint8 (H, W, 3), a fresh array."""
        frame = self._renderer.frame(self._env.model, self._env.data)
        if self.view.free_camera is not None:
            return frame
        up = self._env.data.cam_xmat[self.view.camera].reshape(3, 3)[2, 1]
        return frame[::-1, ::-1].copy() if up < 0 else frame  # its own cameras are upside down

    def nothing_in_view(self) -> AbstractContextManager[None]:
        """Inside, frames show the table without arm and objects."""
        return nothing_but_the_table(self._env.model)

    def close(self) -> None:
        self._renderer.close()
        self._env.close()


def hold_pose(env: MetaWorldEnv, action: np.ndarray, step: int) -> np.ndarray:
    """Bring the arm to rest where it is, the gripper as the action before (4,) had it.

    The hand follows a target that actions move, up to 12 cm behind it, and glides on for some
    60 steps where they merely stop. So the first at rest bring the target back to the hand.
    The rest are zero: to go on so would let the arm sink, which hangs a little below its target.
    Where success is lost so (`MetaWorldTask.leads`) the arm glides on.
    """
    repeat = env.action_repeat
    leads = step * repeat >= 4 or metaworld_task(env.task).leads
    back = np.zeros(3) if leads else env.target_lead()
    moves = np.clip(-back * 100 / repeat, -1, 1)  # 1 cm a control step
    return np.array([*moves, action[3]], np.float32)


class ScriptedExpert:
    """Meta-World's own script for a task: state (39,) -> action (4,) in [-1, 1].

    Raises:
        UnknownTask: no such task.
        DependencyNotInstalled: metaworld is missing.
    """

    def __init__(self, task: str):
        spec = metaworld_task(task)
        scripts = require("metaworld.policies", extra="metaworld")
        self._make: Callable[[], Any] = scripts.ENV_POLICY_MAP[spec.name]

    def reset(self, rng: np.random.Generator) -> None:
        self._script = self._make()

    def __call__(self, state: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():  # some scripts ask for more than the arm can do
            warnings.simplefilter("ignore")
            action = self._script.get_action(state.astype(np.float64))
        return np.clip(action, -1.0, 1.0)

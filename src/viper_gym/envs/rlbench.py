"""RLBench tasks (CoppeliaSim) as Gymnasium environments. Never run against CoppeliaSim.

Written against the source of RLBench 1.2.0 (commit 02720bb). What is used of it stands in
`rlbench_contract.json` (`rlbench_installation.py` compares that with an installed RLBench), and
the tests run this adapter on a stand-in of the same signatures.

One environment step is `action_repeat` simulator steps of 0.05 s. Actions: seven joint velocities
and the gripper (above 0 is open), all in -1…1.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from viper_gym.data.episodes import Episode
from viper_gym.envs.drawn_env import DrawnEnv
from viper_gym.envs.rlbench_installation import check_simulator
from viper_gym.envs.tasks import View
from viper_gym.errors import SimulatorUnavailable, UnknownTask

# Drawn as RLBench draws the demonstrations that it saves.
VIEW = View(render_quality="full")


@dataclass(frozen=True)
class RLBenchTask:
    """How an RLBench task is seen: by the front camera."""

    view: View = VIEW
    action_repeat: int = 4


# the paper's six
RLBENCH_TASKS = dict.fromkeys(
    (
        "phone_on_base",
        "pick_and_lift",
        "pick_up_cup",
        "put_rubbish_in_bin",
        "take_lid_off_saucepan",
        "take_umbrella_out_of_umbrella_stand",
    ),
    RLBenchTask(),
)
ROBOTS = ("panda", "sawyer")
RENDER_MODES = {"fast": "OPENGL", "full": "OPENGL3"}  # of PyRep
STEPS = 400  # simulator steps an episode, of 0.05 s
RESET_ATTEMPTS = 5


class RLBenchEnv(DrawnEnv):
    """One RLBench task; success ends the episode.

    Args:
        task: one of `RLBENCH_TASKS`, or the name of any other task file of RLBench.
        observation: "pixels", uint8 (H, W, 3), or "state", float32: joints, gripper, task.
        view: size and quality; the camera is the front one.
        render_quality: shorthand that replaces `view.render_quality`; "fast" leaves out shadows.
        action_repeat: simulator steps an action is held; success stops them.
        robot: "panda" or "sawyer".
        headless: without CoppeliaSim's own window.

    Raises:
        SimulatorUnavailable: a part of the simulator is missing.
        UnknownTask: no such task in the installed RLBench.
        ValueError: another robot, kind of observation or render quality.
    """

    _running: str | None = None
    """the task that this process has open"""

    def __init__(
        self,
        task: str,
        observation: Literal["pixels", "state"] = "pixels",
        view: View | None = None,
        render_quality: str | None = None,
        action_repeat: int | None = None,
        render_mode: str | None = "rgb_array",
        robot: str = "panda",
        headless: bool = True,
    ):
        spec = RLBENCH_TASKS.get(task, RLBenchTask())
        super().__init__(task, spec, observation, view, render_quality, action_repeat, render_mode)
        if robot not in ROBOTS:
            raise ValueError(f"robot must be one of {', '.join(ROBOTS)}, got {robot!r}")
        check_simulator()
        self.robot = robot
        if RLBenchEnv._running is not None:
            raise SimulatorUnavailable(
                f"RLBench runs one simulator a process, and '{RLBenchEnv._running}' is open: "
                "close it first, or use processes (gym.make_vec(…, asynchronous=True))"
            )
        task_class = _task_class(task)
        self._errors = importlib.import_module("rlbench.backend.exceptions")
        self._simulator, self._arm = _environment(self.view, robot, headless)
        RLBenchEnv._running, self._open = task, True
        try:
            self._simulator.launch()
            self._task = self._simulator.get_task(task_class)
            _, self._last = self._reset_task(None)
        except BaseException:
            self.close()
            raise
        fps = max(1, round(20 / self.action_repeat))
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}
        self.action_space = gym.spaces.Box(-1.0, 1.0, (8,), np.float32)
        self.observation_space = self._observation_space(len(self.state()))
        self._steps, self._needs_reset = 0, True

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What a bundle records about the frames of this environment."""
        return {**super().preprocessing, "camera": "front", "robot": self.robot}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Place the task anew.

        Raises:
            TaskEnvironmentError: RLBench could not place it, `RESET_ATTEMPTS` times.
        """
        super().reset(seed=seed)
        descriptions, self._last = self._reset_task(int(self.np_random.integers(2**31)))
        self._steps, self._needs_reset = 0, False
        return self._observe(), {"success": 0.0, "descriptions": descriptions}

    def step(self, action: np.ndarray):
        """Hold an action.

        Raises:
            ResetNeeded: no `reset` since the start or the last demonstration.
            ValueError: an action of another shape than (8,).
        """
        if self._needs_reset:
            raise gym.error.ResetNeeded("call reset() before step()")
        action = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        if action.shape != (8,):
            raise ValueError(f"expected an action of shape (8,), got {action.shape}")
        action[-1] = float(action[-1] > 0)  # RLBench: 1 is open
        reward, terminated = 0.0, False
        for _ in range(self.action_repeat):
            self._last, value, terminated = self._task.step(action)
            self._steps += 1
            reward += float(value)
            if terminated or self._steps == STEPS:
                break
        truncated = not terminated and self._steps == STEPS
        success = {"success": float(reward > 0)}
        return self._observe(), reward, bool(terminated), truncated, success

    def state(self) -> np.ndarray:
        """Joint positions and velocities, gripper, and the task's own numbers: float32 (n,)."""
        o = self._last
        parts = (o.joint_positions, o.joint_velocities, [o.gripper_open], o.gripper_pose)
        own = o.task_low_dim_state
        return np.concatenate([*parts, [] if own is None else own]).astype(np.float32)

    def render(self) -> np.ndarray:
        """uint8 (H, W, 3), a fresh array."""
        return np.asarray(self._last.front_rgb, np.uint8).copy()

    def record_demo(self, seed: int) -> Episode:
        """One demonstration by RLBench's own planner, a frame for every `action_repeat` steps.

        It ends the episode that was being played.

        Raises:
            RuntimeError: the planner failed ten times, or the task could not be placed.
        """
        self._needs_reset = True
        try:
            with _global_seed(seed):
                demo = self._task.get_demos(1, live_demos=True)[0]
        except self._errors.TaskEnvironmentError as error:  # another seed may do
            raise RuntimeError(f"RLBench could not place {self.task}: {error}") from error
        finally:  # RLBench leaves the arm under position control where its planner fails
            self._arm.set_control_mode(self._simulator._robot)
        frames = np.stack([np.asarray(o.front_rgb, np.uint8) for o in demo])
        kept = frames[:: self.action_repeat]
        if (len(frames) - 1) % self.action_repeat:  # success is in the last one
            kept = np.concatenate([kept, frames[-1:]])
        meta = {"task": self.task, "seed": seed, "success": True, **self.preprocessing}
        return Episode(kept, None, meta)

    def close(self) -> None:
        if self._open:  # a second call may come when another environment runs
            RLBenchEnv._running, self._open = None, False
            self._simulator.shutdown()

    def _reset_task(self, seed: int | None) -> tuple[list[str], Any]:
        for attempt in range(RESET_ATTEMPTS):
            try:
                with _global_seed(None if seed is None else seed + attempt):
                    return self._task.reset()
            except self._errors.TaskEnvironmentError:
                if attempt == RESET_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")


@contextmanager
def _global_seed(seed: int | None) -> Iterator[None]:
    """RLBench draws from NumPy's global generator, which belongs to the user's program."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)


def _environment(view: View, robot: str, headless: bool) -> tuple[Any, Any]:
    """RLBench's environment (front camera alone, a gripper that grasps), and its arm's mode."""
    config = importlib.import_module("rlbench.observation_config")
    modes = importlib.import_module("rlbench.action_modes.action_mode")
    arms = importlib.import_module("rlbench.action_modes.arm_action_modes")
    grippers = importlib.import_module("rlbench.action_modes.gripper_action_modes")
    environment = importlib.import_module("rlbench.environment")
    drawing = importlib.import_module("pyrep.const").RenderMode
    observations = config.ObservationConfig(
        front_camera=config.CameraConfig(
            rgb=True, depth=False, point_cloud=False, mask=False,
            image_size=(view.image_size, view.image_size),
            render_mode=getattr(drawing, RENDER_MODES[view.render_quality]),
        ),
        gripper_touch_forces=False,  # the Sawyer's gripper has no such sensors
        task_low_dim_state=True,
    )  # fmt: skip
    for name in ("left_shoulder", "right_shoulder", "overhead", "wrist"):
        getattr(observations, f"{name}_camera").set_all(False)
    # joint positions of the gripper never grasp: three of the six tasks could not be solved
    arm = arms.JointVelocity()
    mode = modes.MoveArmThenGripper(arm_action_mode=arm, gripper_action_mode=grippers.Discrete())
    made = environment.Environment(
        action_mode=mode, obs_config=observations, headless=headless, robot_setup=robot
    )
    return made, arm


def _task_class(task: str) -> Any:
    name = "".join(word[:1].upper() + word[1:] for word in task.split("_"))
    try:
        return getattr(importlib.import_module(f"rlbench.tasks.{task}"), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UnknownTask(
            f"RLBench has no task '{task}'; the paper's: {', '.join(RLBENCH_TASKS)}"
        ) from error

"""DeepMind Control tasks as Gymnasium environments with fast 64x64 frames.

One environment step is `action_repeat` control steps (2, as in the paper's data), so an
episode of 1000 control steps has 500 environment steps and 501 frames.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any, Literal

import gymnasium as gym
import numpy as np

from viper_gym.envs.drawn_env import DrawnEnv
from viper_gym.envs.gl import configure_headless_gl, require_simulator
from viper_gym.envs.mujoco_view import SceneRenderer, bodies_hidden
from viper_gym.envs.tasks import View, dmc_task
from viper_gym.envs.version_pairs import names_bad_versions


class DMCEnv(DrawnEnv):
    """One dm_control task.

    Actions are scaled to [-1, 1]. Observations are uint8 pixels (H, W, 3) or the
    float32 state vector; `render()` always returns the pixels of `view`.

    Args:
        task: name in `envs.tasks.DMC_TASKS`, e.g. "cartpole_swingup".
        observation: "pixels" or "state".
        view: camera and size; the task's own by default.
        render_quality: shorthand that replaces `view.render_quality` ("fast" or "full").
        action_repeat: control steps an action is held; the task's own by default.

    Raises:
        UnknownTask: no such task.
        DependencyNotInstalled: dm_control is missing.
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
        spec = dmc_task(task)
        super().__init__(task, spec, observation, view, render_quality, action_repeat, render_mode)
        configure_headless_gl()
        suite = require_simulator("dm_control.suite", extra="dmc")
        absl_logger = logging.getLogger("absl")
        level = absl_logger.level
        absl_logger.setLevel(logging.ERROR)  # cheetah's XML warns of a deprecation at every load
        with names_bad_versions("dm-control"):
            self._env = suite.load(spec.domain, spec.task)
        absl_logger.setLevel(level)
        self._timestep: Any = None
        self._renderer = SceneRenderer(self._env.physics.model.ptr, self.view)

        action_spec = self._env.action_spec()
        self._low, self._high = action_spec.minimum, action_spec.maximum
        self.action_space: gym.spaces.Box = gym.spaces.Box(-1.0, 1.0, action_spec.shape, np.float32)
        width = sum(int(np.prod(s.shape)) for s in self._env.observation_spec().values())
        self.observation_space = self._observation_space(width)
        fps = max(1, round(1.0 / (self._env.control_timestep() * self.action_repeat)))
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": fps}

    @property
    def physics(self) -> Any:
        """The dm_control physics, for scripted behaviours and tests."""
        return self._env.physics

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        if seed is not None:
            # dm_control has no reset seed; its tasks draw everything from this generator.
            self._env.task._random = np.random.RandomState(seed % 2**32)
        self._timestep = self._env.reset()
        return self._observe(), {}

    @property
    def simulator_steps(self) -> int:
        """Steps of the simulator in one of this environment."""
        control = self._env.control_timestep() / self._env.physics.timestep()
        return round(control) * self.action_repeat

    def to_controls(self, actions: np.ndarray) -> np.ndarray:
        """Actions (…, A), cut to [-1, 1], in the actuators' own units."""
        unit = np.clip(np.asarray(actions, np.float64), -1.0, 1.0)
        return self._low + (unit + 1.0) * 0.5 * (self._high - self._low)

    def step(self, action: np.ndarray):
        action = self.to_controls(action)
        reward = 0.0
        for _ in range(self.action_repeat):
            self._timestep = self._env.step(action)
            reward += float(self._timestep.reward or 0.0)
            if self._timestep.last():
                break
        over = bool(self._timestep.last())
        # discount 0 is dm_control's way to say that the task itself ended
        terminated = over and self._timestep.discount == 0.0
        return self._observe(), reward, terminated, over and not terminated, {}

    def state(self) -> np.ndarray:
        """The task's observation dict, flattened in its own order: float32 (n,)."""
        values = self._timestep.observation.values()
        return np.concatenate([np.ravel(v) for v in values]).astype(np.float32)

    def render(self) -> np.ndarray:
        """uint8 (H, W, 3), a fresh array."""
        physics = self._env.physics
        return self._renderer.frame(physics.model.ptr, physics.data.ptr)

    def nothing_in_view(self) -> AbstractContextManager[None]:
        """Inside, frames show the scene without its bodies, tendons and sites."""
        return bodies_hidden(self._env.physics.model)

    def close(self) -> None:
        self._renderer.close()
        self._env.close()

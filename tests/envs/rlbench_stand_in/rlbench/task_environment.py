from types import SimpleNamespace

import numpy as np

from rlbench.backend.exceptions import TaskEnvironmentError
from rlbench.backend.observation import Observation

FAILURES = []  # resets that go wrong


class TaskEnvironment:
    def __init__(self, task, action_mode, config):
        self._task, self._mode, self._config = task, action_mode, config

    def reset(self, demo=None):
        if FAILURES:
            FAILURES.pop()
            raise TaskEnvironmentError("could not place the task")
        self.scene = SimpleNamespace(
            joints=np.zeros(7), velocities=np.zeros(7), open=True, grasped=False, steps=0,
            height=np.random.uniform(0, 0.1),
        )  # fmt: skip
        return ["pick up the block and lift it"], self._observe()

    def step(self, action):
        self._mode.action(self.scene, action)
        success = self._task.success(self.scene)
        return self._observe(), float(success), success

    def get_demos(
        self,
        amount,
        live_demos=False,
        image_paths=False,
        callable_each_step=None,
        max_attempts=10,
        random_selection=True,
        from_episode_number=0,
    ):
        assert live_demos
        self.position_control = True
        demos = []
        for _ in range(amount):
            observations, over = [self.reset()[1]], False
            while not over:
                seen, _, over = self.step(np.array([1.0, 0, 0, 0, 0, 0, 0, 0.0]))
                observations.append(seen)
            demos.append(observations)
        return demos

    def _observe(self):
        s, camera = self.scene, self._config.front_camera
        picture = np.full((*camera.image_size, 3), s.steps % 256, np.uint8)
        return Observation(
            front_rgb=picture if camera.rgb else None,
            joint_positions=s.joints,
            joint_velocities=s.velocities,
            gripper_open=float(s.open),
            gripper_pose=np.zeros(7),
            task_low_dim_state=np.array(self._task.state(s)),
        )

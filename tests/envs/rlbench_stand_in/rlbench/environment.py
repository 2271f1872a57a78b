from rlbench.observation_config import ObservationConfig
from rlbench.task_environment import TaskEnvironment

MADE = []


class Environment:
    def __init__(
        self,
        action_mode,
        dataset_root="",
        obs_config=None,
        headless=False,
        static_positions=False,
        robot_setup="panda",
        randomize_every=None,
        frequency=1,
        visual_randomization_config=None,
        dynamics_randomization_config=None,
        attach_grasped_objects=True,
        shaped_rewards=False,
        arm_max_velocity=1.0,
        arm_max_acceleration=4.0,
    ):
        self.action_mode, self.obs_config = action_mode, obs_config or ObservationConfig()
        self.headless, self.robot_setup, self.running = headless, robot_setup, False
        MADE.append(self)

    def launch(self):
        assert not any(other.running for other in MADE), "one a process"
        self.running = True

    def shutdown(self):
        self.running = False

    def get_task(self, task_class):
        assert self.running
        self._robot = TaskEnvironment(task_class(), self.action_mode, self.obs_config)
        return self._robot

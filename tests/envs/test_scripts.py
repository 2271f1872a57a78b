"""Scripted experts in the real simulator."""

import numpy as np
import pytest

from viper_gym.envs.collect import expert_results
from viper_gym.envs.dmc import DMCEnv
from viper_gym.envs.scripts import PointMassScript, ReacherScript
from viper_gym.envs.suite import find_suite


@pytest.mark.parametrize(
    ("task", "least"),
    [
        ("pendulum_swingup", 600),  # a start at the bottom costs a third of the episode
        ("pointmass_easy", 800),
        ("pointmass_hard", 750),
        ("reacher_easy", 940),
        ("reacher_hard", 940),
        ("cartpole_balance", 990),  # learned, not scripted
    ],
)
def test_experts_solve_their_tasks_from_any_start(task, least):
    assert min(r.task_return for r in expert_results(task, 3, first_seed=4_000)) > least


def test_the_reachers_poses_put_the_finger_on_the_target():
    env = DMCEnv("reacher_hard", observation="state")
    for seed in range(5):
        env.reset(seed=seed)
        state = env.state()
        finger = env.physics.named.data.geom_xpos["finger", :2]
        for pose in ReacherScript()._poses(finger + state[2:4]):
            env.physics.named.data.qpos["shoulder"], env.physics.named.data.qpos["wrist"] = pose
            env.physics.forward()
            assert np.linalg.norm(env.physics.finger_to_target()) < 1e-3


def test_the_point_mass_goes_straight_whatever_its_actuators_do():
    env = DMCEnv("pointmass_hard", observation="state")
    expert = find_suite("dmc").expert("pointmass_hard", env)
    assert isinstance(expert, PointMassScript)
    for seed in range(5):
        env.reset(seed=seed)
        start = env.state()[:2]
        for _ in range(40):
            env.step(expert(env.state()))
        here = env.state()[:2]
        assert np.linalg.norm(here) < np.linalg.norm(start)
        cosine = here @ start / (np.linalg.norm(here) * np.linalg.norm(start))
        assert cosine > 0.99

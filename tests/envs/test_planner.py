"""Planning experts in the real simulator."""

import numpy as np
import pytest

from viper_gym.envs.dmc import DMCEnv
from viper_gym.envs.planner import PLANS, Planner


@pytest.mark.parametrize("task", PLANS)
def test_futures_are_what_the_environment_then_does(task, rng):
    env = DMCEnv(task, observation="state")
    env.reset(seed=3)
    planner = Planner(env, PLANS[task])
    planner.reset(rng)
    futures = rng.uniform(-1.5, 1.5, (2, 8, *env.action_space.shape))
    before = env.physics.get_state()
    played = planner._play(futures)
    assert np.array_equal(env.physics.get_state(), before)
    import mujoco  # by now MUJOCO_GL is set

    value, total = PLANS[task].objective(env.physics.model), 0.0
    data = mujoco.MjData(env.physics.model.ptr)
    for action in futures[1]:
        env.step(action)
        data.qpos[:], data.qvel[:] = env.physics.data.qpos, env.physics.data.qvel
        mujoco.mj_kinematics(env.physics.model.ptr, data)
        total += value(data)
    assert played[1] == pytest.approx(total, rel=1e-6)


def test_the_hopper_gets_up():
    env = DMCEnv("hopper_stand", observation="state")
    planner = Planner(env, PLANS["hopper_stand"])
    env.reset(seed=900_001)
    planner.reset(np.random.default_rng(0))
    rewards = [env.step(planner(env.state()))[1] for _ in range(60)]
    assert rewards[0] == 0.0 and min(rewards[-10:]) > 1.7  # of 2 a step


def test_a_planner_solves_its_task_and_comes_to_rest():
    env = DMCEnv("finger_turn_hard", observation="state")
    planner = Planner(env, PLANS["finger_turn_hard"])
    runs = []
    for steps in (90, 5):
        env.reset(seed=900_001)
        planner.reset(np.random.default_rng(0))
        runs.append([])
        for _ in range(steps):
            action = planner(env.state())
            runs[-1].append((action, env.step(action)[1]))
    assert sum(reward for _, reward in runs[0][:5]) < 10  # it does not begin there
    assert all(reward == env.action_repeat for _, reward in runs[0][-20:])
    assert max(np.abs(action).max() for action, _ in runs[0][-5:]) < 0.3
    for (a, _), (b, _) in zip(*runs, strict=False):
        assert np.array_equal(a, b)  # the same seed, the same plan

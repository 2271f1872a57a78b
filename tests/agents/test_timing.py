"""Parts of a step are told apart; how long they take is no test."""

import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from viper_gym.agents.drq.agent import DrQ, DrQConfig
from viper_gym.agents.timing import measure_step

SMALL = DrQConfig(
    cnn_features=(4, 4), cnn_strides=(2, 2), hidden=(8,), batch_size=4, updates_per_step=0.5
)


class Slow(gym.Env):
    """Sleeps for as long as its work would take."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self.observation_space = gym.spaces.Box(0, 255, (16, 16, 3), np.uint8)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        time.sleep(self._seconds)
        return self.observation_space.sample(), 0.0, False, False, {}


def envs(seconds):
    return lambda n: SyncVectorEnv(
        [lambda: Slow(seconds)] * n, autoreset_mode=AutoresetMode.NEXT_STEP
    )


def test_rendering_and_reward_are_what_they_add_to_a_step():
    parts = []
    cost = measure_step(
        {"physics": envs(0.0), "pixels": envs(0.01), "reward": envs(0.04)},
        lambda shape, actions: DrQ(shape, actions.size, SMALL),
        num_envs=2,
        seconds=0.2,
        on_part=lambda: parts.append(1),
    )
    assert len(parts) == 3
    assert cost.physics < cost.rendering < cost.reward
    assert cost.rendering > 8 and cost.reward > 25  # milliseconds
    assert cost.updates_per_step == 0.5
    assert cost.learning == pytest.approx(cost.update / 2)
    everything = cost.physics + cost.rendering + cost.reward + cost.acting + cost.learning
    assert cost.total == pytest.approx(everything)
    assert cost.reward_share == pytest.approx(cost.reward / everything)

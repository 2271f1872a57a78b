"""A small environment of pictures: a dot on a line, and it pays to hold it in the middle."""

import gymnasium as gym
import numpy as np

SIZE = 16
STEPS = 25


class Dot(gym.Env):
    """Actions are how far it goes (continuous), or left, stay, right (discrete)."""

    def __init__(self, discrete: bool = False):
        self.observation_space = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.discrete = discrete
        self.action_space = (
            gym.spaces.Discrete(3, start=5)
            if discrete
            else gym.spaces.Box(-2.0, 2.0, (1,), np.float32)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.t = float(self.np_random.choice([0.1, 0.9])), 0
        return self._picture(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        push = 2.0 * (action - 6) if self.discrete else action[0]
        self.x, self.t = float(np.clip(self.x + 0.05 * push, 0, 1)), self.t + 1
        return self._picture(), 1 - 2 * abs(self.x - 0.5), False, self.t == STEPS, {}

    def _picture(self):
        frame = np.zeros((SIZE, SIZE, 3), np.uint8)
        column = round(self.x * (SIZE - 3))
        frame[6:10, column : column + 3] = 255
        return frame


class Solved(Dot):
    """Tells in info, by this name, that it is solved at one step of an episode."""

    def __init__(self, when: int, yes: object = True, no: object = False, name: str = "success"):
        super().__init__()
        self.when, self.told, self.name = when, (no, yes), name

    def step(self, action):
        *result, info = super().step(action)
        return *result, info | {self.name: self.told[self.t == self.when]}

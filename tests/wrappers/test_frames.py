"""Which part of an observation is the newest frame."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from viper_gym.wrappers.frames import newest_frame

STACK = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)  # (k, H, W, 3)


@pytest.mark.parametrize(
    "observation",
    [
        STACK[-1],
        STACK,
        STACK.transpose(1, 2, 0, 3).reshape(8, 8, 12),
        STACK[-1].transpose(2, 0, 1),
        STACK.transpose(0, 3, 1, 2),
        STACK.transpose(0, 3, 1, 2).reshape(12, 8, 8),
    ],
    ids=["HWC", "kHWC", "HW(kC)", "CHW", "kCHW", "(kC)HW"],
)
def test_newest_frame_of_every_layout(observation):
    newest = newest_frame(Box(0, 255, observation.shape, np.uint8))
    assert (newest(observation) == STACK[-1]).all()
    batch = np.stack([observation, 255 - observation])
    assert (newest(batch) == np.stack([STACK[-1], 255 - STACK[-1]])).all()


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (8, 8, 3), np.float32),
        Box(0, 255, (84, 84, 1), np.uint8),
        Box(0, 255, (4, 84, 84), np.uint8),
        Box(0, 255, (128,), np.uint8),
        Discrete(3),
    ],
)
def test_other_observations_are_no_rgb_images(space):
    assert newest_frame(space) is None

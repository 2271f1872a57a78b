"""What agents see: colour pictures, from environments that begin anew a step after they ended."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from viper_gym.errors import TrainingError


def frame_shape(envs: VectorEnv) -> tuple[int, int, int]:
    """(H, W, 3) of what agents see.

    Raises:
        TrainingError: another autoreset mode than NEXT_STEP, or no uint8 colour pictures.
    """
    mode = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    if mode != AutoresetMode.NEXT_STEP:
        raise TrainingError(
            f"expected environments with autoreset mode NEXT_STEP, got {mode}: make them with "
            "SyncVectorEnv(…, autoreset_mode=AutoresetMode.NEXT_STEP), or with gym.make_vec(…, "
            'vector_kwargs={"autoreset_mode": AutoresetMode.NEXT_STEP}); of viper/ ids it is the '
            "default: leave autoreset_mode out"
        )
    return picture_shape(envs.single_observation_space)


def picture_shape(seen: gym.Space) -> tuple[int, int, int]:
    """(H, W, 3) of one environment's observations.

    Raises:
        TrainingError: no uint8 colour pictures.
    """
    if not (isinstance(seen, gym.spaces.Box) and seen.dtype == np.uint8 and len(seen.shape) == 3):
        raise TrainingError(
            f"expected uint8 pictures (H, W, 3) as observations, got {seen}: take a viper/ id with "
            'observation="pixels" (its default), or wrap each environment, made with '
            'render_mode="rgb_array", in gymnasium.wrappers.AddRenderObservation'
        )
    height, width, channels = seen.shape
    if channels != 3:
        raise TrainingError(
            f"expected colour pictures (H, W, 3), got shape {seen.shape}: ask the environment for "
            'colours, channels last and frames not stacked (Atari games: obs_type="rgb"), or wrap '
            "it in gymnasium.wrappers.AddRenderObservation"
        )
    return height, width, channels

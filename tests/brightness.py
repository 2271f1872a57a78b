"""Videos of one code a frame and a model to which the brighter ones are likelier."""

import numpy as np
import torch

from conftest import SIZE, random_video_model, toy_bundle
from viper_gym.data.episodes import Episode
from viper_gym.likelihood.reward_model import VideoRewardModel


def brightness_model() -> VideoRewardModel:
    """The brighter a frame, the likelier: ln p of code c rises with c."""
    model = random_video_model(classes=0)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.arange(16.0) / 4)
    return VideoRewardModel(toy_bundle(model, tasks=("a",)), device="cpu", dtype="fp32")


def video(levels: np.ndarray, reward: float = 0.0) -> Episode:
    """A frame for each level in 0 … 15; a code is sixteen grey levels."""
    frames = np.repeat((16 * levels + 8).astype(np.uint8)[:, None, None, None], SIZE, 1)
    frames = np.repeat(np.repeat(frames, SIZE, 2), 3, 3)
    return Episode(frames, np.full(len(levels) - 1, reward, np.float32))


def lively(episode: Episode) -> Episode:
    """Four pixels flicker, too few to change a code, so that every frame moves."""
    frames = episode.frames.astype(np.int16)
    frames[::2, :2, :2] += 20
    return Episode(frames.clip(0, 255).astype(np.uint8))

"""Frames that are no pixels of 0…255 are refused wherever they come in, not scored as others."""

import numpy as np
import pytest

from conftest import SIZE, random_video_model, toy_bundle
from viper_gym.errors import FrameMismatch
from viper_gym.likelihood.frame_stream import FrameStream
from viper_gym.likelihood.reward_model import VideoRewardModel


@pytest.fixture(scope="module")
def model() -> VideoRewardModel:
    return VideoRewardModel(toy_bundle(random_video_model()), device="cpu", dtype="fp32")


def batch(model, frames):
    return model.log_prob(frames[None], "a")


def rewards(model, frames):
    return model.compute_reward(frames[None], "a")


def stream(model, frames):
    return FrameStream(model, ["a"] * len(frames)).score(frames)


def features(model, frames):
    return model.features(frames, "a")


@pytest.mark.parametrize("way", [batch, rewards, stream, features])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_frames_of_another_dtype_are_refused_by_its_name(model, way, dtype):
    frames = np.zeros((3, SIZE, SIZE, 3), np.uint8)
    assert np.isfinite(way(model, frames)).all()
    with pytest.raises(FrameMismatch, match=rf"expected uint8 .*16, 16, 3\).*got dtype {dtype}:"):
        way(model, frames.astype(dtype))

"""How well networks fit videos."""

import numpy as np
import pytest
import torch

from conftest import small_bundle
from viper_gym.benchmark.networks import network_figures
from viper_gym.data.episodes import Episode
from viper_gym.likelihood.reward_model import VideoRewardModel


@pytest.fixture
def model():
    return VideoRewardModel(small_bundle(), device="cpu", dtype="fp32")


def moving_square(length: int = 40) -> Episode:
    frames = np.full((length, 16, 16, 3), 40, np.uint8)
    for t, frame in enumerate(frames):
        frame[4:8, t % 12 : t % 12 + 4] = 200
    return Episode(frames)


def test_figures_are_those_counted_by_hand(model):
    episode = moving_square()
    found = network_figures(model, "a", [episode])
    shown = episode.frames[::5]
    codes = model.encode(shown, model.task_numbers("a", len(shown)))
    used, counts = np.unique(codes.numpy(), return_counts=True)
    assert found["codes_used"] == len(used)
    shares = counts / counts.sum()
    assert found["perplexity"] == pytest.approx(np.prod(shares**-shares))
    error = np.abs(model.decode(codes, "a").astype(int) - shown).mean(-1)
    background = np.median(shown, axis=0).astype(int)
    moving = np.abs(shown - background).max(-1) > 15
    assert 0 < moving.mean() < 0.3
    assert found["moving_error"] == pytest.approx(error[moving].mean())
    assert found["still_error"] == pytest.approx(error[~moving].mean())
    # windows of four frames, two steps apart: five in 40 frames
    window = episode.frames[::2].reshape(5, 4, 16, 16, 3)
    flat = model.encode(window.reshape(20, 16, 16, 3), model.task_numbers("a", 20))
    with torch.inference_mode():
        values = model.video_model.log_prob(
            flat.view(5, 4, *flat.shape[1:]), model.classes(model.task_numbers("a", 5))
        )
    assert found["nats_per_token"] == pytest.approx(-float(values.mean()), rel=1e-4)


def test_what_cannot_be_measured_is_none(model):
    found = network_figures(model, "a", [Episode(moving_square().frames[:1].repeat(6, 0))])
    assert found["nats_per_token"] is None and found["moving_error"] is None
    assert found["still_error"] is not None

"""Ranks and shares of an audit, on videos that are so few that they can be counted."""

import numpy as np
import pytest
import torch

from brightness import lively, video
from conftest import random_video_model, toy_bundle
from viper_gym.benchmark.audit import audit_task
from viper_gym.benchmark.stand_still import shares_against_frozen_and_shuffled
from viper_gym.data.episodes import Episode
from viper_gym.likelihood.reward_model import VideoRewardModel

RISING = np.repeat([2, 5, 8, 11, 14], 4)  # of a clip's length: 4 frames of a window and 16
BLINKING = np.tile([14, 2], 10)  # dark where it is stopped


@pytest.fixture(scope="module")
def model() -> VideoRewardModel:
    """The brighter a frame, the likelier, and the more so if it is as bright as the one before."""
    network = random_video_model(classes=0, local_frames=1, copy=True)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.arange(16.0) / 4)
        network.copy.weight.zero_()
        network.copy.bias.fill_(1.0)
    return VideoRewardModel(toy_bundle(network, tasks=("a",)), device="cpu", dtype="fp32")


@pytest.fixture
def experts() -> list[Episode]:
    """Two get better and two worse; of the last every frame differs from the one before."""
    ways = (RISING, RISING, RISING[::-1], RISING[::-1], BLINKING)
    return [lively(video(levels)) for levels in ways]


def test_clips_are_above_what_stops_and_above_what_is_shuffled(model, experts):
    """Those that fall are better stopped; the one that blinks is calmer in any other order."""
    assert shares_against_frozen_and_shuffled(model, "a", experts) == (0.6, 0.8)
    assert shares_against_frozen_and_shuffled(model, "a", experts[4:]) == (1.0, 0.0)
    assert shares_against_frozen_and_shuffled(model, "a", experts[2:4]) == (0.0, 1.0)


def test_without_a_moving_clip_there_are_no_shares(model):
    shares = shares_against_frozen_and_shuffled(model, "a", [video(np.full(20, 7))])
    assert np.isnan(shares).all()


def test_ranks_within_episodes_and_between_them(model, experts):
    def graded(levels: list[int], rewards: list[float]) -> Episode:
        return Episode(video(np.array(levels)).frames, np.array(rewards, np.float32))

    episodes = {
        "expert": experts,
        # the reset's frame earns nothing: its level is no part of any rank
        "graded": [
            graded([0, 6, 2, 8, 4, 10], [6, 2, 8, 4, 10]),  # 1
            graded([0, 12, 8, 14, 6, 10], [5, 2, 4, 1, 3]),  # the two best swapped: 0.9
            graded([14, 2, 4, 0, 6, 8], [70, 50, 90, 30, 10]),  # -1
            graded([0, 14, 12, 10, 12, 14], [20] * 5),  # none
        ],
    }
    audit, _ = audit_task(model, "a", episodes, cheap=())
    assert audit.spearman_within == pytest.approx(0.3)
    # mean levels rank as 2, 3, 1, 4 and returns as 2, 1, 4, 3
    assert audit.spearman == pytest.approx(-0.4)
    assert (audit.beats_frozen, audit.beats_shuffled) == (0.6, 0.8)

"""`VideoRewardModel`: what a bundle's calibration is valid for, and its options."""

import numpy as np
import pytest
import torch

from conftest import random_video_model, toy_bundle
from viper_gym.errors import CheckpointError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy


@pytest.mark.parametrize(
    "policy",
    [ContextPolicy("exact", mode="joint"), ContextPolicy(window=2)],
    ids=["mode", "window"],
)
def test_a_calibration_made_under_another_policy_is_refused(policy):
    bundle = toy_bundle(random_video_model())
    assert VideoRewardModel(bundle, "cpu", "fp32").scale("a").low == -20.0
    other = VideoRewardModel(bundle, "cpu", "fp32", policy=policy)
    with pytest.raises(CheckpointError, match="calibrate"):
        other.scale("a")
    assert other.scale("a", "raw")(-3.0) == -3.0


def test_refresh_and_exact_share_a_calibration():
    bundle = toy_bundle(random_video_model())
    exact = VideoRewardModel(bundle, "cpu", "fp32", policy=ContextPolicy("exact"))
    assert exact.scale("a").high == -10.0


def test_the_tokenizer_may_run_in_bf16_while_likelihoods_stay_fp32(rng):
    frames = rng.integers(0, 255, (1, 6, 64, 64, 3)).astype(np.uint8)
    exact = VideoRewardModel.from_pretrained("dmc", device="cpu", dtype="fp32")
    half = VideoRewardModel.from_pretrained(
        "dmc", device="cpu", dtype="fp32", tokenizer_dtype="bf16"
    )
    numbers = exact.task_numbers("cup_catch", 6)
    same = exact.encode(frames[0], numbers) == half.encode(frames[0], numbers)
    assert 0.5 < same.float().mean() < 1.0  # noise sits between codes; real frames flip 0.1 %
    with torch.inference_mode():
        codes = exact.encode(frames[0], numbers)[None]
    assert torch.equal(
        exact.log_prob_of_codes(codes, "cup_catch"), half.log_prob_of_codes(codes, "cup_catch")
    )

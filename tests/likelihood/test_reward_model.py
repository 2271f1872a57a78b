"""`VideoRewardModel`: what a bundle's calibration is valid for, and its options."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import SIZE, random_video_model, small_bundle, toy_bundle
from viper_gym.checkpoints.bundle import Bundle, Calibration, save_bundle
from viper_gym.errors import CheckpointError, FrameMismatch
from viper_gym.likelihood.frame_stream import FrameStream
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.likelihood.shared import shared_reward_model
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
    assert other.scale("a", "raw")(np.array(-3.0), np.array(0)) == -3.0


def test_refresh_and_exact_share_a_calibration():
    bundle = toy_bundle(random_video_model())
    exact = VideoRewardModel(bundle, "cpu", "fp32", policy=ContextPolicy("exact"))
    assert exact.scale("a").high == -10.0


def test_the_scale_takes_off_what_the_number_of_context_frames_does():
    """Offsets by hand: stride 2, a window of 4, of which 2 are kept when it is full."""
    bundle = toy_bundle(random_video_model(length=4), stride=2)
    levels = Calibration(-20.0, -10.0, by_context=(-5.0, -2.0, -1.0, 1.0))
    bundle.config = replace(bundle.config, calibration={"a": levels})
    model = VideoRewardModel(bundle, "cpu", "fp32", ContextPolicy("refresh"))
    context = np.array([0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3, 2])
    log_prob = -15.0 + np.array(levels.by_context)[context]
    assert np.allclose(model.scaled(log_prob, "a"), 0.5)
    assert np.allclose(model.scaled(log_prob, "a", "raw"), log_prob[1:])


@pytest.mark.parametrize("contrast", [False, True])
def test_environments_whose_tasks_have_other_policies_are_scored_side_by_side(rng, contrast):
    """Live rewards of both equal those of whole episodes, in any order, over a partial reset."""
    bundle = toy_bundle(random_video_model(classes=4), stride=2)
    bundle.config = replace(bundle.config, contrast=contrast)
    own = ContextPolicy("exact", window=1)
    levels = {
        "a": Calibration(-20.0, -10.0),
        "b": Calibration(-30.0, -10.0, by_context=(0.0,), policy=own),
    }
    bundle.config = replace(bundle.config, calibration=levels)
    model = VideoRewardModel(bundle, "cpu", "fp32")
    assert model.policy_of("b") == own != model.policy_of("a")
    tasks = ["b", "a", "b"]
    size = model.image_size
    frames = rng.integers(0, 255, (3, 12, size, size, 3)).astype(np.uint8)
    stream = FrameStream(model, tasks)
    stream.reset(np.ones(3, bool))
    live = [stream.score(frames[:, t]) for t in range(5)]
    stream.reset(np.array([True, False, True]))
    live += [stream.score(frames[:, t]) for t in range(5, 12)]
    live = np.stack(live, 1)  # (3, 12)
    for i, task in enumerate(tasks):
        parts = [slice(0, 12)] if task == "a" else [slice(0, 5), slice(5, 12)]
        for part in parts:
            whole = model.log_prob(frames[i : i + 1, part], task)[0]
            assert np.allclose(live[i, part], whole, atol=1e-3)
    assert stream.context_frames().tolist()[::2] == [0, 0] and stream.context_frames()[1] > 0
    alone = model.log_prob(frames[:1, 7:8], "b")[0, 0]  # a window of one knows no past
    assert np.isclose(live[0, 7], alone, atol=1e-3)
    some = FrameStream(model, tasks).score(frames[[2, 1], 0], np.array([2, 1]))
    assert np.allclose(some, live[[2, 1], 0], atol=1e-3)


def test_a_bundle_that_knows_play_pays_what_is_likelier_among_experts(rng):
    """Of each frame the log-probability under a task's class, less that under its play's."""
    network = random_video_model(classes=4)
    plain = VideoRewardModel(toy_bundle(network, stride=2, tasks=("a", "b", "c", "d")), "cpu")
    bundle = toy_bundle(network, stride=2)
    bundle.config = replace(bundle.config, contrast=True)
    model = VideoRewardModel(bundle, "cpu")
    size = model.image_size
    frames = rng.integers(0, 255, (1, 9, size, size, 3)).astype(np.uint8)
    for task, play in (("a", "c"), ("b", "d")):
        ratio = plain.log_prob(frames, task) - plain.log_prob(frames, play)
        assert np.allclose(model.log_prob(frames, task), ratio, atol=1e-3)
        codes = model.encode(frames[0, :4], model.task_numbers(task, 4))[None]
        apart = [plain.log_prob_of_window(codes, name) for name in (task, play)]
        assert np.allclose(model.log_prob_of_window(codes, task), apart[0] - apart[1], atol=1e-3)
    assert FrameStream(model, ["a"]).state_bytes == 2 * FrameStream(plain, ["a"]).state_bytes


def test_contrast_needs_a_second_class_for_every_task(tmp_path):
    bundle = small_bundle()
    bundle.config = replace(bundle.config, contrast=True)
    with pytest.raises(CheckpointError, match="2 tasks need 4 classes, the video model has 2"):
        save_bundle(bundle, tmp_path)
        VideoRewardModel.from_pretrained(tmp_path)


def test_offsets_must_fit_the_window(tmp_path):
    bundle = small_bundle()
    config = replace(bundle.config, calibration={"a": Calibration(-3, -1, by_context=(0.0, 0.0))})
    save_bundle(replace(bundle, config=config), tmp_path)
    with pytest.raises(CheckpointError, match="by_context has 2 entries, the window 4"):
        VideoRewardModel.from_pretrained(tmp_path)


def test_calibrated_bounds_pay_nothing_less_than_doing_nothing():
    for idle, floor in ((-23.0, -0.3), (-90.0, -0.5), (-9.0, 0.0), (None, 0.0)):
        bundle = toy_bundle(random_video_model())
        levels = {"a": Calibration(-20.0, -10.0, idle=idle)}
        bundle.config = replace(bundle.config, calibration=levels)
        model = VideoRewardModel(bundle, "cpu", "fp32")
        assert model.scale("a", clip="calibrated").clip == (pytest.approx(floor), 1.5)
    for kind, clip in (("raw", "calibrated"), ("calibrated", "expert")):
        with pytest.raises(ValueError, match="reward_clip must be two numbers"):
            model.scale("a", kind, clip)


def test_bounds_that_a_bundle_knows_are_taken_and_their_ceiling_pays_one():
    bundle = toy_bundle(random_video_model())
    nats = np.array([-90.0, -21.0, -20.0, -17.5, -15.0, -5.0])  # scaled: -7 -0.1 0 0.25 0.5 1.5
    for clip, paid in (
        ((-0.25, 0.5), [-0.5, -0.2, 0, 0.5, 1, 1]),
        ((-0.25, 1.5), [-0.25, -0.1, 0, 0.25, 0.5, 1.5]),
        (None, [-0.3, -0.1, 0, 0.25, 0.5, 1.5]),
    ):
        levels = {"a": Calibration(-20.0, -10.0, idle=-23.0, clip=clip)}
        bundle.config = replace(bundle.config, calibration=levels)
        model = VideoRewardModel(bundle, "cpu", "fp32")
        scale = model.scale("a", clip="calibrated")
        assert scale(nats, np.zeros(len(nats), int)) == pytest.approx(paid)
        assert model.scale("a", clip=None).high == -10.0  # only these bounds change the scale


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


def test_wrappers_share_a_model_until_its_files_change(tmp_path):
    save_bundle(toy_saved(0), tmp_path)
    first = shared_reward_model(str(tmp_path), "cpu", "fp32")
    assert shared_reward_model(str(tmp_path), "cpu", "fp32") is first
    assert shared_reward_model(str(tmp_path), "cpu", "bf16") is not first
    save_bundle(toy_saved(1), tmp_path)
    frames = np.random.default_rng(0).integers(0, 255, (1, 6, 16, 16, 3)).astype(np.uint8)
    again = shared_reward_model(str(tmp_path), "cpu", "fp32")
    anew = VideoRewardModel.from_pretrained(tmp_path, device="cpu", dtype="fp32")
    assert np.array_equal(again.log_prob(frames, "a"), anew.log_prob(frames, "a"))
    assert not np.array_equal(again.log_prob(frames, "a"), first.log_prob(frames, "a"))


def toy_saved(seed: int) -> Bundle:
    """A bundle with real, savable networks and other weights for every seed."""
    bundle = small_bundle()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in bundle.video_model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return bundle


def test_models_of_one_bundle_do_not_share_networks():
    """Another one may be on another device, or hold bf16 weights."""
    bundle = small_bundle()
    first = VideoRewardModel(bundle, device="cpu", dtype="fp32")
    half = VideoRewardModel(bundle, device="cpu", dtype="bf16", tokenizer_dtype="bf16")
    networks = [m.tokenizer for m in (first, half, bundle)]
    assert len({id(n) for n in networks}) == 3
    grid = first.config.video_model.grid_size
    codes = torch.zeros(2, grid, grid, dtype=torch.int64)
    drawn = [m.decode(codes, "a").astype(int) for m in (first, half)]
    assert np.abs(drawn[0] - drawn[1]).max() < 16  # what bf16 keeps of 256 levels


def test_no_frames_at_all_are_named():
    model = VideoRewardModel(toy_bundle(random_video_model()), device="cpu", dtype="fp32")
    with pytest.raises(FrameMismatch, match=r"got no frames: shape \(1, 0, 16, 16, 3\)"):
        model.log_prob(np.zeros((1, 0, SIZE, SIZE, 3), np.uint8), "a")

"""The authors' release layout, held against what their own code computed."""

from pathlib import Path

import numpy as np
import pytest
import torch

from viper_gym.checkpoints.bundle import load_bundle, read_config, save_bundle
from viper_gym.checkpoints.convert_viper_rl import convert_viper_rl
from viper_gym.cli.convert import Convert
from viper_gym.errors import CheckpointError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy

FIXTURES = Path(__file__).parents[3] / "shared" / "fixtures"
RELEASE = FIXTURES / "viper_rl_release"
pytestmark = pytest.mark.skipif(not RELEASE.is_dir(), reason=f"{RELEASE} is not here")

CASES = {"dmc": ("dmc_videogpt_l4_s1", "cheetah_run"), "atari": ("atari_videogpt_l4_s4", "pong")}


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request, tmp_path_factory):
    suite = request.param
    video, task = CASES[suite]
    bundle = convert_viper_rl(RELEASE / f"{suite}_vqgan", RELEASE / video)
    folder = tmp_path_factory.mktemp(suite)
    save_bundle(bundle, folder)  # the numbers must survive the round trip
    return load_bundle(folder), np.load(RELEASE / f"expected_{suite}.npz"), task


def reward_model(bundle, mode="conditional") -> VideoRewardModel:
    policy = ContextPolicy("exact", mode=mode)
    return VideoRewardModel(bundle, device="cpu", dtype="fp32", policy=policy)


def test_every_code_is_equal(case):
    bundle, expected, task = case
    model = reward_model(bundle)
    video = expected["video"]
    codes = model.encode(video, model.task_numbers(task, len(video)))
    assert np.array_equal(codes.numpy(), expected["codes"])


def test_reconstructions_are_equal(case):
    bundle, expected, _ = case
    codes = torch.from_numpy(expected["codes"][:4].astype(np.int64))
    drawn = bundle.tokenizer.decode(codes, torch.zeros(4, dtype=torch.int64))
    drawn = drawn.permute(0, 2, 3, 1).clamp(-1, 1).numpy()
    assert np.abs(drawn - expected["reconstruction"]).max() < 1e-3


def test_log_probs_of_a_window_are_equal(case):
    bundle, expected, task = case
    codes = torch.from_numpy(expected["codes"][expected["window_index"]].astype(np.int64))[None]
    model = reward_model(bundle)
    index = model.classes(model.task_numbers(task, 1))
    tokens = bundle.video_model.log_prob(codes, index)[0]
    assert np.abs(tokens.numpy() - expected["window_log_prob_per_token"]).max() < 1e-3
    per_frame = tokens.sum((1, 2)).numpy() - expected["window_log_prob_per_frame"]
    assert np.abs(per_frame).max() / model.tokens_per_frame < 1e-3
    if "window_log_prob_per_frame_label0" in expected:
        other = bundle.video_model.log_prob(codes, torch.zeros(1, dtype=torch.int64))[0]
        error = other.sum((1, 2)).numpy() - expected["window_log_prob_per_frame_label0"]
        assert np.abs(error).max() / model.tokens_per_frame < 1e-3


@pytest.mark.parametrize("mode", ["conditional", "joint"])
def test_rewards_are_equal_on_full_windows(case, mode):
    """Early frames differ on purpose: the release has fewer windows' worth of sums there."""
    bundle, expected, task = case
    model = reward_model(bundle, mode)
    ours = model.log_prob(expected["video"][None], task)[0]
    c = bundle.config
    first = c.video_model.sequence_length * c.frame_stride - 1
    theirs = expected[f"reward_{mode}"]
    assert len(ours[first:]) > 0
    assert np.abs(ours[first:] - theirs[first:]).max() / model.tokens_per_frame < 1e-3


def test_converted_config_comes_from_the_files():
    dmc = convert_viper_rl(RELEASE / "dmc_vqgan", RELEASE / "dmc_videogpt_l4_s1").config
    assert dmc.tasks == ("cartpole_swingup", "cheetah_run", "walker_walk")
    assert (dmc.frame_stride, dmc.video_model.num_classes) == (1, 3)
    atari = convert_viper_rl(RELEASE / "atari_vqgan", RELEASE / "atari_videogpt_l4_s4").config
    assert (atari.frame_stride, atari.video_model.num_classes) == (4, 0)
    assert set(atari.masks) == {"pong", "freeway"} == set(atari.tasks)


def test_tasks_are_renamed_on_the_command_line(tmp_path, capsys):
    folders = RELEASE / "dmc_vqgan", RELEASE / "dmc_videogpt_l4_s1", tmp_path / "bundle"
    first, *others = convert_viper_rl(*folders[:2]).config.tasks
    Convert("viper-rl", *folders, rename=(f"{first}=my_task",)).run()
    assert read_config(tmp_path / "bundle").tasks == ("my_task", *others)
    assert "tasks: my_task" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="--rename: expected OLD=NEW, got my_task"):
        Convert("viper-rl", *folders, rename=("my_task",)).run()

"""The authors' release layout, held against what their own code computed."""

import argparse
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from viper_gym.checkpoints.bundle import load_bundle, save_bundle
from viper_gym.checkpoints.convert_viper_rl import convert_viper_rl
from viper_gym.checkpoints.restricted_pickle import load_restricted
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


class Evil:
    def __reduce__(self):
        return (print, ("imported",))


def test_a_pickle_that_wants_to_import_is_refused(tmp_path, capsys):
    (tmp_path / "args").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match=r"refused to import builtins\.print"):
        load_restricted(tmp_path / "args")
    assert "imported" not in capsys.readouterr().out


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(RELEASE / "dmc_vqgan", tmp_path / "vq")
    shutil.copytree(RELEASE / "dmc_videogpt_l4_s1", tmp_path / "gpt")
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path


def test_broken_files_are_named(copied):
    checkpoint = copied / "gpt" / "checkpoints" / "checkpoint_10"
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match="checkpoint_10: not a readable flax checkpoint"):
        convert_viper_rl(copied / "vq", copied / "gpt")
    checkpoint.unlink()
    with pytest.raises(CheckpointError, match="no checkpoints/checkpoint_N"):
        convert_viper_rl(copied / "vq", copied / "gpt")


def test_class_map_and_shapes_that_do_not_fit(copied):
    (copied / "gpt" / "class_map.pkl").write_bytes(pickle.dumps({"walker_walk": 9}))
    with pytest.raises(CheckpointError, match=r"class_map\.pkl: classes \{'walker_walk': 9\} of 4"):
        convert_viper_rl(copied / "vq", copied / "gpt")
    (copied / "gpt" / "class_map.pkl").unlink()
    with pytest.raises(CheckpointError, match=r"class_map\.pkl: missing"):
        convert_viper_rl(copied / "vq", copied / "gpt")
    args = vars(load_restricted(copied / "vq" / "args"))
    args["ae"]["n_embed"] = 32
    (copied / "vq" / "args").write_bytes(pickle.dumps(argparse.Namespace(**args)))
    with pytest.raises(CheckpointError, match=r"gives \(64, 16\), args say \(32, 16\)"):
        convert_viper_rl(copied / "vq", copied / "gpt")

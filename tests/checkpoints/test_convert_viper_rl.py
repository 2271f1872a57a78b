"""The authors' release layout, held against what their own code computed."""

import argparse
import pickle
import shutil
from pathlib import Path

import msgpack
import numpy as np
import pytest
import torch

from viper_gym.checkpoints.bundle import load_bundle, save_bundle
from viper_gym.checkpoints.convert_viper_rl import convert_viper_rl
from viper_gym.checkpoints.flax_msgpack import read_flax
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


MADE_LATER = np.zeros(1).__reduce__()[0]
OBJECTS = np.dtype("O")  # of which an array's bytes are addresses
WRITES_TO_A_CLASS = b"cargparse\nNamespace\n(N}(S'__eq__'\nNS'polluted'\nI1\nutb."


class Raw:
    """Pickles as a call of what it was given."""

    def __init__(self, *call):
        self._call = call

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize(
    "made",
    [
        Raw(np.int64(1).__reduce__()[0], (OBJECTS, b"A" * 8)),
        Raw(MADE_LATER, (np.ndarray, (0,), b"b"), (1, (1,), OBJECTS, False, [7])),
        Raw(MADE_LATER, (np.ndarray, (0,), b"b"), (1, (9,), np.dtype("u1"), 0, b"")),
    ],
)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, made):
    """NumPy's own data types would take bytes of the file for addresses, and crash."""
    (tmp_path / "args").write_bytes(pickle.dumps({"a": made}))
    with pytest.raises(CheckpointError, match="args: "):
        load_restricted(tmp_path / "args")


def test_a_pickle_cannot_write_to_the_classes_it_is_given(tmp_path):
    before = dict(vars(argparse.Namespace))
    (tmp_path / "args").write_bytes(WRITES_TO_A_CLASS)
    with pytest.raises(CheckpointError):
        load_restricted(tmp_path / "args")
    assert dict(vars(argparse.Namespace)) == before
    (tmp_path / "args").write_bytes(pickle.dumps(argparse.Namespace(a=1)))
    assert load_restricted(tmp_path / "args") == argparse.Namespace(a=1)


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read_as_they_were_written(tmp_path, protocol):
    rng = np.random.default_rng(0)
    columns = np.asfortranarray(rng.normal(size=(3, 4)))
    arrays = [columns, rng.integers(0, 2, (4, 5)) > 0, np.arange(6, dtype=">i4").reshape(2, 3)]
    (tmp_path / "map").write_bytes(pickle.dumps({"a": arrays, "n": np.int64(3)}, protocol))
    read = load_restricted(tmp_path / "map")
    assert read["n"] == 3
    for array, again in zip(arrays, read["a"], strict=True):
        assert type(again) is np.ndarray and np.array_equal(array, again)


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(RELEASE / "dmc_vqgan", tmp_path / "vq")
    shutil.copytree(RELEASE / "dmc_videogpt_l4_s1", tmp_path / "gpt")
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path


def test_without_averaged_weights_the_plain_ones_are_taken(copied):
    """`ema: false` stores none."""
    path = copied / "gpt" / "checkpoints" / "checkpoint_10"
    tree = read_flax(copied / "gpt")
    averaged = convert_viper_rl(copied / "vq", copied / "gpt")

    def pack(array):
        return msgpack.ExtType(1, msgpack.packb([array.shape, str(array.dtype), array.tobytes()]))

    packed = {"params": tree["ema_params"], "ema_params": None}
    path.write_bytes(msgpack.packb(packed, default=pack))
    (path.parent / "checkpoint_tmp").write_bytes(b"")  # what a kill leaves
    plain = convert_viper_rl(copied / "vq", copied / "gpt")
    assert torch.equal(plain.video_model.head.weight, averaged.video_model.head.weight)
    (path.parent / "checkpoint_20").mkdir()
    with pytest.raises(CheckpointError, match=r"checkpoint_20: .*got a folder"):
        convert_viper_rl(copied / "vq", copied / "gpt")


def test_options_of_another_kind_are_named(copied):
    args = load_restricted(copied / "gpt" / "args")
    for name, value in (("seq_len", "x"), ("transformer", None)):
        changed = argparse.Namespace(**{**vars(args), name: value})
        (copied / "gpt" / "args").write_bytes(pickle.dumps(changed))
        with pytest.raises(CheckpointError, match="no release of viper_rl"):
            convert_viper_rl(copied / "vq", copied / "gpt")


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

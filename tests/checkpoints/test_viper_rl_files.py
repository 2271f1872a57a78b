"""Files of a viper_rl release that are hostile, broken, or do not belong together."""

import argparse
import pickle

import msgpack
import numpy as np
import pytest
import torch
from viper_rl_layout import checkpoint, write_args, write_flax, write_release

from viper_gym.checkpoints.convert_viper_rl import convert_viper_rl
from viper_gym.checkpoints.restricted_pickle import load_restricted
from viper_gym.errors import CheckpointError


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
def release(tmp_path):
    write_release(tmp_path)
    return tmp_path


def convert(release):
    return convert_viper_rl(release / "vq", release / "gpt")


def test_a_release_is_read_from_its_files_alone(tmp_path):
    trees = write_release(tmp_path)
    mask = np.ones((8, 8, 1), np.uint8)
    mask[0] = 0
    (tmp_path / "vq" / "mask_map.pkl").write_bytes(pickle.dumps({"cheetah_run": mask}))
    bundle = convert(tmp_path)
    assert bundle.config.tasks == ("cheetah_run", "walker_walk")  # classes 1 and 3
    assert bundle.config.frame_stride == 2
    assert bundle.config.masks == {"cheetah_run": mask[..., 0].tolist()}
    model, averaged = bundle.video_model, trees["gpt"]["ema_params"]["model"]
    assert np.array_equal(model.norm.scale, averaged["LayerNorm_0"]["Dense_0"]["kernel"][[1, 3]])
    assert np.array_equal(model.head.weight, averaged["Dense_1"]["kernel"].T)
    assert np.array_equal(model.codebook, trees["vq"]["vqgan_params"]["quantize"]["embeddings"])


@pytest.mark.parametrize("values", [(0, 255), (0, 0.999)])
def test_masks_of_other_values_are_refused(release, values):
    mask = np.full((32, 32), values[1])
    mask[:4] = values[0]
    (release / "vq" / "mask_map.pkl").write_bytes(pickle.dumps({"cheetah_run": mask}))
    with pytest.raises(CheckpointError, match=r"mask of cheetah_run has other values than 0"):
        convert(release)


def test_masks_of_another_size_are_refused(release):
    mask = np.ones((84, 84), np.uint8)
    (release / "vq" / "mask_map.pkl").write_bytes(pickle.dumps({"cheetah_run": mask}))
    with pytest.raises(CheckpointError, match="mask"):
        convert(release)


def test_a_few_bytes_that_stand_for_endless_lists_are_refused(tmp_path):
    """What is there twice is made once; nothing real is nested so deeply."""
    endless = [0]
    for _ in range(60):
        endless = [endless, endless]
    (tmp_path / "args").write_bytes(pickle.dumps(endless))
    with pytest.raises(CheckpointError, match="nested more than 8 deep"):
        load_restricted(tmp_path / "args")
    wide = [0]
    for _ in range(7):
        wide = [wide] * 1000
    (tmp_path / "args").write_bytes(pickle.dumps(wide))
    made = load_restricted(tmp_path / "args")
    assert len(made) == 1000 and made[0] is made[999]


def test_without_averaged_weights_the_plain_ones_are_taken(tmp_path):
    """`ema: false` stores none."""
    tree = write_release(tmp_path)["gpt"]
    path = checkpoint(tmp_path, "gpt")
    averaged = convert(tmp_path)
    write_flax({"params": tree["ema_params"], "ema_params": None}, path)
    (path.parent / "checkpoint_tmp").write_bytes(b"")  # what a kill leaves
    plain = convert(tmp_path)
    assert torch.equal(plain.video_model.head.weight, averaged.video_model.head.weight)
    (path.parent / "checkpoint_20").mkdir()
    with pytest.raises(CheckpointError, match=r"checkpoint_20: .*got a folder"):
        convert(tmp_path)


def test_options_of_another_kind_are_named(release):
    args = vars(load_restricted(release / "gpt" / "args"))
    for name, value in (("seq_len", "x"), ("transformer", None), ("frame_skip", -1)):
        write_args(release / "gpt", {**args, name: value})
        with pytest.raises(CheckpointError, match="no release of viper_rl"):
            convert(release)
    sizes = vars(load_restricted(release / "vq" / "args"))
    write_args(release / "vq", {**sizes, "ae": {**sizes["ae"], "n_embed": -1}})
    with pytest.raises(CheckpointError, match="no release of viper_rl"):
        convert(release)
    write_args(release / "vq", sizes)
    write_args(release / "gpt", {**args, "model": "teco"})
    with pytest.raises(CheckpointError, match="gpt: model 'teco', only videogpt is supported"):
        convert(release)


@pytest.mark.parametrize("name", ["vq", "gpt"])
def test_broken_files_are_named(release, name):
    path = checkpoint(release, name)
    data = path.read_bytes()
    for broken in (data[: len(data) // 2], b""):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="checkpoint_10: not a readable flax checkpoint"):
            convert(release)
    path.write_bytes(msgpack.packb([1, 2]))
    with pytest.raises(CheckpointError, match="checkpoint_10: expected a dict, got list"):
        convert(release)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"{name}: no checkpoints/checkpoint_N"):
        convert(release)
    args = release / name / "args"
    args.write_bytes(args.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=f"{name}/args: not a readable pickle"):
        convert(release)
    args.unlink()
    with pytest.raises(CheckpointError, match=f"{name}/args: missing"):
        convert(release)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    trees = write_release(tmp_path)
    head = trees["gpt"]["ema_params"]["model"]["Dense_1"]["kernel"]
    codebook = trees["vq"]["vqgan_params"]["quantize"]["embeddings"]
    for name, array, path in (
        ("gpt", head, "model/Dense_1/kernel"),
        ("vq", codebook, "quantize/embeddings"),  # read first
    ):
        array[1, 2] = value
        write_flax(trees[name], checkpoint(tmp_path, name))
        with pytest.raises(CheckpointError, match=f"{name}: '{path}' has NaN or infinite weights"):
            convert(tmp_path)


def test_arrays_that_are_missing_or_unknown_are_named(tmp_path):
    tree = write_release(tmp_path)["gpt"]
    model = tree["ema_params"]["model"]
    model["Dense_2"] = {"kernel": np.zeros((2, 2), np.float32)}
    write_flax(tree, checkpoint(tmp_path, "gpt"))
    with pytest.raises(CheckpointError, match=r"gpt: unknown arrays \['model/Dense_2/kernel'\]"):
        convert(tmp_path)
    del model["Dense_2"], model["RightShift_0"]
    write_flax(tree, checkpoint(tmp_path, "gpt"))
    with pytest.raises(CheckpointError, match="gpt: 'model/RightShift_0/sos' is missing"):
        convert(tmp_path)
    write_flax({"params": {}}, checkpoint(tmp_path, "vq"))
    with pytest.raises(CheckpointError, match=r"vq: no 'vqgan_params' .*found \['params'\]"):
        convert(tmp_path)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"pixels": 16}, r"PositionBiases_0/d_1.* gives \(4, 4\), args say \(8, 4\)"),
        ({"codes": 12}, r"Dense_1.* gives \(8, 12\), args say \(12, 12\)"),
        ({"dim": 6}, r"Dense_0.* gives \(12, 4\), args say \(12, 6\)"),
    ],
    ids=["grid", "codes", "length"],
)
def test_a_tokenizer_of_another_video_model_is_refused(tmp_path, shape, said):
    """Its grid, how many codes there are, or how long they are."""
    for name, changes in (("one", {}), ("other", shape)):
        write_release(tmp_path / name, **changes)
        convert(tmp_path / name)
    with pytest.raises(CheckpointError, match=f"one/gpt: .*{said}"):
        convert_viper_rl(tmp_path / "other" / "vq", tmp_path / "one" / "gpt")


def test_class_map_and_shapes_that_do_not_fit(release):
    classes = release / "gpt" / "class_map.pkl"
    classes.write_bytes(pickle.dumps({"walker_walk": 9}))
    with pytest.raises(CheckpointError, match=r"class_map\.pkl: classes \{'walker_walk': 9\} of 4"):
        convert(release)
    classes.unlink()
    with pytest.raises(CheckpointError, match=r"class_map\.pkl: missing"):
        convert(release)
    args = vars(load_restricted(release / "vq" / "args"))
    args["ae"]["n_embed"] = 32
    write_args(release / "vq", args)
    with pytest.raises(CheckpointError, match=r"gives \(8, 4\), args say \(32, 4\)"):
        convert(release)

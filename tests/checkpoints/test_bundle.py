import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import CodedEnv, small_bundle
from viper_gym.checkpoints import bundle as bundle_module
from viper_gym.checkpoints.bundle import (
    Calibration,
    load_bundle,
    read_config,
    save_bundle,
)
from viper_gym.checkpoints.index import audited_tasks, read_index, unknown_task
from viper_gym.checkpoints.resolve import resolve
from viper_gym.checkpoints.weights import save_weights
from viper_gym.errors import CheckpointError, UnknownTask
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy
from viper_gym.wrappers.single import ViperRewardWrapper


@pytest.fixture
def folder(tmp_path):
    save_bundle(small_bundle(), tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["patch_vq", "vqgan"])
def test_round_trip(tmp_path, kind):
    bundle = small_bundle(kind)
    save_bundle(bundle, tmp_path)
    back = load_bundle(tmp_path)
    assert back.config == bundle.config
    for name in ("tokenizer", "video_model"):
        before, after = getattr(bundle, name).state_dict(), getattr(back, name).state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(p.suffix in (".pkl", ".pt", ".bin") for p in tmp_path.iterdir())


def test_files_have_the_permissions_of_any_other(folder):
    (folder / "other").touch()
    usual = (folder / "other").stat().st_mode
    assert {p.stat().st_mode for p in folder.iterdir()} == {usual}


def test_a_bundle_saved_over_another_keeps_nothing_of_it(folder, monkeypatch):
    (folder / "README.md").write_text("of the old one")
    save_bundle(small_bundle(), folder)
    assert not (folder / "README.md").exists()  # the new one has no card

    def full(module, path, dtype):
        if path.name == "video_model.safetensors":
            raise OSError(28, "No space left on device")
        save_weights(module, path, dtype)

    monkeypatch.setattr(bundle_module, "save_weights", full)
    with pytest.raises(OSError, match="No space left"):
        save_bundle(small_bundle(), folder)
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_bundle(folder)


def test_networks_of_two_bundles_are_no_bundle(folder, tmp_path_factory):
    other, changed = tmp_path_factory.mktemp("other"), small_bundle()
    with torch.no_grad():
        changed.tokenizer.quantizer.codebook += 1.0
    save_bundle(changed, other)
    shutil.copy(other / "tokenizer.safetensors", folder)
    with pytest.raises(CheckpointError, match="of two bundles: their codebooks differ"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"frame_stride": "4"},
        {"frame_stride": 1.5},
        {"tasks": ["a", "a"]},
        {"tasks": [1, 2]},
        {"masks": None},
        {"masks": {"a": [[1], [1, 0]]}},
        {"masks": {"a": None}},
        {"masks": {"a": [[255] * 16] * 16}},  # pixels would be multiplied by it
        {"preprocessing": None},
        {"preprocessing": {"a": None}},
        {"calibration": {"a": {"low": None, "high": 1.0}}},
        {"calibration": {"a": {"low": 0.0, "high": 1.0, "idle": "x"}}},
        {"calibration": {"a": {"low": 0.0, "high": 1.0, "clip": ["a", "b"]}}},
    ],
)
def test_values_of_a_wrong_type_are_named(folder, change):
    edit(folder, lambda config: config.update(change))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_config(folder)


def test_an_alias_wins_over_a_folder_and_says_so(tmp_path, monkeypatch, caplog):
    save_bundle(small_bundle(), tmp_path / "dmc")
    monkeypatch.chdir(tmp_path)
    assert resolve("dmc") != tmp_path / "dmc"
    assert "the folder beside it is './dmc'" in caplog.text


def test_a_mask_takes_a_line_a_row(tmp_path):
    bundle = small_bundle()
    mask = [[1, 0] * 8] * 16
    save_bundle(replace(bundle, config=replace(bundle.config, masks={"a": mask})), tmp_path)
    text = (tmp_path / "config.json").read_text()
    assert text.count("[ " + ", ".join(["1", "0"] * 8) + " ]") == 16
    assert load_bundle(tmp_path).config.masks == {"a": mask}


def edit(folder, change):
    data = json.loads((folder / "config.json").read_text())
    change(data)
    (folder / "config.json").write_text(json.dumps(data))


def test_the_policy_is_kept_and_must_fit(tmp_path):
    bundle = small_bundle()
    policy = ContextPolicy("exact", mode="joint", window=2)
    bundle.config = replace(bundle.config, policy=policy)
    save_bundle(bundle, tmp_path)
    assert load_bundle(tmp_path).config.policy == policy
    edit(tmp_path, lambda d: d["policy"].update(window=99))
    with pytest.raises(CheckpointError, match="policy"):
        load_bundle(tmp_path)


def test_a_task_may_have_a_policy_of_its_own(tmp_path):
    bundle = small_bundle()
    own = ContextPolicy("exact", window=1)
    levels = {"a": Calibration(-3.0, -1.0, by_context=(0.0,), policy=own)}
    bundle.config = replace(bundle.config, calibration=levels)
    save_bundle(bundle, tmp_path)
    back = load_bundle(tmp_path).config
    assert back == bundle.config
    assert back.policy_of("a") == own and back.policy_of("b") == back.policy != own
    edit(tmp_path, lambda d: d["calibration"]["a"]["policy"].update(window=99))
    with pytest.raises(CheckpointError, match="policy"):
        load_bundle(tmp_path)
    edit(tmp_path, lambda d: d["calibration"]["a"]["policy"].update(depth=1))
    with pytest.raises(
        CheckpointError, match=r"calibration of a: policy: unknown keys \['depth'\]"
    ):
        load_bundle(tmp_path)


def test_bounds_of_the_reward_are_kept_and_checked(tmp_path):
    bundle = small_bundle()
    levels = {"a": Calibration(-3.0, -1.0, clip=(-0.5, 0.25))}
    bundle.config = replace(bundle.config, calibration=levels)
    save_bundle(bundle, tmp_path)
    assert load_bundle(tmp_path).config == bundle.config
    for clip in ([0.5, 1.0], [-1.0, 0.0], [-1.0]):
        edit(tmp_path, lambda d, clip=clip: d["calibration"]["a"].update(clip=clip))
        with pytest.raises(CheckpointError, match="clip must be a floor of at most 0"):
            load_bundle(tmp_path)
    for key, value in (("clip", 0.5), ("by_context", None)):
        edit(tmp_path, lambda d, k=key, v=value: d["calibration"]["a"].update({"clip": None, k: v}))
        with pytest.raises(CheckpointError, match=f"{key} must be a list, got {value}"):
            load_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_stride": 0}, "frame_stride must be a whole number from 1, got 0"),
        ({"policy": {"kind": "refesh"}}, "exact, refresh, got 'refesh'"),
        ({"policy": {"mode": "Joint"}}, "conditional, joint, got 'Joint'"),
        ({"policy": None}, "policy: expected an object of keys and values, got None"),
        ({"calibration": []}, r"calibration: expected an object of keys and values, got \[\]"),
        ({"calibration": {"walk": {"low": 0, "high": 1}}}, "calibration of walk, the tasks are"),
        ({"calibration": {"a": {"low": 1, "high": 0}}}, "low must be below high"),
        ({"calibration": {"a": {"low": 1, "high": 1}}}, "low must be below high"),
        ({"calibration": {"a": {"low": 0, "high": float("nan")}}}, "both finite, got 0 and nan"),
    ],
)
def test_values_that_would_spoil_rewards_later_are_refused(folder, change, message):
    edit(folder, lambda d: d.update(change))
    with pytest.raises(CheckpointError, match=message):
        load_bundle(folder)


def test_foreign_folders_and_versions(tmp_path, folder):
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_bundle(tmp_path / "nothing")
    edit(folder, lambda d: d.update(format_version=99))
    with pytest.raises(CheckpointError, match="expected format_version 1, got 99"):
        load_bundle(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        load_bundle(folder)


def test_unknown_and_missing_keys(folder):
    edit(folder, lambda d: d["video_model"].update(surprise=1))
    with pytest.raises(CheckpointError, match=r"unknown keys \['surprise'\]"):
        load_bundle(folder)


def test_parts_that_do_not_fit_each_other(folder):
    edit(folder, lambda d: d["video_model"].update(codebook_size=9))
    with pytest.raises(CheckpointError, match="tokenizer has codebook_size 8, video model 9"):
        load_bundle(folder)


def test_wrong_shapes_are_found_before_use(folder):
    edit(folder, lambda d: d["video_model"].update(mlp_dim=25))
    with pytest.raises(CheckpointError, match=r"has shape .* config\.json says"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"mlp_dim": 10**13},
        {"num_layers": 10**7},
        {"num_layers": "8"},
        {"mlp_dim": None},
        {"dropout": 1.5},
    ],
)
def test_a_config_that_describes_no_network_is_named_before_memory_is_taken(folder, change):
    edit(folder, lambda d: d["video_model"].update(change))
    with pytest.raises(CheckpointError, match=r"config (beside it|json)|config\.json"):
        load_bundle(folder)


def test_a_folder_of_something_else_is_not_written_into(tmp_path):
    (tmp_path / "config.json").write_text('{"my": "project"}')
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(CheckpointError, match=r"config\.json is no bundle's"):
        save_bundle(small_bundle(), tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_readme_of_something_else_is_not_replaced_by_a_card(tmp_path):
    (tmp_path / "README.md").write_text("# my project")
    carded = replace(small_bundle(), card="# a model")
    with pytest.raises(CheckpointError, match=r"README\.md would be replaced by the model card"):
        save_bundle(carded, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
    save_bundle(carded, tmp_path / "new")
    (tmp_path / "new" / "config.json").unlink()  # a save that was killed
    save_bundle(carded, tmp_path / "new")
    assert load_bundle(tmp_path / "new").card == "# a model"


@pytest.mark.parametrize("tasks", ["nonsense", ("a", "nonsense")])
def test_a_task_that_the_model_does_not_know_is_named_when_it_is_loaded(folder, tasks):
    with pytest.raises(UnknownTask, match="nonsense"):
        VideoRewardModel.from_pretrained(folder, task=tasks, device="cpu")


def test_tasks_can_be_given_the_names_that_ids_have(tmp_path):
    config = replace(small_bundle().config, preprocessing={"a": {"camera": 1}})
    renamed = config.renamed({"a": "door_close"})
    assert renamed.tasks == ("door_close", *config.tasks[1:])
    assert renamed.preprocessing == {"door_close": {"camera": 1}}
    assert renamed.calibration["door_close"] == config.calibration["a"]
    with pytest.raises(CheckpointError, match="no task x: there are a"):
        config.renamed({"x": "y"})
    with pytest.raises(CheckpointError, match="two tasks of one name"):
        config.renamed({"a": config.tasks[1]})


@pytest.mark.parametrize("kind", ["patch_vq", "vqgan"])
def test_the_callers_default_dtype_does_not_matter(tmp_path, kind):
    save_bundle(small_bundle(kind), tmp_path)
    frames = torch.randint(0, 256, (1, 6, 16, 16, 3), dtype=torch.uint8).numpy()
    frames.flags.writeable = False  # as memory maps are
    expected = VideoRewardModel(load_bundle(tmp_path), device="cpu").log_prob(frames, "a")
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            other = VideoRewardModel(load_bundle(tmp_path), device="cpu").log_prob(frames, "a")
        finally:
            torch.set_default_dtype(torch.float32)
        assert (other == expected).all()


def test_truncated_weights(folder):
    path = folder / "video_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"video_model\.safetensors: not a readable"):
        load_bundle(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"^[^(]*video_model\.safetensors: missing"):
        load_bundle(folder)


def test_missing_tensor_and_nan(folder):
    path = folder / "video_model.safetensors"
    weights = load_file(path)
    start = weights.pop("start")
    save_file(weights, path)
    with pytest.raises(CheckpointError, match=r"missing tensors \['start'\]"):
        load_bundle(folder)
    save_file({**weights, "start": start * float("nan")}, path)
    with pytest.raises(CheckpointError, match="start has NaN"):
        load_bundle(folder)


def test_a_folder_with_the_name_of_a_suite_does_not_replace_it(folder, tmp_path, monkeypatch):
    own = resolve("dmc")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, "dmc", ignore=shutil.ignore_patterns("dmc"))
    assert resolve("dmc") == own
    for path in ("./dmc", Path("dmc")):
        assert VideoRewardModel.from_pretrained(path).tasks == ("a", "b")
        assert resolve(path).resolve() == (tmp_path / "dmc").resolve()
        env = ViperRewardWrapper(CodedEnv(), path, "a", reward_scale="raw")
        env.reset()
        assert env.reward_model.tasks == ("a", "b")
    with pytest.raises(CheckpointError, match="has no revision 'v2'"):
        resolve("./dmc", "v2")


def test_names_resolve_to_folders(folder):
    assert resolve(str(folder)) == folder
    assert (resolve("dmc") / "config.json").is_file()
    with pytest.raises(CheckpointError, match="neither a folder, nor an alias"):
        resolve("nonsense")


def test_every_indexed_task_is_in_its_bundle_and_in_no_other_row():
    rows = read_index()
    names = [(entry.suite, task) for entry in rows.values() for task in entry.tasks]
    assert len(names) == len(set(names))
    for alias, entry in rows.items():  # a bundle may know more: a later one serves it better
        assert set(entry.tasks) <= set(load_bundle(resolve(alias)).config.tasks)
        for task in entry.tasks:  # the suite's name finds it as well
            assert resolve(entry.suite, task=task) == resolve(alias)


def test_the_order_of_tasks_does_not_choose_the_bundle(caplog):
    """`dmc-small` has a class for cartpole_swingup, which is served by another bundle."""
    for tasks in (["cup_catch", "cartpole_swingup"], ["cartpole_swingup", "cup_catch"]):
        with pytest.raises(CheckpointError, match=r"tasks of one bundle, got .*'dmc-5'"):
            resolve("dmc", task=tasks)
    assert resolve("dmc", task=["cheetah_run", None, "cartpole_swingup"]) == resolve("dmc-5")
    VideoRewardModel.from_pretrained("dmc", task="cup_catch")
    VideoRewardModel.from_pretrained("dmc-5")
    assert not caplog.records
    VideoRewardModel.from_pretrained("dmc")
    assert "is the bundle of cup_catch; pass task=" in caplog.text


def test_an_alias_is_audited_on_what_it_serves_and_a_folder_on_all_it_knows():
    known = load_bundle(resolve("dmc")).config.tasks
    assert "reacher_easy" in known and "reacher_easy" not in audited_tasks("dmc", known)
    assert audited_tasks("dmc", known) == read_index()["dmc"].tasks
    assert audited_tasks(str(resolve("dmc")), known) == known


def test_a_task_of_another_bundle_is_said_to_be_there():
    first, *others = read_index().values()
    with pytest.raises(UnknownTask, match=f"; got .*, which is in '{others[0].alias}'"):
        raise unknown_task(first.tasks, others[0].tasks[0])

"""The demo as it runs, on fewer episodes."""

import json

import pytest
from PIL import Image

from viper_gym.benchmark import suite_episodes
from viper_gym.checkpoints.index import entry_of
from viper_gym.cli.demo import Demo


def test_the_demo_leaves_a_picture_a_rollout_and_figures(tmp_path, monkeypatch, capsys):
    pytest.importorskip("dm_control", reason="needs the extra 'dmc'")
    counts = {"expert": 2, "graded": 3, "zero": 1, "random": 1}
    assert counts.keys() < suite_episodes.QUICK_AUDIT.keys()
    monkeypatch.setattr(suite_episodes, "QUICK_AUDIT", counts)
    Demo(tmp_path, ("cup_catch",), workers=0, device="cpu").run()
    told = capsys.readouterr().out
    assert "cup_catch" in told and f"audit.json are in {tmp_path}" in told
    with Image.open(tmp_path / "cup_catch_rewards.png") as picture:
        picture.load()
        assert picture.format == "PNG" and min(picture.size) > 300
    with Image.open(tmp_path / "cup_catch_rollout.gif") as rollout:
        assert rollout.n_frames == 44  # half a window of 8 frames seen, 40 imagined
        assert rollout.width > 2 * rollout.height  # side by side
    (audit,) = json.loads((tmp_path / "audit.json").read_text())["tasks"].values()
    assert audit["episodes"].items() > counts.items()  # and what is made of them
    assert audit["levels"]["expert"] > audit["levels"]["zero"] and audit["auroc_random"] == 1.0
    assert audit["levels_by_age"].keys() == audit["levels"].keys()
    assert all(f"cup_catch: {line}" in told for line in audit["verdict"]) and audit["verdict"]


def test_every_task_of_the_demo_has_a_bundle():
    assert all(entry_of("dmc", task).bundled for task in Demo.tasks)
    assert {"cartpole_swingup", "cheetah_run", "cup_catch", "reacher_easy"} == set(Demo.tasks)

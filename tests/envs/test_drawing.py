"""A view of one's own: collected, gone on with, and drawn again from what a bundle records."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import random_video_model, toy_bundle
from viper_gym.benchmark.suite_episodes import episodes_as_trained
from viper_gym.data.episodes import Episode
from viper_gym.envs.collect import collect
from viper_gym.envs.drawing import Drawing, chosen_view, recorded_drawing
from viper_gym.envs.suite import SUITES, find_suite
from viper_gym.errors import TrainingError

DMC = find_suite("dmc")


def record(drawing: Drawing, out, seeds: int = 1, behaviour: str = "zero") -> Episode:
    options = {"first_seed": 300_000, "workers": 0, "drawing": drawing}
    return Episode.load(collect("pointmass_easy", behaviour, seeds, out, **options)[-1])


def test_episodes_of_a_view_of_ones_own(tmp_path):
    view = chosen_view(DMC, "pointmass_easy", {"image_size": 84, "camera": 1})
    mine = record(Drawing(view, action_repeat=4), tmp_path / "mine")
    own = record(Drawing(), tmp_path / "own")
    assert mine.frames.shape[1:] == (84, 84, 3) and mine.meta["camera"] == 1
    assert mine.meta["action_repeat"] == 4 and 2 * (len(mine.frames) - 1) == len(own.frames) - 1
    assert mine.meta["see_through"] == ["target"]
    again = recorded_drawing(DMC, "pointmass_easy", mine.meta)
    assert again == Drawing(view, action_repeat=4)
    assert np.array_equal(record(again, tmp_path / "again").frames, mine.frames)
    with pytest.raises(TrainingError, match=r"action_repeat 4, not 2; camera 1, not 0; image_size"):
        record(Drawing(), tmp_path / "mine", seeds=2)
    with pytest.raises(TrainingError, match=r"see_through \['target'\], not None: use another"):
        record(recorded_drawing(DMC, "pointmass_easy", {"camera": 0}), tmp_path / "own")


@pytest.mark.parametrize("suite", list(SUITES))
def test_what_a_suites_own_environments_say_makes_them_again(suite):
    found = find_suite(suite)
    task, spec = next(iter(found.tasks.items()))
    said = {**spec.view.recorded(), "action_repeat": spec.action_repeat}
    said |= {"camera": "front", "robot": "sawyer"} if suite == "rlbench" else {}
    drawing = recorded_drawing(found, task, said)
    assert drawing.view == spec.view and drawing.action_repeat == spec.action_repeat
    assert drawing.env_kwargs == ((("robot", "sawyer"),) if suite == "rlbench" else ())
    assert drawing.differences(found, task, said) == []
    assert recorded_drawing(found, task, {}).view == spec.view


@pytest.mark.parametrize(
    ("drawing", "message"),
    [
        (Drawing(env_kwargs=(("robot", "sawyer"),)), "cannot make dmc cup_catch: .*'robot'"),
        (Drawing(action_repeat=0), "action_repeat must be at least 1, got 0"),
        (
            Drawing(chosen_view(DMC, "cup_catch", {"render_quality": "best"})),
            "render_quality must be 'fast' or 'full', got 'best'",
        ),
    ],
)
def test_what_an_environment_does_not_take_is_a_named_error(tmp_path, drawing, message):
    with pytest.raises(TrainingError, match=message):
        collect("cup_catch", "zero", 1, tmp_path, first_seed=1, workers=0, drawing=drawing)


def test_audits_draw_and_resize_as_a_bundle_records(tmp_path):
    config = toy_bundle(random_video_model()).config
    said = {"image_size": 24, "camera": 1, "render_quality": "fast", "action_repeat": 4}
    config = replace(config, preprocessing={"pointmass_easy": said})
    options = {"counts": {"zero": 1}, "folder": tmp_path, "first_seed": 300_000, "workers": 0}
    [episode] = episodes_as_trained(config, "pointmass_easy", **options)["zero"]
    assert episode.frames.shape == (251, 16, 16, 3)  # 1000 control steps, the toy's 16 pixels
    assert episode.meta["camera"] == 1 and episode.meta["resized_from"] == [24, 24]
    assert "see_through" not in episode.meta

"""A view of one's own: collected, gone on with, and drawn again from what a bundle records."""

import json
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from conftest import random_video_model, toy_bundle
from viper_gym.benchmark.suite_episodes import episodes_as_trained
from viper_gym.cli.collect import Collect
from viper_gym.data.episodes import Episode
from viper_gym.envs.behaviours import Held, plan_episode
from viper_gym.envs.collect import collect
from viper_gym.envs.drawing import OWN_DRAWING, Drawing, chosen_view, recorded_drawing
from viper_gym.envs.mujoco_view import configure_rendering
from viper_gym.envs.suite import SUITES, find_suite
from viper_gym.envs.tasks import View
from viper_gym.errors import CheckpointError, TrainingError, UnknownTask

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
        (Drawing(View(camera=7)), "cannot make dmc cup_catch: .*7"),
        (Drawing(View(see_through=("nothing",))), "cannot make dmc cup_catch: .*nothing"),
        (Drawing(env_kwargs=(("view", 1),)), "multiple values for keyword argument 'view'"),
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
    assert not (tmp_path / "pointmass_easy").exists()  # bundles of another view share the folder
    with pytest.raises(UnknownTask, match="unknown dmc task 'fold_towel'"):
        episodes_as_trained(config, "fold_towel", **options)
    config = replace(config, preprocessing={"pointmass_easy": {"camera": "front"}})
    with pytest.raises(
        CheckpointError, match=r"camera must be the number .* 'front'\. Audit it on"
    ):
        episodes_as_trained(config, "pointmass_easy", **options)


def test_views_are_refused_by_name_on_the_command_line(tmp_path):
    for view, message in (
        ({"image_size": "0"}, "--view: image_size must be a number of pixels, got 0"),
        ({"camera": "side"}, "--view: camera must be the number of a camera, got 'side'"),
        ({"zoom": "2"}, "--view: .* can be chosen, not zoom"),
    ):
        with pytest.raises(TrainingError, match=message):
            Collect(("cup_catch",), episodes=1, view=view, out=tmp_path, workers=0).run()
    assert not list(tmp_path.iterdir())


def test_a_few_long_steps_can_be_planned():
    for behaviour in ("diverse", "graded", "stop", "expert", "held", "rest"):
        plan = plan_episode(behaviour, Held(2), 2, 3, DMC.recipe.scaled(2 / 500))
        assert plan.length == 2 or behaviour == "diverse"


def test_lengths_and_thresholds_follow_the_action_repeat(tmp_path):
    stop = plan_episode("stop", Held(2), 2, 3, DMC.recipe.scaled(0.2))
    assert stop.length == 100 and stop.policy._at <= 30
    assert DMC.recipe.scaled(1.0) == DMC.recipe
    options = {"first_seed": 300_000, "workers": 0, "drawing": Drawing(action_repeat=10)}
    [path] = collect("cup_catch", "expert", 1, tmp_path, **options)
    expert = Episode.load(path)
    assert len(expert.frames) == 101
    for share, good in ((0.75, False), (0.85, True)):
        rewards = np.full(100, share * 10 * 0.974, np.float32)
        assert DMC.is_good("cup_catch", replace(expert, rewards=rewards)) == good


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"image_size": 0}, "image_size must be a number of pixels, got 0"),
        ({"image_size": "big"}, "image_size must be"),
        ({"camera": None}, "camera must be the number of a camera, got None"),
        ({"camera": -1}, "camera must be"),
        ({"fovy": 0}, "fovy must be degrees"),
        ({"fovy": {"a": 1}}, "fovy must be"),
        ({"free_camera": [1, 2]}, "free_camera must be six numbers"),
        ({"see_through": "target"}, "see_through must be a list of names"),
    ],
)
def test_views_that_nothing_can_be_drawn_with(view, message):
    with pytest.raises(ValueError, match=message):
        chosen_view(DMC, "cup_catch", view)


def test_what_a_drawing_gives_to_ids():
    view = chosen_view(DMC, "cup_catch", {"camera": 0, "fovy": None})
    options = Drawing(view, 4).options(DMC)
    assert options["view"]["fovy"] is None and options["action_repeat"] == 4
    env = gym.make("viper/dmc-cup_catch-v0", checkpoint=None, **options)
    said = env.unwrapped.preprocessing
    assert said["fovy"] is None and said["action_repeat"] == 4
    env.close()
    pong = find_suite("atari")
    assert Drawing(pong.tasks["pong"].view).options(pong) == {"view": {"image_size": 64}}
    assert OWN_DRAWING.options(DMC) == {}
    assert OWN_DRAWING.is_own(DMC, "cup_catch") and not Drawing(view).is_own(DMC, "cup_catch")


def test_another_robot_is_another_drawing():
    rlbench = find_suite("rlbench")
    said = {"robot": "sawyer", "image_size": 64}
    assert OWN_DRAWING.differences(rlbench, "take_umbrella", said) == ["robot sawyer, not panda"]
    assert not Drawing(env_kwargs=(("robot", "sawyer"),)).differences(rlbench, "a", said)


def test_cameras_and_geoms_that_a_scene_lacks_are_named():
    for view, message in (
        ({"camera": 9, "fovy": 30.0}, "camera: the scene has 2, from 0 on, got 9"),
        ({"see_through": ["nix"]}, "see_through: .*nix"),
    ):
        with pytest.raises(ValueError, match=message):
            gym.make("viper/dmc-cup_catch-v0", checkpoint=None, view=view)
    with pytest.raises(TypeError, match="view: expected fields and values"):
        gym.make("viper/dmc-cup_catch-v0", checkpoint=None, view="close")
    view = View(image_size=np.int64(84), fovy=np.float32(30))
    assert json.dumps(view.recorded()).count("84") == 1


def test_what_has_no_material_of_its_own_is_made_transparent_alone():
    import mujoco

    model = mujoco.MjModel.from_xml_string("""<mujoco><asset><material name="m"/></asset><worldbody>
        <camera name="c"/><geom name="bare" size="1"/><geom name="made" size="1" material="m"/>
        </worldbody></mujoco>""")
    configure_rendering(model, View(see_through=("bare",)))
    assert model.mat_rgba[0, 3] == 1.0 and model.geom("bare").rgba[3] == 0.5
    configure_rendering(model, View(see_through=("made",)))
    assert model.mat_rgba[0, 3] == 0.5 and model.geom("made").rgba[3] == 1.0

"""The RLBench adapter, on a stand-in of the same signatures: CoppeliaSim cannot be installed here.

What really runs: the checks before the import, the contract against the stand-in, and everything
that the adapter does by itself. `test_in_the_simulator` runs where RLBench is.
"""

import importlib.util
import inspect
import json
import os
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from PIL import Image

import viper_gym  # noqa: F401
from viper_gym.data.episodes import Episode
from viper_gym.data.videos import load_folder
from viper_gym.diagnosis import rlbench as diagnosis
from viper_gym.envs.collect import _ENVS, collect, read_index
from viper_gym.envs.rlbench import (
    RESET_ATTEMPTS,
    RLBENCH_TASKS,
    STEPS,
    RLBenchEnv,
)
from viper_gym.envs.rlbench_installation import contract_differences, missing_parts
from viper_gym.envs.suite import SUITES, find_suite
from viper_gym.errors import CheckpointError, SimulatorUnavailable, UnknownTask

STAND_IN = Path(__file__).parent / "rlbench_stand_in"
TASK = "pick_and_lift"
LIFT = np.array([1, 0, 0, 0, 0, 0, 0, -1], np.float32)  # the last: close the gripper


@pytest.fixture
def simulator(tmp_path, monkeypatch):
    """An environment in which the stand-in passes for an installed RLBench."""
    (tmp_path / "libcoppeliaSim.so.1").touch()
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/elsewhere:{tmp_path}")
    monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.syspath_prepend(str(STAND_IN))
    yield
    RLBenchEnv._running = None  # tests leave environments open
    for name in [m for m in sys.modules if m.split(".")[0] in ("rlbench", "pyrep")]:
        del sys.modules[name]


@pytest.mark.skipif(bool(importlib.util.find_spec("rlbench")), reason="RLBench is installed")
def test_without_a_simulator_the_error_names_everything_that_is_missing(monkeypatch):
    for name in ("COPPELIASIM_ROOT", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SimulatorUnavailable) as error:
        RLBenchEnv(TASK)
    for part in ("package 'rlbench'", "'pyrep'", "COPPELIASIM_ROOT", "display", "CoppeliaSim 4.1"):
        assert part in str(error.value)
    with pytest.raises(SimulatorUnavailable):
        find_suite("rlbench").make(TASK)
    assert "rlbench" not in sys.modules
    [finding] = diagnosis.check(timeout=5)
    assert finding.status == "note" and "COPPELIASIM_ROOT" in finding.found


def test_each_part_that_is_missing_is_noticed_before_the_import(simulator, tmp_path, monkeypatch):
    assert missing_parts() == []
    monkeypatch.delenv("DISPLAY")
    assert "DISPLAY" in missing_parts()[0]
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere")
    assert missing_parts() == [f"{tmp_path} in the environment variable LD_LIBRARY_PATH"]
    monkeypatch.setenv("COPPELIASIM_ROOT", str(tmp_path / "no"))
    assert "libcoppeliaSim.so.1" in missing_parts()[0]
    other = tmp_path / "packages" / "pyrep"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()  # what package indexes call pyrep
    monkeypatch.syspath_prepend(str(other.parent))
    assert "another package" in missing_parts()[0]
    assert "rlbench" not in sys.modules and "pyrep" not in sys.modules


def test_the_stand_in_keeps_the_contract_and_a_breach_is_named(simulator, monkeypatch):
    assert contract_differences() == []
    contract = json.loads((resources.files("viper_gym.envs") / "rlbench_contract.json").read_text())
    for name, call in contract["calls"].items():  # the stand-in takes no more than RLBench does
        module, _, path = name.partition(":")
        target = importlib.import_module(module)
        for part in path.split("."):
            target = getattr(target, part)
        parameters = [p for p in inspect.signature(target).parameters if p != "self"]
        assert parameters == call["parameters"], name
    from rlbench import backend, observation_config, tasks
    from rlbench import task_environment as te
    from rlbench.environment import Environment

    monkeypatch.setattr(Environment, "__init__", lambda self, action_mode, headless: None)
    monkeypatch.setattr(te.TaskEnvironment, "reset", lambda self, demo: None)
    monkeypatch.delattr(te.TaskEnvironment, "get_demos")
    monkeypatch.setattr(observation_config, "CameraConfig", lambda rgb=True, depth=True: None)
    monkeypatch.setattr(backend.observation, "Observation", lambda wrist_rgb: None)
    monkeypatch.delattr(tasks.pick_up_cup, "PickUpCup")
    monkeypatch.setattr(sys.modules["pyrep.const"], "RenderMode", SimpleNamespace(OPENGL3=7))
    found = " | ".join(contract_differences())
    for breach in (
        "Environment cannot be called as it is here: got an unexpected keyword argument",
        "TaskEnvironment.reset cannot be called",
        "get_demos is not there",
        "CameraConfig cannot be called",
        "Observation has no field front_rgb",
        "PickUpCup is not there",
        "RenderMode.OPENGL is not there",
    ):
        assert breach in found, found


def test_the_adapters_six_tasks_are_rlbenchs(simulator):
    for task in RLBENCH_TASKS:
        RLBenchEnv(task).close()
    with pytest.raises(UnknownTask, match=r"no task 'fly'.*pick_up_cup"):
        RLBenchEnv("fly")
    with pytest.raises(UnknownTask, match="planner"):
        find_suite("rlbench").expert(TASK, None)
    with pytest.raises(ValueError, match="panda, sawyer"):
        RLBenchEnv(TASK, robot="ur5")
    with pytest.raises(ValueError, match="'fast' or 'full'"):
        RLBenchEnv(TASK, render_quality="best")


@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_environment_checker(simulator, observation):
    env = RLBenchEnv(TASK, observation=observation)
    check_env(env, skip_render_check=True)
    assert env.render().shape == (64, 64, 3)


def test_only_the_front_camera_draws_and_objects_can_be_grasped(simulator):
    from rlbench.environment import MADE

    env = RLBenchEnv(TASK, robot="sawyer", render_quality="fast")
    made = MADE[-1]
    front = made.obs_config.front_camera
    assert (front.rgb, front.depth, front.point_cloud, front.mask) == (True, False, False, False)
    assert front.image_size == (64, 64) and front.render_mode.name == "OPENGL"
    assert not made.obs_config.wrist_camera.rgb and not made.obs_config.gripper_touch_forces
    assert made.robot_setup == "sawyer" and made.headless
    assert env.preprocessing["robot"] == "sawyer" and env.preprocessing["action_repeat"] == 4
    with pytest.raises(SimulatorUnavailable, match=f"a process, and '{TASK}' is open"):
        RLBenchEnv(TASK)
    env.close()
    assert not made.running
    slow = RLBenchEnv(TASK, action_repeat=1)
    assert slow.view.render_quality == "full" and slow.metadata["render_fps"] == 20
    with pytest.raises(ValueError, match="at least 1, got 0"):
        RLBenchEnv(TASK, action_repeat=0)


def test_actions_are_held_until_success_which_ends_the_episode(simulator):
    env = RLBenchEnv(TASK)
    first, info = env.reset(seed=3)
    assert first.max() == 0 and info["descriptions"] and info["success"] == 0.0
    steps, over = 0, False
    while not over:
        frame, reward, over, truncated, info = env.step(LIFT)
        steps += 1
        assert not truncated and info["success"] == float(over)
    height = float(env.state()[-1])
    control = int(np.floor((0.4 + height) / 0.05)) + 1  # 0.05 rad a simulator step
    assert frame.max() == control and steps == -(-control // 4) and reward == 1.0
    env.reset()
    opened = LIFT * [1, 1, 1, 1, 1, 1, 1, -1]
    assert not any(env.step(opened)[2] for _ in range(8))  # the same way, the gripper open


def test_seeds_decide_and_the_users_random_numbers_are_left_alone(simulator):
    env = RLBenchEnv(TASK)
    np.random.seed(5)
    expected = np.random.uniform(size=3)
    np.random.seed(5)
    env.reset(seed=1)
    one = env.state()[-1]
    env.reset()
    two = env.state()[-1]
    env.reset(seed=1)
    assert env.state()[-1] == one != two
    assert np.array_equal(np.random.uniform(size=3), expected)


def test_bad_placements_are_tried_again_and_bad_actions_are_named(simulator):
    from rlbench import task_environment

    env = RLBenchEnv(TASK)
    still = np.zeros(8, np.float32)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(still)
    task_environment.FAILURES[:] = [1] * (RESET_ATTEMPTS - 1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(8,\), got \(7,\)"):
        env.step(still[:7])
    task_environment.FAILURES[:] = [1] * RESET_ATTEMPTS
    with pytest.raises(task_environment.TaskEnvironmentError):
        env.reset(seed=0)
    assert not task_environment.FAILURES
    task_environment.FAILURES[:] = [1] * 100
    with pytest.raises(RuntimeError, match=f"could not place {TASK}"):  # as of a planner's failure
        env.record_demo(seed=0)
    task_environment.FAILURES.clear()


@pytest.mark.parametrize("repeat", [1, 4])
def test_episodes_end_after_so_many_simulator_steps(simulator, repeat):
    env = RLBenchEnv(TASK, action_repeat=repeat)
    env.reset(seed=0)
    still = np.zeros(8, np.float32)
    ends = [env.step(still)[3] for _ in range(STEPS // repeat)]
    assert ends == [False] * (STEPS // repeat - 1) + [True]


def test_a_demonstration_is_an_episode_that_ends_with_success(simulator):
    env = RLBenchEnv(TASK)
    episode = env.record_demo(seed=4)
    times = episode.frames[:, 0, 0, 0].tolist()
    assert times[:3] == [0, 4, 8] and times[-1] == times[-2] + (times[-1] - 1) % 4 + 1
    assert times[-1] in (9, 10) and episode.meta["success"] and episode.meta["camera"] == "front"
    again = env.record_demo(seed=4)
    assert np.array_equal(again.frames, episode.frames)
    assert not env._task.position_control  # which would make joint velocities do nothing
    with pytest.raises(gym.error.ResetNeeded):
        env.step(LIFT)


def test_demonstrations_and_cheap_behaviours_are_collected(simulator, tmp_path, monkeypatch):
    [path] = collect(TASK, "zero", 1, tmp_path, first_seed=0, workers=0, suite="rlbench")
    episode = Episode.load(path)
    assert len(episode.frames) == STEPS // 4 + 1 and episode.meta["robot"] == "panda"
    [path] = collect(TASK, "diverse", 1, tmp_path, first_seed=4, workers=0, suite="rlbench")
    demonstration = Episode.load(path)
    _ENVS.popitem()[1].close()  # RLBench allows one at a time
    env = RLBenchEnv(TASK)
    assert np.array_equal(demonstration.frames, env.record_demo(seed=4).frames)
    env.close()
    assert demonstration.meta["behaviour"] == "diverse" and demonstration.meta["success"]
    [line] = read_index(path.parent / "index.jsonl")
    assert (
        line["return"] is None and line["kept"] and line["steps"] == len(demonstration.frames) - 1
    )
    fails = iter([True, False])

    def demonstration(env, seed):
        if next(fails):
            raise RuntimeError("no path")
        return Episode.load(path)

    suite = find_suite("rlbench")
    monkeypatch.setitem(SUITES, "rlbench", replace(suite, demonstrate=demonstration))
    collect(TASK, "expert", 1, tmp_path, first_seed=4, workers=0, suite="rlbench")
    lines = read_index(tmp_path / TASK / "expert" / "index.jsonl")
    assert [(line["kept"], line["note"]) for line in lines] == [
        (False, "no path"), (True, "demonstration")
    ]  # fmt: skip

    def closed(env, seed):
        raise SimulatorUnavailable("no display")

    monkeypatch.setitem(SUITES, "rlbench", replace(suite, demonstrate=closed))
    with pytest.raises(SimulatorUnavailable):  # which no other seed would mend
        collect(TASK, "expert", 2, tmp_path, first_seed=4, workers=0, suite="rlbench")
    with pytest.raises(UnknownTask, match="nothing that suite 'rlbench' can show"):
        collect(TASK, "graded", 1, tmp_path, first_seed=0, workers=0, suite="rlbench")
    with pytest.raises(UnknownTask, match="planner"):
        find_suite("rlbench").expert(TASK, None)


def test_saved_demonstrations_are_videos_without_a_simulator(tmp_path):
    for number in range(2):
        episode = tmp_path / TASK / "variation0" / "episodes" / f"episode{number}"
        for camera in ("front_rgb", "front_depth", "wrist_rgb"):
            (episode / camera).mkdir(parents=True)
            for t in range(12):  # not padded with zeros, as RLBench writes them
                picture = np.full((128, 128, 3), t * 10 if camera == "front_rgb" else 255, np.uint8)
                Image.fromarray(picture).save(episode / camera / f"{t}.png")
        (episode / "low_dim_obs.pkl").write_bytes(b"never read")
    [(task, episodes)] = load_folder(tmp_path, image_size=64, min_frames=8).items()
    assert task == TASK and len(episodes) == 2
    for e in episodes:
        assert e.frames.shape == (12, 64, 64, 3)
        assert e.frames[:, 0, 0, 0].tolist() == [10 * t for t in range(12)]


@pytest.mark.skipif(
    not os.environ.get("COPPELIASIM_ROOT"), reason="needs RLBench and CoppeliaSim 4.1.0"
)
@pytest.mark.parametrize("task", RLBENCH_TASKS)
def test_in_the_simulator(task):
    assert contract_differences() == []
    env = RLBenchEnv(task)
    frame, _ = env.reset(seed=0)
    assert frame.shape == (64, 64, 3) and frame.std() > 5
    env.step(np.zeros(8, np.float32))
    assert len(env.record_demo(seed=0).frames) > 10
    env.close()


def test_a_wrapper_that_refuses_leaves_no_environment_open(simulator):
    for _ in range(2):  # RLBench has one at a time
        with pytest.raises(UnknownTask):
            gym.make(f"viper/rlbench-{TASK}-v0", checkpoint="dmc")
    other_arm = {"checkpoint": None, "env_kwargs": {"robot": "sawyer"}}
    env = gym.make(f"viper/rlbench-{TASK}-v0", **other_arm)
    assert env.unwrapped.preprocessing["robot"] == "sawyer"
    env.close()


def test_ids_want_a_checkpoint_of_ones_own():
    with pytest.raises(CheckpointError, match="no published checkpoint serves rlbench pick_up_cup"):
        gym.make("viper/rlbench-pick_up_cup-v0")

"""Real dm_control, real pixels."""

import copy
import ctypes.util
import gc
import json
import pickle
import subprocess
import sys
import threading

import gymnasium as gym
import numpy as np
import pytest

import viper_gym  # noqa: F401
from viper_gym.data.episodes import Episode
from viper_gym.envs.behaviours import BEHAVIOURS, Switch, plan_episode
from viper_gym.envs.collect import collect, read_index
from viper_gym.envs.dmc import DMCEnv
from viper_gym.envs.oracle import Oracle
from viper_gym.envs.tasks import DMC_TASKS
from viper_gym.errors import RenderingUnavailable, UnknownTask


@pytest.mark.parametrize("task", sorted(DMC_TASKS))
def test_frames_show_the_task(task):
    env = DMCEnv(task)
    first, _ = env.reset(seed=1)
    assert env.observation_space.contains(first)
    assert first.std() > 5  # a picture, not a blank
    env.action_space.seed(0)
    for _ in range(30):
        frame, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert (np.abs(frame.astype(int) - first) > 16).sum() > 10
    assert not (terminated or truncated) and reward >= 0 and info == {}
    env.close()


def test_episode_is_500_steps_and_seeded():
    returns, frames = [], []
    for _ in range(2):
        env = DMCEnv("cartpole_swingup", observation="state")
        env.reset(seed=5)
        total, steps, over = 0.0, 0, False
        while not over:
            _, reward, terminated, over, _ = env.step(np.array([0.3]))
            total, steps = total + reward, steps + 1
            assert not terminated
        returns.append(total)
        frames.append(env.render())
    assert steps == 500
    assert returns[0] == returns[1]
    assert np.abs(frames[0].astype(int) - frames[1]).max() <= 2
    env.reset(seed=6)
    assert env.observation_space.contains(env.state())


def test_errors_after_the_first_frame_are_not_blamed_on_gl(monkeypatch):
    import mujoco

    def broken(*_, **__):
        raise ZeroDivisionError

    env = DMCEnv("cup_catch")
    monkeypatch.setattr("mujoco.rendering.classic.gl_context.GLContext", broken)
    with pytest.raises(RenderingUnavailable, match=r"libosmesa6|export MUJOCO_GL=osmesa"):
        env.reset(seed=0)
    monkeypatch.undo()
    env.reset(seed=0)
    monkeypatch.setattr(mujoco.Renderer, "render", broken)
    with pytest.raises(ZeroDivisionError):
        env.render()
    monkeypatch.undo()
    env.close()


def test_other_renderers_in_the_process_change_no_picture():
    """dm_control's, Gymnasium's and MuJoCo's own all take the one current context of a thread."""
    import gymnasium as gym
    import mujoco
    from dm_control import suite

    def theirs():
        return plain.physics.render(64, 64, camera_id=0)

    ours, other = DMCEnv("cartpole_swingup"), DMCEnv("cheetah_run")
    frames = [env.reset(seed=0)[0] for env in (ours, other)]
    plain = suite.load("ball_in_cup", "catch", task_kwargs={"random": 0})
    plain.reset()
    expected = theirs()
    np.testing.assert_array_equal(ours.render(), frames[0])
    np.testing.assert_array_equal(theirs(), expected)
    other.close()
    np.testing.assert_array_equal(theirs(), expected)
    plain.close()

    hopper = gym.make("Hopper-v5", render_mode="rgb_array", width=64, height=64)
    hopper.reset(seed=0)
    expected = hopper.render()
    np.testing.assert_array_equal(ours.render(), frames[0])
    np.testing.assert_array_equal(hopper.render(), expected)
    another = DMCEnv("cup_catch")
    another.reset(seed=0)
    del another  # without being closed
    gc.collect()
    np.testing.assert_array_equal(hopper.render(), expected)
    hopper.close()

    drawn = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 32, 32)
    for _ in range(2):
        drawn.render()
        np.testing.assert_array_equal(ours.render(), frames[0])
    drawn.close()
    np.testing.assert_array_equal(ours.render(), frames[0])
    ours.close()


def test_another_thread_can_draw():
    env, drawn = DMCEnv("cartpole_swingup"), []
    first, _ = env.reset(seed=0)
    thread = threading.Thread(target=lambda: drawn.append(env.render()))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(drawn[0], first)
    np.testing.assert_array_equal(env.render(), first)
    env.close()


def test_the_whole_rail_is_in_the_picture():
    """The default camera crops it; an agent then learns to leave the picture."""
    env = DMCEnv("cartpole_swingup")
    background = env.reset(seed=0)[0]
    for side in (-1.0, 1.0):
        env.reset(seed=0)
        for _ in range(60):
            frame, *_ = env.step(np.array([side]))
        changed = np.abs(frame.astype(int) - background).max(-1) > 40
        assert changed[:, :8].any() or changed[:, -8:].any()


def test_an_environment_that_has_drawn_can_be_copied_and_pickled():
    env = gym.make("viper/dmc-cartpole_swingup-v0", device="cpu")
    env.reset(seed=0)
    action = np.ones(1, np.float32)
    for _ in range(3):
        env.step(action)
    twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    observation, reward, *_ = env.step(action)
    for twin in twins:
        again, paid, *_ = twin.step(action)
        assert np.array_equal(observation, again) and paid == pytest.approx(reward, abs=1e-4)
        with twin.unwrapped.nothing_in_view():  # it draws the model that it simulates
            assert (twin.unwrapped.render() != again).any()
        twin.close()
    env.close()


@pytest.mark.parametrize(
    "argument", [{"action_repeat": 2.5}, {"render_mode": "human"}, {"render_mode": "nonsense"}]
)
def test_what_cannot_be_made_is_said_at_once(argument):
    with pytest.raises(ValueError, match=f"{next(iter(argument))} must be"):
        DMCEnv("cup_catch", **argument)
    assert DMCEnv("cup_catch", action_repeat=np.int64(4)).action_repeat == 4


def test_unknown_names():
    with pytest.raises(UnknownTask, match="cartpole_swingup"):
        DMCEnv("cartpole_fly")
    with pytest.raises(ValueError, match="'fast' or 'full'"):
        DMCEnv("cartpole_swingup", render_quality="ultra").reset()


@pytest.mark.parametrize("task", ["cartpole_swingup", "cheetah_run", "cup_catch"])
def test_oracles_solve_their_tasks(task):
    env, oracle = DMCEnv(task, observation="state"), Oracle(task)
    env.reset(seed=77)
    total, over = 0.0, False
    while not over:
        _, reward, _, over, _ = env.step(oracle(env.state()))
        total += reward
    assert total >= 0.9 * DMC_TASKS[task].expert_return


def test_plans_are_deterministic_and_diverse():
    oracle = Oracle("cartpole_swingup")
    for behaviour in BEHAVIOURS:
        a, b = plan_episode(behaviour, oracle, 1, 3), plan_episode(behaviour, oracle, 1, 3)
        assert (a.note, a.warmup_steps, a.length) == (b.note, b.warmup_steps, b.length)
    notes = {plan_episode("diverse", oracle, 1, seed).note for seed in range(20)}
    assert len(notes) > 10
    with pytest.raises(ValueError, match="unknown behaviour"):
        plan_episode("fly", oracle, 1, 0)


@pytest.mark.parametrize("task", DMC_TASKS)
def test_nothing_in_view_shows_the_scene_alone_and_comes_back(task):
    env = DMCEnv(task)
    env.reset(seed=0)
    before = env.render()
    with env.nothing_in_view():
        one = env.render()
        for _ in range(20):
            env.step(env.action_space.sample() * 0 + 1.0)
        two = env.render()
    least = 3 if task.startswith("pointmass") else 10  # pixels of the body
    assert (before != one).any(-1).sum() > least
    followed = ("cheetah_run", "hopper_stand", "walker_walk", "quadruped_run", "quadruped_walk")
    if task not in followed:  # by cameras that move with the body
        assert np.abs(one.astype(int) - two).max() < 8
    env.reset(seed=0)
    assert np.array_equal(env.render(), before)


def test_a_point_mass_on_its_target_can_be_seen():
    env = DMCEnv("pointmass_easy")
    env.reset(seed=0)
    assert env.preprocessing["see_through"] == ["target"]
    with env.physics.reset_context():
        env.physics.named.data.qpos[["root_x", "root_y"]] = 0.0
    solved = env.render()
    with env.nothing_in_view():
        assert np.abs(env.render().astype(int) - solved).max() > 30


def test_switch_changes_hands_after_exactly_n_steps():
    class Always:
        def __init__(self, value):
            self.value = value

        def reset(self, rng):
            pass

        def __call__(self, state):
            return self.value

    policy = Switch(Always(1), 3, Always(2))
    policy.reset(np.random.default_rng(0))
    assert [policy(None) for _ in range(5)] == [1, 1, 1, 2, 2]


def test_interrupted_collection_goes_on_without_gaps_or_doubles(tmp_path):
    first = collect("cartpole_swingup", "random", 2, tmp_path, first_seed=7, workers=0)
    stamps = [p.stat().st_mtime_ns for p in first]
    index = first[0].parent / "index.jsonl"
    index.write_text(index.read_text() + '{"seed": 9, "ke')  # killed while writing
    again = collect("cartpole_swingup", "random", 3, tmp_path, first_seed=7, workers=0)
    assert [p.name for p in again] == [f"episode_{s:07d}.npz" for s in (7, 8, 9)]
    assert [p.stat().st_mtime_ns for p in again[:2]] == stamps
    episode = Episode.load(again[2])
    assert episode.frames.shape == (501, 64, 64, 3)
    assert episode.meta["task"] == "cartpole_swingup" and episode.meta["fovy"] == 64.0
    assert {line["seed"] for line in read_index(index)} == {7, 8, 9}


def test_no_opengl_names_what_is_there_or_the_library_to_install():
    code = (
        "from viper_gym.envs.dmc import DMCEnv\n"
        "from viper_gym.errors import RenderingUnavailable\n"
        "env = DMCEnv('cartpole_swingup')\n"
        "try: env.reset()\n"
        "except RenderingUnavailable as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "/usr/bin:/bin", "MUJOCO_GL": "disable"},
        capture_output=True,
        text=True,
    )
    there = ctypes.util.find_library("OSMesa")
    named = "export MUJOCO_GL=osmesa" if there else "libegl1"
    assert "MUJOCO_GL=disable" in done.stdout and named in done.stdout, done.stderr


def test_missing_extra_gives_the_pip_line():
    code = (
        "import sys; sys.modules['dm_control'] = None\n"
        "import gymnasium as gym, viper_gym\n"
        "from viper_gym.errors import DependencyNotInstalled\n"
        "try: gym.make('viper/dmc-cartpole_swingup-v0')\n"
        "except DependencyNotInstalled as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "viper-gym[dmc]"' in done.stdout, done.stderr


def test_index_lines_are_json(tmp_path):
    collect("cartpole_swingup", "zero", 1, tmp_path, first_seed=1, workers=0)
    (line,) = (tmp_path / "cartpole_swingup" / "zero" / "index.jsonl").read_text().splitlines()
    assert json.loads(line)["return"] < 50

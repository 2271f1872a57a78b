"""Meta-World: seeding, goals, scripts that succeed, views, and errors without it."""

import sys
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from viper_gym.envs.collect import collect, expert_results
from viper_gym.envs.metaworld import (
    METAWORLD_TASKS,
    STEPS,
    MetaWorldEnv,
    ScriptedExpert,
    hold_pose,
)
from viper_gym.envs.suite import find_suite
from viper_gym.envs.tasks import View
from viper_gym.errors import DependencyNotInstalled, UnknownTask


def test_without_metaworld_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)
    with pytest.raises(DependencyNotInstalled, match=r"viper-gym\[metaworld\]"):
        MetaWorldEnv("pick_place")


def test_unknown_names_say_what_is_known():
    with pytest.raises(UnknownTask, match="known: assembly, bin_picking"):
        MetaWorldEnv("fly")
    with pytest.raises(UnknownTask, match="known: dmc, metaworld"):
        find_suite("mars")


@pytest.fixture(scope="module")
def metaworld():
    return pytest.importorskip("metaworld", reason="needs the extra metaworld")


@pytest.mark.usefixtures("metaworld")
@pytest.mark.filterwarnings("ignore:.*A Box observation space .* is -?infinity")
@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_check_env(observation):
    check_env(MetaWorldEnv("coffee_pull", observation), skip_render_check=True)


@pytest.mark.usefixtures("metaworld")
def test_seeds_choose_object_and_goal():
    env = MetaWorldEnv("pick_place", "state")
    states = [env.reset(seed=s)[0] for s in (1, 2, 1)]
    assert np.array_equal(states[0], states[2])
    assert not np.array_equal(states[0], states[1])
    assert np.abs(states[0][-3:]).max() > 0.05  # the goal is not hidden
    others = [env.reset()[0] for _ in range(2)]
    assert not np.array_equal(*others)  # and drawn anew without a seed


@pytest.mark.usefixtures("metaworld")
def test_episodes_are_cut_and_tell_of_success():
    env, script = MetaWorldEnv("coffee_pull", "state"), ScriptedExpert("coffee_pull")
    env.reset(seed=0)
    script.reset(np.random.default_rng(0))
    success, rewards = [], []
    for t in range(STEPS):
        _, reward, terminated, truncated, info = env.step(script(env.state()))
        success.append(info["success"])
        rewards.append(reward)
        assert not terminated and truncated == (t == STEPS - 1)
    assert 0 < int(np.argmax(success)) < 150 and success[-1] == 1.0
    assert rewards[0] < 5 and max(rewards) == pytest.approx(10.0)


@pytest.mark.usefixtures("metaworld")
@pytest.mark.parametrize("task", list(METAWORLD_TASKS))
def test_the_arm_is_in_view_and_can_be_hidden(task):
    env = MetaWorldEnv(task)
    frame, _ = env.reset(seed=0)
    red = (frame[..., 0] > 90) & (frame[..., 1] < 60)
    assert red.sum() > 80  # where a door closes, the arm begins half out of the picture
    with env.nothing_in_view():
        empty = env.render()
    assert ((empty[..., 0] > 90) & (empty[..., 1] < 60)).sum() < 10
    assert np.array_equal(env.render(), frame)
    env.close()


@pytest.mark.usefixtures("metaworld")
def test_scripts_succeed():
    results = expert_results("peg_unplug_side", 4, suite="metaworld")
    assert sum(bool(r.success) for r in results) >= 3
    assert all(r.task_return > 0 for r in results)


@pytest.mark.usefixtures("metaworld")
def test_training_episodes_end_after_success(tmp_path):
    from viper_gym.data.episodes import Episode

    paths = collect(
        "coffee_pull", "diverse", 2, tmp_path, first_seed=0, workers=0, suite="metaworld"
    )
    for path in paths:
        episode = Episode.load(path)
        assert episode.meta["success"] and episode.meta["free_camera"][4] == 145.0
        assert 30 < len(episode.frames) < STEPS


@pytest.mark.usefixtures("metaworld")
def test_experts_are_seen_at_rest_once_they_have_succeeded(tmp_path):
    """Where they never rest, any still picture is likelier than they are (docs/decisions.md)."""
    from viper_gym.data.episodes import Episode

    (path,) = collect("door_close", "expert", 1, tmp_path, first_seed=3, workers=0,
                      suite="metaworld")  # fmt: skip
    episode = Episode.load(path)
    suite = find_suite("metaworld")
    moved = _moved(episode)
    assert len(moved) == STEPS  # scored experts rest to the end; training videos for `rest_steps`
    at_work = moved[10:30].mean()
    assert moved[-20:].mean() < 0.2 * at_work and at_work > 10
    assert episode.meta["success_steps"] >= suite.rest_steps


@pytest.mark.usefixtures("metaworld")
def test_the_ladders_experts_rest_as_experts_do(tmp_path):
    """Scripts go on after success, as nobody is shown: an expert who takes over must not."""
    from viper_gym.data.episodes import Episode

    paths = collect("door_close", "graded", 12, tmp_path, first_seed=200_000, workers=0,
                    suite="metaworld")  # fmt: skip
    episodes = [Episode.load(path) for path in paths]
    taken_over = [e for e in episodes if ", expert after" in e.meta["note"]]
    succeeded = [e for e in taken_over if e.meta["success_steps"] > 40]
    assert succeeded and len(succeeded) < len(episodes)
    for episode in succeeded:
        assert len(episode.frames) == STEPS + 1
        moved = _moved(episode)
        at = int(episode.meta["note"].split()[-1])
        at_work = moved[at + 5 : at + 25].mean()
        assert moved[-20:].mean() < 0.2 * at_work and at_work > 5, episode.meta["note"]


@pytest.mark.usefixtures("metaworld")
def test_the_pose_is_held_where_the_arm_is_with_the_gripper_as_it_was():
    """The hand lags behind the point that actions move: rest brings that point back to it."""
    suite = find_suite("metaworld")
    assert suite.rest is not None
    env: Any = suite.make("door_close", observation="state")
    env.reset(seed=1)
    action = np.array([0, -1, 0, 0.75], np.float32)
    for _ in range(20):
        env.step(action)
    lead = np.linalg.norm(env.target_lead())
    for step in range(6):
        action = suite.rest(env, action, step)
        assert action[3] == 0.75
        env.step(action)
    assert lead > 0.03 and np.linalg.norm(env.target_lead()) < 0.01  # meters
    np.testing.assert_array_equal(action[:3], 0)
    env.close()


@pytest.mark.usefixtures("metaworld")
def test_experts_rest_where_the_task_stays_solved(tmp_path):
    """A hand brought to rest sinks a little: out of reach's target in half of the episodes."""
    from viper_gym.data.episodes import Episode

    paths = collect("reach", "expert", 4, tmp_path, first_seed=300_000, workers=0,
                    suite="metaworld")  # fmt: skip
    solved = [Episode.load(path).meta["success_steps"] for path in paths]
    assert sum(steps > 100 for steps in solved) >= 3, solved


@pytest.mark.usefixtures("metaworld")
def test_mujoco_may_have_been_imported_first(monkeypatch):
    """It reads MUJOCO_GL when it is imported, and would look for a display."""
    import subprocess

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    script = "import mujoco\nfrom viper_gym.envs.metaworld import MetaWorldEnv\n"
    script += "print(MetaWorldEnv('reach').reset(seed=0)[0].std() > 10)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.usefixtures("metaworld")
@pytest.mark.parametrize("order", ["dm", "md", "pdm", "mdp"])
def test_a_process_with_open_environments_ends_in_silence(order):
    import subprocess

    lines = {
        "d": "a = DMCEnv('cup_catch'); a.reset(seed=0)",
        "m": "b = MetaWorldEnv('coffee_pull'); b.reset(seed=0)",
        "p": "c = suite.load('ball_in_cup', 'catch'); c.physics.render()",
    }
    script = "from viper_gym.envs.gl import configure_headless_gl\nconfigure_headless_gl()\n"
    script += "from dm_control import suite\n"
    script += "from viper_gym.envs.dmc import DMCEnv\n"
    script += "from viper_gym.envs.metaworld import MetaWorldEnv\n"
    script += "\n".join(lines[x] for x in order)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def _moved(episode) -> np.ndarray:
    """Pixels that change at every step, int (T,)."""
    return (np.abs(np.diff(episode.frames.astype(int), axis=0)).max(-1) > 16).sum((1, 2))


@pytest.mark.usefixtures("metaworld")
@pytest.mark.parametrize("task", ["door_close", "coffee_push"])
def test_experts_rest_whatever_the_action_repeat(task):
    """The target is brought back to the hand by so much a control step, however many a frame."""
    env = MetaWorldEnv(task, observation="state", action_repeat=4)
    state, _ = env.reset(seed=0)
    script = ScriptedExpert(task)
    script.reset(np.random.default_rng(0))
    for _ in range(20):
        action = script(state)
        state, *_ = env.step(action)
    hand = env._env.get_endeff_pos().copy()
    for step in range(8):
        env.step(hold_pose(env, action, step))
    assert np.linalg.norm(env._env.get_endeff_pos() - hand) < 0.01  # 2 cm by the pace of one
    env.close()


@pytest.mark.usefixtures("metaworld")
def test_episodes_end_at_so_many_control_steps_where_the_repeat_does_not_divide_them():
    env = MetaWorldEnv("reach", observation="state", action_repeat=7)
    env.reset(seed=0)
    still, ended, played = np.zeros(4, np.float32), False, 0
    while not ended:
        *_, ended, _ = env.step(still)
        played += 1
    assert played == -(-STEPS // 7) and env._steps == STEPS
    env.close()


@pytest.mark.usefixtures("metaworld")
def test_metaworlds_own_cameras_are_turned_upright_and_see_as_wide_as_is_said():
    frames = {}
    for name, view in {
        "corner": View(camera=2),
        "own": View(free_camera=(0.0, 0.68, 0.1, 1.25, 145.0, -45.0)),
        "wide": View(free_camera=(0.0, 0.68, 0.1, 1.25, 145.0, -45.0), fovy=90.0),
    }.items():
        env = MetaWorldEnv("door_close", view=view)
        frames[name] = env.reset(seed=0)[0].astype(int)
        if name == "corner":
            bare = env._renderer.frame(env._env.model, env._env.data)
            assert np.array_equal(bare[::-1, ::-1], frames[name])
        env.close()
    assert (frames["own"] != frames["wide"]).any(-1).mean() > 0.2

"""robosuite: seeding, scripts that succeed with either arm, views, and errors without it.

Most of it needs an environment of its own (`make test-robosuite`).
"""

import sys

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from viper_gym.diagnosis import rendering, reward, suites, versions
from viper_gym.envs.collect import collect, expert_results
from viper_gym.envs.robosuite import ROBOSUITE_TASKS, STEPS, RobosuiteEnv
from viper_gym.envs.suite import find_suite
from viper_gym.errors import DependencyNotInstalled, UnknownTask


def test_without_robosuite_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "robosuite", None)
    with pytest.raises(DependencyNotInstalled, match=r"viper-gym\[robosuite\]"):
        RobosuiteEnv("panda_lift")


def test_unknown_names_say_what_is_known():
    with pytest.raises(UnknownTask, match="known: panda_door, panda_lift"):
        RobosuiteEnv("panda_fly")


@pytest.fixture(scope="module")
def robosuite():
    reason = "needs robosuite, whose mujoco is another: make test-robosuite"
    return pytest.importorskip("robosuite", reason=reason)


@pytest.mark.usefixtures("robosuite")
@pytest.mark.filterwarnings("ignore:.*A Box observation space .* is -?infinity")
@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_check_env(observation):
    check_env(RobosuiteEnv("sawyer_door", observation), skip_render_check=True)


@pytest.mark.usefixtures("robosuite")
def test_seeds_choose_where_things_lie():
    env = RobosuiteEnv("panda_lift", "state")
    states = [env.reset(seed=s)[0] for s in (1, 2, 1)]
    assert np.array_equal(states[0], states[2])
    assert not np.array_equal(states[0], states[1])
    others = [env.reset()[0] for _ in range(2)]
    assert not np.array_equal(*others)  # and drawn anew without a seed


@pytest.mark.usefixtures("robosuite")
@pytest.mark.parametrize("task", list(ROBOSUITE_TASKS))
def test_the_same_script_succeeds_with_either_arm(task):
    results = expert_results(task, 3, first_seed=0, suite="robosuite")
    assert sum(bool(r.success) for r in results) >= 2
    assert max(r.task_return for r in results) < STEPS - 30  # nothing is solved from the start


@pytest.mark.usefixtures("robosuite")
@pytest.mark.parametrize("task", ["panda_stack", "sawyer_door"])
def test_the_arm_is_in_view_and_can_be_hidden(task):
    env = RobosuiteEnv(task)
    frame, _ = env.reset(seed=0)
    with env.nothing_in_view():
        empty = env.render()
    assert (np.abs(frame.astype(int) - empty).max(-1) > 30).sum() > 200  # pixels
    assert np.array_equal(env.render(), frame)
    assert env.preprocessing["free_camera"][4] == 140.0
    env.close()


@pytest.mark.usefixtures("robosuite")
def test_doctor_draws_and_scores_without_another_suite(monkeypatch):
    there = ("mujoco", "robosuite")
    monkeypatch.setattr(suites, "find_spec", lambda name: name in there or None)
    (drawn,), (scored,) = rendering.check(timeout=300), reward.check(timeout=300)
    assert drawn.status in ("ok", "note") and "ms a step" in drawn.found
    assert scored.status == "ok" and "panda_lift are finite" in scored.found
    offered = " ".join(finding.todo for finding in versions.check())
    assert "dmc" not in offered and "metaworld" not in offered


@pytest.mark.usefixtures("robosuite")
def test_training_episodes_end_soon_after_success(tmp_path):
    from viper_gym.data.episodes import Episode

    paths = collect(
        "panda_lift", "diverse", 2, tmp_path, first_seed=0, workers=0, suite="robosuite"
    )
    # those that are scored, too: nothing brings an arm to rest here
    paths += collect(
        "panda_lift", "expert", 1, tmp_path, first_seed=0, workers=0, suite="robosuite"
    )
    for path in paths:
        episode = Episode.load(path)
        assert episode.meta["success"] and 30 < len(episode.frames) < STEPS
        assert episode.meta["success_steps"] <= find_suite("robosuite").settle + 1


@pytest.mark.usefixtures("robosuite")
@pytest.mark.parametrize("task", ["panda_lift", "sawyer_stack"])
def test_a_seed_decides_the_episode_in_every_instance(task):
    """Lift's cube is drawn with the model, once."""
    states = []
    for _ in range(2):
        env = RobosuiteEnv(task, observation="state")
        states.append(env.reset(seed=7)[0])
        env.close()
    assert np.array_equal(*states)

"""An action held for several steps loses no reward, no end and no first frame."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import viper_gym  # noqa: F401
from dot_env import Dot, Solved
from viper_gym.bonus.rnd import RND
from viper_gym.errors import PreprocessingMismatch
from viper_gym.wrappers.hold import HoldAction, HoldActionVector, _Parts
from viper_gym.wrappers.single import ViperRewardWrapper
from viper_gym.wrappers.vector import ViperVectorRewardWrapper

CUP = "viper/dmc-cup_catch-v0"


def test_rewards_of_held_steps_are_summed_up_to_the_end_of_the_episode():
    held, plain = HoldAction(Dot(), 4), Dot()
    held.reset(seed=0)
    plain.reset(seed=0)
    rng, lengths, over = np.random.default_rng(0), [], False
    while not over:
        action = rng.uniform(-2, 2, 1).astype(np.float32)
        observation, reward, _, over, _ = held.step(action)
        steps, ended = [], False
        while len(steps) < 4 and not ended:
            expected, single, _, ended, _ = plain.step(action)
            steps.append(single)
        lengths.append(len(steps))
        assert reward == pytest.approx(sum(steps))
        assert ended == over and np.array_equal(observation, expected)
    assert lengths == [4] * 6 + [1]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_step_in_which_an_episode_ends_or_begins_is_held_no_longer(mode):
    """Environment 1 ends after ten steps, environment 0 after 25."""
    makers = [Dot, lambda: gym.wrappers.TimeLimit(Dot(), 10)]
    plain = SyncVectorEnv(makers, autoreset_mode=mode)
    held = HoldActionVector(SyncVectorEnv(makers, autoreset_mode=mode), 4)
    plain.reset(seed=0)
    held.reset(seed=0)
    again = [1] if mode == AutoresetMode.NEXT_STEP else []  # the step that only resets
    for length in [4, 4, 2, *again, 4]:
        actions = held.action_space.sample()
        observations, rewards, _, over, _ = held.step(actions)
        total = np.zeros(2)
        for _ in range(length):
            expected, single, _, ended, _ = plain.step(actions)
            total += single
        assert rewards == pytest.approx(total)
        assert np.array_equal(over, ended) and np.array_equal(observations, expected)


@pytest.mark.parametrize(("yes", "no"), [(True, False), (1.0, 0.0), (np.float32(1), np.float32(0))])
def test_what_was_solved_while_an_action_is_held_was_solved(yes, no):
    action, told = np.zeros(1, np.float32), []
    env = HoldAction(Solved(6, yes, no), 4)
    env.reset(seed=0)
    for _ in range(3):
        *_, info = env.step(action)
        told.append(info["success"])
        assert type(info["success"]) is type(yes)
    assert told == [no, yes, no]
    envs = HoldActionVector(SyncVectorEnv([lambda n=n: Solved(n, yes, no) for n in (6, 9)]), 4)
    envs.reset(seed=0)
    steps = [envs.step(np.zeros((2, 1), np.float32))[-1]["success"].tolist() for _ in range(3)]
    assert steps == [[no, no], [yes, no], [no, yes]]


def test_a_success_is_not_told_of_the_episode_behind_it():
    """Solved at step 5 of 6, held for 4; the other environment is solved in the same four steps."""
    short = lambda: gym.wrappers.TimeLimit(Solved(5), 6)  # noqa: E731
    vector = SyncVectorEnv([short, lambda: Solved(5)], autoreset_mode=AutoresetMode.SAME_STEP)
    envs, action = HoldActionVector(vector, 4), np.zeros((2, 1), np.float32)
    envs.reset(seed=0)
    envs.step(action)
    *_, over, infos = envs.step(action)
    assert over.tolist() == [True, False] and infos["success"].tolist() == [False, True]
    assert infos["final_info"]["success"].tolist() == [True, False]


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("number", [1, 2])
def test_successes_of_episodes_that_all_end_at_once_are_told(mode, number):
    """Solved at step 5 of 6, held for 4; the reset's info tells nothing."""
    short = lambda: gym.wrappers.TimeLimit(Solved(5), 6)  # noqa: E731
    envs = HoldActionVector(SyncVectorEnv([short] * number, autoreset_mode=mode), 4)
    action = np.zeros((number, 1), np.float32)
    envs.reset(seed=0)
    for _ in range(2):  # episodes
        assert not envs.step(action)[-1]["success"].any()
        *_, over, infos = envs.step(action)
        ended = infos["final_info"] if mode == AutoresetMode.SAME_STEP else infos
        assert over.all() and ended["success"].all()
        if mode == AutoresetMode.DISABLED:
            envs.reset(options={"reset_mask": over})


def test_a_success_that_is_no_number_is_passed_on():
    env = HoldAction(Solved(6, "yes", {"a": 1}), 4)
    env.reset(seed=0)
    env.step(np.zeros(1, np.float32))
    assert env.step(np.zeros(1, np.float32))[-1]["success"] == {"a": 1}  # the last step's


def test_every_frame_is_scored_while_an_action_is_held():
    """Alone and in a vector: the sum of what the same steps give one by one."""
    action = np.full(2, 0.3, np.float32)
    options = {"device": "cpu", "dtype": "fp32"}
    one_by_one = gym.make(CUP, **options)
    one_by_one.reset(seed=7)
    rewards = [one_by_one.step(action)[1] for _ in range(6)]
    held = gym.make(CUP, hold=3, **options)
    held.reset(seed=7)
    envs = gym.make_vec(CUP, 2, hold=3, **options)
    envs.reset(seed=[7, 7])
    for expected in (sum(rewards[:3]), sum(rewards[3:])):
        _, reward, _, _, info = held.step(action)
        assert reward == info["viper/reward"] == pytest.approx(expected, abs=1e-4)
        _, rewards, _, _, infos = envs.step(np.stack([action] * 2))
        assert rewards == pytest.approx([expected] * 2, abs=1e-3)
        assert infos["viper/reward"] == pytest.approx(rewards) and infos["_viper/reward"].all()
    envs.close()


def test_no_steps_at_all_are_refused():
    with pytest.raises(ValueError, match="from 1 on, got 0"):
        HoldAction(Dot(), 0)


@pytest.mark.parametrize("steps", [2.0, "2", None])
def test_what_is_no_number_of_steps_is_refused(steps):
    with pytest.raises(ValueError, match="whole number of steps from 1 on"):
        HoldAction(Dot(), steps)


def test_the_bonus_inside_held_actions_can_be_weighed_anew():
    envs = gym.make_vec("viper/dmc-cup_catch-v0", 2, hold=2, bonus="rnd", device="cpu")
    envs.beta = 0.0
    assert envs.env.beta == envs.beta == 0.0 and isinstance(envs.bonus, RND)
    envs.reset(seed=0)
    *_, info = envs.step(envs.action_space.sample())
    assert info["viper/bonus"].tolist() == [0.0, 0.0]
    assert envs.reward_model is envs.env.reward_model
    envs.close()


def test_frames_that_are_further_apart_than_the_models_are_refused():
    """Held below the reward, three of four frames would not be seen."""
    bare = {"checkpoint": None, "hold": 4}
    with pytest.raises(PreprocessingMismatch, match=r"action_repeat.*2.*8"):
        ViperRewardWrapper(gym.make(CUP, **bare), "dmc", "cup_catch")
    with pytest.raises(PreprocessingMismatch, match=r"action_repeat.*2.*8"):
        ViperVectorRewardWrapper(gym.make_vec(CUP, 2, **bare), "dmc", "cup_catch")
    sb3 = pytest.importorskip("stable_baselines3.common.env_util")
    from viper_gym.wrappers.sb3 import ViperVecEnvWrapper

    with pytest.raises(PreprocessingMismatch, match=r"action_repeat.*2.*8"):
        ViperVecEnvWrapper(sb3.make_vec_env(CUP, 1, env_kwargs=bare), "dmc", "cup_catch")
    assert HoldAction(Dot(), 4).preprocessing is None  # which says nothing of its frames


def test_one_environment_begun_by_hand_lets_the_others_go_on():
    """Environment 1 ends after ten steps; environment 0 is reset then, with a mask."""
    makers = [Dot, lambda: gym.wrappers.TimeLimit(Dot(), 10)]
    held = HoldActionVector(SyncVectorEnv(makers), 4)
    held.reset(seed=0)
    actions = held.action_space.sample()
    for _ in range(3):
        over = held.step(actions)[3]
    assert over.tolist() == [False, True]
    held.reset(options={"reset_mask": np.array([True, False])})
    _, rewards, *_ = held.step(actions)  # only begins environment 1 anew
    assert rewards[1] == 0.0


def test_ends_that_are_told_in_another_form_are_passed_on():
    """An object array, as before Gymnasium 1.1."""
    parts = _Parts()
    parts.add({"success": np.array([True, False])})
    infos = {"final_info": np.array([{"success": True}, None], dtype=object)}
    assert parts.told_of_ended(infos, np.array([True, False]))["final_info"] is infos["final_info"]
    assert parts.values["success"].tolist() == [False, False]


def test_videos_of_held_actions_are_as_fast_as_the_environment():
    env = gym.make("viper/dmc-pendulum_swingup-v0", checkpoint=None)
    fps = env.metadata["render_fps"]
    assert HoldAction(env, 5).metadata == {**env.metadata, "render_fps": round(fps / 5)}
    envs = gym.make_vec("viper/dmc-pendulum_swingup-v0", 1, checkpoint=None)
    held = HoldActionVector(envs, 1000)
    assert held.metadata["render_fps"] == 1 and env.metadata["render_fps"] == fps
    assert held.metadata["autoreset_mode"] == envs.metadata["autoreset_mode"]
    envs.close()

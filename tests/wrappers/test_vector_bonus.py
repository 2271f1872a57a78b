"""A bonus for vector environments: the single wrapper's numbers, whatever resets when."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from conftest import CodedEnv, Ones, random_video_model, toy_bundle
from viper_gym import BonusRewardWrapper, BonusVectorRewardWrapper, ViperRewardWrapper
from viper_gym.errors import FrameMismatch
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.wrappers.frames import FrameInInfo


class Change:
    """The bonus tells both pictures of a step, and what was done; counts what it learned from."""

    def __init__(self):
        self.learned = 0

    def compute(self, transition):
        now, before = (x.reshape(len(x), -1).mean(1) for x in (transition.frame, transition[0]))
        return (now - 0.25 * before + transition.action.argmax(1)).astype(np.float32)

    def update(self, transition):
        self.learned += len(transition.frame)

    def state_dict(self):
        return {}


class Copying(CodedEnv):
    """Gymnasium's vector environments keep the last observation by reference."""

    def _observe(self):
        return super()._observe().copy()


def single(length: int, weight: float, steps: int) -> list[tuple[float, dict]]:
    env = BonusRewardWrapper(Copying(length), Change(), beta=0.5, task_reward_weight=weight)
    told = []
    for _ in range(steps // length):
        env.reset()
        for _ in range(length):
            _, reward, _, _, info = env.step(0)
            told.append((reward, info))
    return told


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_numbers_are_those_of_single_environments(mode, weight):
    lengths, steps = (3, 5), 30
    makers = [lambda n=n: Copying(n) for n in lengths]
    bonus = Change()
    envs = BonusVectorRewardWrapper(
        SyncVectorEnv(makers, autoreset_mode=mode), bonus, beta=0.5, task_reward_weight=weight
    )
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.zeros(2, np.int64))
    envs.reset()
    assert envs.bonus is bonus
    told: list[list] = [[], []]
    for _ in range(steps):
        _, rewards, terminated, truncated, info = envs.step(np.zeros(2, np.int64))
        for i in range(2):
            if info["_viper/bonus"][i]:
                ours = [k for k in info if k.startswith("viper/") and info[f"_{k}"][i]]
                of_env = {k: info[k][i] for k in ours}
                told[i].append((rewards[i], of_env))
            else:
                assert rewards[i] == 0 and mode == AutoresetMode.NEXT_STEP
        if mode == AutoresetMode.DISABLED and (truncated | terminated).any():
            envs.reset(options={"reset_mask": truncated | terminated})
    for got, length in zip(told, lengths, strict=True):
        expected = single(length, weight, steps)
        assert len({round(reward, 3) for reward, _ in expected}) > 1
        for (reward, info), (other, of_other) in zip(got, expected, strict=False):
            assert reward == pytest.approx(other)
            assert info == pytest.approx(of_other)
    assert bonus.learned == sum(len(rows) for rows in told)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_frames_in_infos_and_rendered_ones_give_the_same_and_are_kept_back(mode):
    told = []
    for make in (lambda: Copying(3), lambda: FrameInInfo(Copying(3, pixels=False))):
        envs = SyncVectorEnv([make] * 2, autoreset_mode=mode)
        envs = BonusVectorRewardWrapper(envs, Change(), task_reward_weight=0.0)
        infos = [envs.reset()[1]]
        rewards = []
        for _ in range(9):
            _, reward, _, _, info = envs.step(np.zeros(2, np.int64))
            rewards.append(reward)
            infos += [info, info.get("final_info", {})]
        assert not any(key.endswith("viper/frame") for info in infos for key in info)
        told.append(np.array(rewards))
    assert np.array_equal(told[0], told[1]) and len(np.unique(told[0])) > 1


def test_small_frames_and_unknown_names_are_refused():
    envs = BonusVectorRewardWrapper(SyncVectorEnv([Copying] * 2))
    with pytest.raises(FrameMismatch, match=r"36 pixels.*16x16"):
        envs.reset()
    with pytest.raises(ValueError, match="bonus must be 'rnd'"):
        BonusVectorRewardWrapper(SyncVectorEnv([Copying]), "curiosity")


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("lengths", [(3, 3), (3, 5)])
def test_around_environments_that_a_video_pays_the_tasks_rewards_are_told(mode, lengths):
    """Each scored for itself; the task pays 2 a step, the inner bonus 1."""
    model = VideoRewardModel(toy_bundle(random_video_model()), device="cpu", dtype="fp32")
    makers = [
        lambda n=n: ViperRewardWrapper(CodedEnv(n), model, "a", reward_scale="raw", bonus=Ones())
        for n in lengths
    ]
    envs = BonusVectorRewardWrapper(SyncVectorEnv(makers, autoreset_mode=mode), Ones())
    envs.reset(seed=0)
    ends = 0
    for _ in range(9):
        *_, terminated, truncated, info = envs.step(np.zeros(2, int))
        over, made = terminated | truncated, info["_viper/task_reward"]
        assert (info["viper/task_reward"][made] == 2.0).all()
        assert (info["viper/bonus"][made] == 2.0).all()
        if over.any():
            ends += over.sum()
            expected = 2.0 * np.array(lengths)
            assert (info["viper/task_return"] == np.where(over, expected, 0)).all()
        if mode == AutoresetMode.DISABLED and over.any():
            envs.reset(options={"reset_mask": over})
    assert ends >= 3

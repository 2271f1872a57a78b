"""A bonus for vector environments: the single wrapper's numbers, whatever resets when."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from conftest import CodedEnv
from viper_gym import BonusRewardWrapper, BonusVectorRewardWrapper
from viper_gym.errors import FrameMismatch


class Change:
    """The bonus is how much brighter the step made the picture; remembers what it learned from."""

    def __init__(self):
        self.learned = 0

    def compute(self, transition):
        now, before = (x.reshape(len(x), -1).mean(1) for x in (transition.frame, transition[0]))
        return (now - before + transition.action.argmax(1)).astype(np.float32)

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
                of_env = {k: v[i] for k, v in info.items() if info.get(f"_{k}", [False] * 2)[i]}
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
            ours = {k: v for k, v in info.items() if k.startswith("viper/")}
            assert ours == pytest.approx(of_other)
    assert bonus.learned == sum(len(rows) for rows in told)


def test_frames_inside_infos_are_left_out_and_small_ones_refused():
    envs = BonusVectorRewardWrapper(SyncVectorEnv([Copying] * 2))
    with pytest.raises(FrameMismatch, match=r"36 pixels.*16x16"):
        envs.reset()
    with pytest.raises(ValueError, match="bonus must be 'rnd'"):
        BonusVectorRewardWrapper(SyncVectorEnv([Copying]), "curiosity")

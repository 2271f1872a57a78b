"""Environments in processes of their own: the wrappers ask for nothing that would kill a worker."""

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from conftest import CodedEnv, random_video_model, toy_bundle
from viper_gym.errors import PreprocessingMismatch
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.wrappers.frames import FrameInInfo
from viper_gym.wrappers.single import ViperRewardWrapper
from viper_gym.wrappers.vector import ViperVectorRewardWrapper

STEPS = 12  # two episodes and a piece


class Filmed(CodedEnv):
    preprocessing = {"camera": 2}


class Copying(CodedEnv):
    def _observe(self):
        return super()._observe().copy()


def with_frames() -> FrameInInfo:
    return FrameInInfo(CodedEnv(5, pixels=False))


@pytest.fixture(scope="module")
def model() -> VideoRewardModel:
    return VideoRewardModel(toy_bundle(random_video_model(), stride=2), device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def single(model) -> list[float]:
    env = ViperRewardWrapper(CodedEnv(5), model, "a")
    rewards = []
    for _ in range(2):
        env.reset()
        rewards += [env.step(0)[1] for _ in range(5)]
    return rewards


@pytest.mark.parametrize("make", [with_frames, lambda: Copying(5)], ids=["state", "pixels"])
def test_asynchronous_environments_that_say_nothing_of_their_frames(model, single, make):
    envs = AsyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    envs = ViperVectorRewardWrapper(envs, model, "a")
    try:
        envs.reset(seed=0)
        rewards = np.stack([envs.step(np.zeros(2, int))[1] for _ in range(STEPS)])
    finally:
        envs.close()
    assert rewards[:10, 0] == pytest.approx(single, abs=1e-4)
    assert rewards[:10, 1] == pytest.approx(single, abs=1e-4)


def test_subprocess_environments_that_say_nothing_of_their_frames(model, single):
    pytest.importorskip("stable_baselines3", reason="needs the extra 'sb3'")
    from stable_baselines3.common.vec_env import SubprocVecEnv

    from viper_gym.wrappers.sb3 import ViperVecEnvWrapper

    venv = SubprocVecEnv([with_frames] * 2, start_method="fork")
    try:
        venv = ViperVecEnvWrapper(venv, model, "a")
        venv.reset()
        rewards = np.stack([venv.step(np.zeros(2, int))[1] for _ in range(STEPS)])
    finally:
        venv.close()
    assert rewards[:10, 1] == pytest.approx(single, abs=1e-4)


def test_what_asynchronous_environments_say_is_checked(model):
    model.config.preprocessing["a"] = {"camera": 0}
    envs = AsyncVectorEnv([lambda: Filmed(5)] * 2)
    try:
        with pytest.raises(PreprocessingMismatch, match=r"camera.*0.*2"):
            ViperVectorRewardWrapper(envs, model, "a")
    finally:
        del model.config.preprocessing["a"]
        envs.close()

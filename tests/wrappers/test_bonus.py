"""The bonus alone around any environment, and both bonuses by name beside the video reward."""

import json

import gymnasium as gym
import numpy as np
import pytest
import torch

import viper_gym  # noqa: F401  (registers the ids)
from conftest import CodedEnv
from viper_gym import RND, BonusRewardWrapper, BonusVectorRewardWrapper, Disagreement
from viper_gym.bonus.choose import check_bonus
from viper_gym.envs.dmc import DMCEnv
from viper_gym.errors import FrameMismatch


class Half:
    def compute(self, transition):
        return np.full(len(transition.frame), 0.5, np.float32)

    def update(self, transition):
        pass

    def state_dict(self):
        return {}


@pytest.mark.parametrize("weight", [0.0, 1.0, 0.1])
def test_task_reward_and_bonus_are_mixed_and_reported(weight):
    env = BonusRewardWrapper(CodedEnv(length=3), Half(), beta=0.2, task_reward_weight=weight)
    for _ in range(2):
        env.reset()
        for t in range(3):
            _, reward, _, truncated, info = env.step(0)
            assert reward == pytest.approx(weight * 2.0 + 0.1)
            assert info["viper/bonus"] == pytest.approx(0.1) and info["viper/task_reward"] == 2.0
            assert all(type(value) is float for value in info.values())
            assert ("viper/task_return" in info) == truncated == (t == 2)
        assert info["viper/task_return"] == 6.0


@pytest.mark.parametrize(("name", "kind"), [("rnd", RND), ("disagreement", Disagreement)])
@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_by_name_on_a_real_task(name, kind, observation):
    """Standing still is soon known; the first kick is not."""
    env = BonusRewardWrapper(DMCEnv("cartpole_swingup", observation), name, task_reward_weight=0.0)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(1, np.float32))
    env.reset(seed=0)
    assert isinstance(env.bonus, kind)
    still = [env.step(np.zeros(1, np.float32))[1] for _ in range(60)]
    kicked = [env.step(np.ones(1, np.float32))[1] for _ in range(20)]
    assert max(kicked) > 2 * np.mean(still[-20:])
    env.close()


def test_recorded_arguments_name_the_object_and_make_the_wrapper_again():
    env = BonusRewardWrapper(CodedEnv(), RND(64), beta=0.5)
    recorded = json.loads(json.dumps(env._saved_kwargs))
    assert recorded["bonus"] == "rnd"
    assert BonusRewardWrapper(CodedEnv(), **recorded)._saved_kwargs == recorded


def test_stacked_channels_first_observations_give_their_newest_frame():
    class Stacked(gym.ObservationWrapper):
        def __init__(self, env):
            super().__init__(env)
            self.observation_space = gym.spaces.Box(0, 255, (6, 64, 64), np.uint8)

        def observation(self, frame):
            newest = frame.transpose(2, 0, 1)
            return np.concatenate([np.zeros_like(newest), newest])

    bonus, plain = RND(64), RND(64)
    env = BonusRewardWrapper(Stacked(DMCEnv("cup_catch")), bonus, task_reward_weight=0.0)
    twin = BonusRewardWrapper(DMCEnv("cup_catch"), plain, task_reward_weight=0.0)
    env.reset(seed=0)
    twin.reset(seed=0)
    for _ in range(4):
        action = np.ones(2, np.float32)
        assert env.step(action)[1] == pytest.approx(twin.step(action)[1], abs=1e-4)


def test_frames_that_are_not_square_and_frames_too_small():
    class Wide(CodedEnv):
        def render(self):
            return np.zeros((48, 80, 3), np.uint8)

    env = BonusRewardWrapper(Wide(pixels=False))
    env.reset()
    assert np.isfinite(env.step(0)[1])
    with pytest.raises(FrameMismatch, match=r"36 pixels.*16x16"):
        BonusRewardWrapper(CodedEnv()).reset()


def test_a_bonus_made_for_other_frames_is_refused_before_the_first_step():
    with pytest.raises(FrameMismatch, match=r"48x80.*64x64.*RND\(\(64, 64\)\)"):
        BonusRewardWrapper(DMCEnv("cup_catch"), RND((48, 80))).reset()
    with pytest.raises(FrameMismatch, match=r"84x84.*64x64"):
        gym.make("viper/dmc-cup_catch-v0", bonus=RND(84), device="cpu")
    BonusRewardWrapper(DMCEnv("cup_catch"), RND((64, 64))).reset()


@pytest.mark.parametrize("name", ["rnd", "disagreement"])
def test_named_beside_the_video_reward(name):
    env = gym.make("viper/dmc-cup_catch-v0", bonus=name, beta=0.5, device="cpu")
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(20):
        _, reward, _, _, info = env.step(env.action_space.sample())
        assert 0 < info["viper/bonus"] <= 0.5 * 5.0
        assert reward == pytest.approx(info["viper/reward"] + info["viper/bonus"])
    if name == "disagreement":  # the tokenizer's 64 codes of 32 numbers, projected
        assert env.get_wrapper_attr("bonus")._widths[0] % 64 == 0
    env.close()


def test_around_vector_environments_the_right_wrapper_is_named():
    envs = gym.vector.SyncVectorEnv([CodedEnv])
    named = r"BonusVectorRewardWrapper.*make_vec_env\(…, wrapper_class=BonusRewardWrapper\)"
    with pytest.raises(TypeError, match=f"got SyncVectorEnv.*{named}"):
        BonusRewardWrapper(envs)
    with pytest.raises(TypeError, match="got CodedEnv: use BonusRewardWrapper"):
        BonusVectorRewardWrapper(CodedEnv())
    sb3 = pytest.importorskip("stable_baselines3", reason="needs the extra 'sb3'")
    venv = sb3.common.vec_env.DummyVecEnv([CodedEnv])
    with pytest.raises(TypeError, match=r"DummyVecEnv: use make_vec_env\(…, wrapper_class=Bonus"):
        BonusVectorRewardWrapper(venv)


@pytest.fixture
def moves(monkeypatch):
    """Devices that bonuses are put on."""
    asked = []
    for kind in (RND, Disagreement):
        monkeypatch.setattr(kind, "to", lambda self, device: asked.append(device))
    return asked


@pytest.mark.parametrize("name", ["rnd", "disagreement"])
@pytest.mark.parametrize(("device", "expected"), [("auto", "cuda"), ("cpu", "cpu")])
def test_a_bonus_by_name_is_put_on_the_device_at_the_first_reset(
    moves, monkeypatch, name, device, expected
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    env = BonusRewardWrapper(DMCEnv("cup_catch"), name, device=device)
    envs = BonusVectorRewardWrapper(
        gym.vector.SyncVectorEnv([lambda: DMCEnv("cup_catch")]), name, device=device
    )
    assert moves == []  # making them opens no GPU
    for _ in range(2):
        env.reset()
        envs.reset()
    assert moves == [torch.device(expected)] * 2
    own = BonusRewardWrapper(DMCEnv("cup_catch"), RND(64), device=device)
    own.reset()
    assert len(moves) == 2  # an object stays where it was made


def test_a_bonus_beside_a_video_reward_is_on_the_models_device(moves):
    env = gym.make("viper/dmc-cup_catch-v0", bonus="rnd", device="cpu")
    assert moves == []
    env.reset()
    env.reset()
    assert moves == [torch.device("cpu")]
    env.close()


def test_the_class_of_a_bonus_is_no_bonus():
    with pytest.raises(ValueError, match="bonus must be 'rnd'"):
        check_bonus(RND)  # type: ignore[arg-type]

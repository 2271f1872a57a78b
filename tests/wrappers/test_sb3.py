"""The Stable-Baselines3 wrapper among SB3's own wrappers, and as its users call it."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from conftest import CodedEnv, Ones, random_video_model, toy_bundle, with_offsets
from viper_gym.errors import FrameMismatch
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.wrappers.single import ViperRewardWrapper
from viper_gym.wrappers.vector import ViperVectorRewardWrapper

pytest.importorskip("stable_baselines3", reason="needs the extra 'sb3'")
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from viper_gym.wrappers.sb3 import FrameInInfo, LogRewards, ViperVecEnvWrapper

LENGTHS = (5, 7, 9)
STEPS = 30


@pytest.fixture(scope="module")
def model() -> VideoRewardModel:
    bundle = with_offsets(toy_bundle(random_video_model(), stride=2))
    return VideoRewardModel(bundle, device="cpu", dtype="fp32")


def coded(**options) -> DummyVecEnv:
    return DummyVecEnv([lambda n=n: CodedEnv(n, **options) for n in LENGTHS])


def rewards_of(venv) -> np.ndarray:
    venv.reset()
    return np.stack([venv.step(np.zeros(venv.num_envs, int))[1] for _ in range(STEPS)])


def viper(venv, model) -> ViperVecEnvWrapper:
    return ViperVecEnvWrapper(venv, model, "a")


def test_the_bonus_weight_can_be_set_from_outside(model):
    venv = VecMonitor(ViperVecEnvWrapper(coded(), model, "a", bonus=Ones()))
    venv.reset()
    assert venv.get_attr("beta") == [1.0] * 3 and venv.get_attr("beta", [0]) == [1.0]
    venv.set_attr("beta", 0.0)
    *_, infos = venv.step(np.zeros(3, int))
    assert venv.get_attr("beta") == [0.0] * 3
    assert [info["viper/bonus"] for info in infos] == [0.0] * 3
    assert venv.get_attr("length") == list(LENGTHS)  # the environments' own


def test_environments_that_a_video_pays_are_not_paid_again(model):
    class Polite(DummyVecEnv):
        """Answers whatever it is asked for."""

        def has_attr(self, attr_name):
            return True

        def get_attr(self, attr_name, indices=None):
            return [None] * self.num_envs

    assert viper(Polite([lambda: CodedEnv(5)]), model).num_envs == 1
    inside = DummyVecEnv([lambda: ViperRewardWrapper(CodedEnv(5), model, "a")])
    for paid in (inside, VecMonitor(viper(coded(), model))):
        with pytest.raises(ValueError, match="a video model's already"):
            viper(paid, model)


def test_a_reused_observation_array_is_warned_of_once(model):
    venv = viper(coded(), model)  # CodedEnv has one array
    with pytest.warns(UserWarning, match="reuse their observation array.*FrameInInfo") as told:
        rewards_of(venv)
    assert len(told) == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda v, m: VecFrameStack(viper(v, m), 3),
        lambda v, m: viper(VecFrameStack(v, 3), m),
        lambda v, m: VecTransposeImage(viper(v, m)),
        lambda v, m: viper(VecTransposeImage(v), m),
        lambda v, m: viper(VecTransposeImage(VecFrameStack(v, 3)), m),
        lambda v, m: viper(VecFrameStack(VecTransposeImage(v), 3, channels_order="first"), m),
        lambda v, m: VecMonitor(viper(v, m)),
        lambda v, m: viper(VecMonitor(v), m),
        lambda v, m: VecNormalize(viper(v, m), norm_obs=False, norm_reward=False),
    ],
    ids=[
        "under stack", "over stack", "under transpose", "over transpose", "over stack+transpose",
        "over transpose+stack", "under monitor", "over monitor", "under normalize",
    ],
)  # fmt: skip
def test_rewards_do_not_depend_on_the_place_in_the_stack(model, build):
    expected = rewards_of(viper(coded(), model))
    assert rewards_of(build(coded(), model)) == pytest.approx(expected, abs=1e-4)
    assert np.ptp(expected) > 0.1


def test_monitor_inside_sees_the_task_and_outside_the_video(model):
    inside = viper(DummyVecEnv([lambda: Monitor(CodedEnv(5))]), model)
    outside = VecMonitor(viper(DummyVecEnv([lambda: CodedEnv(5)]), model))
    for venv, key in ((inside, "viper/task_return"), (outside, "viper/return")):
        venv.reset()
        for _ in range(5):
            *_, infos = venv.step(np.zeros(1, int))
        assert infos[0]["episode"]["r"] == pytest.approx(infos[0][key], abs=1e-3)
        assert infos[0]["viper/task_return"] == 10.0
        assert infos[0]["TimeLimit.truncated"]


@pytest.mark.filterwarnings("ignore:.*reward_clip")
@pytest.mark.parametrize("terminate", [False, True])
def test_how_an_episode_ended_is_left_as_it_was(model, terminate):
    seen = []
    bare = DummyVecEnv([lambda: CodedEnv(5, terminate, pixels=False)])
    inside = DummyVecEnv([lambda: FrameInInfo(CodedEnv(5, terminate, pixels=False))])
    for venv in (bare, viper(inside, model)):
        venv.reset()
        for _ in range(5):
            _, _, dones, infos = venv.step(np.zeros(1, int))
        seen.append((dones[0], infos[0]["TimeLimit.truncated"], *infos[0]["terminal_observation"]))
    assert seen[0] == seen[1] == (True, not terminate, 0, 5)


def test_evaluate_policy_reports_the_reward_that_the_agent_receives(model):
    agent = PPO("MlpPolicy", coded(pixels=False), n_steps=8, batch_size=8)
    venv = DummyVecEnv([lambda: FrameInInfo(CodedEnv(6, pixels=False))])
    returns, lengths = evaluate_policy(
        agent, VecMonitor(viper(venv, model)), 3, return_episode_rewards=True, warn=False
    )
    single = ViperRewardWrapper(CodedEnv(6), model, "a")
    for value in returns:
        single.reset()
        for _ in range(6):
            *_, info = single.step(0)
        assert value == pytest.approx(info["viper/return"], abs=1e-3)
    assert lengths == [6, 6, 6]


def test_agents_learn_under_it_and_both_returns_are_logged(model):
    venv = viper(DummyVecEnv([lambda: FrameInInfo(CodedEnv(5, pixels=False))] * 2), model)
    agent = PPO("MlpPolicy", venv, n_steps=20, batch_size=20, n_epochs=1)
    seen = {}

    class Reading(LogRewards):
        def _on_rollout_end(self) -> None:
            seen.update(self.logger.name_to_value)

    agent.learn(40, callback=Reading())
    assert seen["viper/task_return"] == 10.0
    assert seen["viper/return"] == pytest.approx(5 * seen["viper/reward"], rel=1e-3)
    assert 0 < seen["viper/time_share"] < 1 and seen["viper/bonus"] == 0


def test_the_wrong_kind_of_environment_names_the_right_wrapper(model):
    single, vector, venv = CodedEnv(), SyncVectorEnv([CodedEnv]), coded()
    cases = [
        (ViperVecEnvWrapper, vector, "ViperVectorRewardWrapper"),
        (ViperVecEnvWrapper, single, "ViperRewardWrapper"),
        (ViperVectorRewardWrapper, venv, "ViperVecEnvWrapper"),
        (ViperVectorRewardWrapper, single, "ViperRewardWrapper"),
        (ViperRewardWrapper, vector, "ViperVectorRewardWrapper"),
        (ViperRewardWrapper, venv, "ViperVecEnvWrapper"),
    ]
    for wrapper, env, name in cases:
        with pytest.raises(TypeError, match=name):
            wrapper(env, model, "a")


def test_frame_stack_observation_of_gymnasium_is_understood(model):
    plain = ViperRewardWrapper(CodedEnv(8), model, "a")
    stacked = gym.wrappers.FrameStackObservation(CodedEnv(8), 3)
    stacked = ViperRewardWrapper(stacked, model, "a")
    for env in (plain, stacked):
        env.reset()
    for _ in range(8):
        assert stacked.step(0)[1] == pytest.approx(plain.step(0)[1], abs=1e-5)


def test_what_changes_pictures_inside_is_looked_for(model):
    late = DummyVecEnv([lambda: gym.wrappers.DelayObservation(CodedEnv(9), 2)])
    with pytest.warns(UserWarning, match="DelayObservation inside the reward"):
        viper(late, model)

    def grey(env: gym.Env) -> gym.Env:
        return gym.wrappers.FrameStackObservation(gym.wrappers.GrayscaleObservation(env), 3)

    with pytest.raises(FrameMismatch, match="FrameInInfo"):
        viper(DummyVecEnv([lambda: grey(CodedEnv(9))]), model).reset()
    plain, framed = (
        rewards_of(viper(DummyVecEnv([lambda w=wrap: FrameInInfo(w(CodedEnv(9)))]), model))
        for wrap in (lambda env: env, grey)
    )
    assert framed == pytest.approx(plain)

"""Where vector wrappers take their frames from, and what they say where there are none."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from conftest import SIZE, CodedEnv, Ones, random_video_model, toy_bundle
from viper_gym.errors import FrameMismatch
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.wrappers.frames import FrameInInfo, newest_frame
from viper_gym.wrappers.vector import ViperVectorRewardWrapper
from viper_gym.wrappers.vector_bonus import BonusVectorRewardWrapper
from viper_gym.wrappers.vector_frames import autoreset_mode

LENGTHS = (3, 4)
MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)


@pytest.fixture(scope="module")
def model() -> VideoRewardModel:
    return VideoRewardModel(toy_bundle(random_video_model(), stride=2), device="cpu", dtype="fp32")


class Copying(CodedEnv):
    def _observe(self):
        return super()._observe().copy()


class NoResetInfo(gym.Wrapper):
    """As Stable-Baselines3's FireResetEnv."""

    def reset(self, **options):
        return self.env.reset(**options)[0], {}


class NoInfo(NoResetInfo):
    def step(self, action):
        return *self.env.step(action)[:4], {}


def made(model: VideoRewardModel, wrap, pixels: bool, mode: AutoresetMode):
    makers = [lambda n=n: wrap(FrameInInfo(Copying(n, pixels=pixels))) for n in LENGTHS]
    return ViperVectorRewardWrapper(SyncVectorEnv(makers, autoreset_mode=mode), model, "a")


def played(envs, steps: int = 12) -> np.ndarray:
    envs.reset(seed=0)
    return np.stack([envs.step(np.zeros(2, int))[1] for _ in range(steps)])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wrap", [NoResetInfo, NoInfo])
def test_frames_that_a_wrapper_lost_are_taken_from_pictures(model, wrap, mode):
    whole = played(made(model, lambda env: env, True, mode))
    assert np.ptp(whole) > 0.1
    assert played(made(model, wrap, True, mode)) == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_frames_that_a_wrapper_lost_are_not_black_ones(model, mode):
    def one(env: gym.Env) -> gym.Env:
        return NoResetInfo(env) if env.unwrapped.length == LENGTHS[1] else env

    envs = made(model, one, False, mode)
    with pytest.raises(FrameMismatch, match=r"environments \[1\] give no.*outside of wrappers"):
        played(envs)


def test_frames_of_other_environments_than_those_reset_are_not_asked_for(model):
    envs = made(model, lambda env: env, False, AutoresetMode.DISABLED)
    envs.reset(seed=0)
    for _ in range(LENGTHS[0]):
        envs.step(np.zeros(2, int))
    envs.reset(options={"reset_mask": np.array([True, False])})
    assert np.isfinite(envs.step(np.zeros(2, int))[1]).all()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_bonus_around_a_reward_sees_the_same_frames(model, mode):
    class Sees(Ones):
        frames: list[np.ndarray] = []

        def compute(self, transition):
            Sees.frames.append(transition.frame)
            return super().compute(transition)

    shown = []
    for pixels in (True, False):
        Sees.frames = []
        inside = made(model, lambda env: env, pixels, mode)
        envs = BonusVectorRewardWrapper(inside, Sees())
        envs.reset(seed=0)
        for _ in range(LENGTHS[0]):
            envs.step(np.zeros(2, int))
        shown.append(np.stack(Sees.frames))
    assert np.array_equal(*shown) and len(shown[0]) == LENGTHS[0]


def test_when_environments_reset_is_asked_for():
    envs = SyncVectorEnv([Copying])
    assert autoreset_mode(envs) == AutoresetMode.NEXT_STEP

    class Says(gym.vector.VectorEnv):
        num_envs = 1

    for said in (AutoresetMode.SAME_STEP, "SameStep"):
        Says.metadata = {"autoreset_mode": said}
        assert autoreset_mode(Says()) == AutoresetMode.SAME_STEP
    Says.metadata = {}
    with pytest.warns(UserWarning, match="Says does not say when .*NEXT_STEP is assumed"):
        assert autoreset_mode(Says()) == AutoresetMode.NEXT_STEP
    Says.metadata = {"autoreset_mode": "now and then"}
    with pytest.raises(ValueError, match="now and then"):
        autoreset_mode(Says())


@pytest.mark.parametrize("shape, axis", [
    ((24, 32, 9), 2), ((9, 24, 32), 0), ((24, 33, 3), 2), ((3, 24, 33), 0), ((12, 24, 33), 0),
    ((32, 32, 9), 2), ((9, 32, 32), 0),
])  # fmt: skip
def test_stacks_of_pictures_that_are_not_square(shape, axis):
    newest = newest_frame(gym.spaces.Box(0, 255, shape, np.uint8))
    assert newest is not None
    stack = np.zeros(shape, np.uint8)
    np.moveaxis(stack, axis, -1)[..., -3:] = (1, 2, 3)
    frame = newest(stack)
    assert frame.shape == (*(n for i, n in enumerate(shape) if i != axis), 3)
    assert (frame == (1, 2, 3)).all()


def test_what_are_no_colours_is_no_picture():
    for shape in ((4, 84, 84), (84, 84, 4), (24, 32), (33, 24, 32)):
        assert newest_frame(gym.spaces.Box(0, 255, shape, np.uint8)) is None
    assert newest_frame(gym.spaces.Box(0, 1, (SIZE, SIZE, 3), np.float32)) is None


def test_several_that_gymnasium_draws_inside_are_warned_of(model):
    class Drawn(Copying):
        mujoco_renderer = None  # what tells such an environment

    def drawn(wrap) -> SyncVectorEnv:
        add = gym.wrappers.AddRenderObservation
        return SyncVectorEnv([lambda: wrap(add(Drawn(pixels=False)))] * 2)

    with pytest.warns(UserWarning, match=r"pictures may be black.*FrameInInfo"):
        ViperVectorRewardWrapper(drawn(lambda env: env), model, "a")
    ViperVectorRewardWrapper(drawn(FrameInInfo), model, "a")

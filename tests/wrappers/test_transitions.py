"""What bonuses are given: every step once, with its own action, never across two episodes.

The frames hold (environment, episode, step) and the environments log what they were told, so
every transition can be compared with what happened.
"""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from conftest import SIZE, CodedEnv, random_video_model, toy_bundle
from viper_gym import BonusRewardWrapper
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.wrappers.single import ViperRewardWrapper
from viper_gym.wrappers.vector import ViperVectorRewardWrapper

LENGTHS = (3, 5, 4)
STEPS = 17


class LoggingEnv(CodedEnv):
    """Its frame's last channel holds the number of the environment; it logs its steps."""

    def __init__(self, number: int, log: list, pixels: bool = True, continuous: bool = False):
        super().__init__(LENGTHS[number], pixels=pixels)
        self.number, self.log, self.continuous = number, log, continuous
        if continuous:
            self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def step(self, action):
        flat = np.array(action) if self.continuous else np.eye(2)[action]
        self.log.append((self.number, self.episode, self.t, *flat.tolist()))
        result = super().step(action)
        if self.continuous:
            action[:] = np.nan  # an environment that works in place
        return result

    def _draw(self):
        super()._draw()
        self.buffer[..., 2] = 16 * self.number + 8

    def _observe(self):
        return super()._observe().copy()


class Recording:
    """A bonus that keeps what it is given."""

    def __init__(self):
        self.transitions, self.updates = [], []

    def compute(self, transition):
        self.transitions.append(transition)
        return np.zeros(len(transition.frame), np.float32)

    def update(self, transition):
        self.updates.append(transition)

    def state_dict(self):
        return {}

    def steps(self) -> list[tuple]:
        """(environment, episode, step, action …) of every transition, whose frames must fit."""
        found = []
        assert all(a is b for a, b in zip(self.transitions, self.updates, strict=True))
        for transition in self.transitions:
            for previous, action, frame in zip(*transition[:3], strict=True):
                (n0, e0, t0), (n1, e1, t1) = read(previous), read(frame)
                assert (n1, e1, t1) == (n0, e0, t0 + 1)
                found.append((n0, e0, t0, *action.tolist()))
        return found


def read(frame: np.ndarray) -> tuple[int, int, int]:
    left, right = frame[0, 0], frame[0, SIZE - 1]
    return int(left[2]) // 16, int(left[0]) // 16, int(right[0]) // 16


@pytest.fixture(scope="module")
def model() -> VideoRewardModel:
    return VideoRewardModel(toy_bundle(random_video_model()), device="cpu", dtype="fp32")


def actions(rng: np.random.Generator, continuous: bool) -> np.ndarray:
    return rng.uniform(-1, 1, (3, 2)).astype("f") if continuous else rng.integers(0, 2, 3)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("pixels", "mode"),
    [
        (True, AutoresetMode.NEXT_STEP),
        (False, AutoresetMode.NEXT_STEP),
        (True, AutoresetMode.SAME_STEP),
        (True, AutoresetMode.DISABLED),
    ],
)
def test_gymnasium_vector(model, rng, pixels, mode, continuous):
    log, bonus = [], Recording()
    makers = [lambda n=n: LoggingEnv(n, log, pixels, continuous) for n in range(3)]
    envs = SyncVectorEnv(makers, autoreset_mode=mode)
    envs = ViperVectorRewardWrapper(envs, model, "a", bonus=bonus)
    envs.reset(seed=0)
    for _ in range(STEPS):
        _, _, terminated, truncated, _ = envs.step(actions(rng, continuous))
        over = terminated | truncated
        if mode == AutoresetMode.DISABLED and over.any():
            envs.reset(options={"reset_mask": over})
    check(bonus, log)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("pixels", [True, False])
def test_sb3(model, rng, pixels, continuous):
    sb3 = pytest.importorskip("viper_gym.wrappers.sb3", reason="needs the extra 'sb3'")
    from stable_baselines3.common.vec_env import DummyVecEnv

    log, bonus = [], Recording()
    wrap = (lambda env: env) if pixels else sb3.FrameInInfo
    bare = [LoggingEnv(n, log, pixels, continuous) for n in range(3)]
    venv = DummyVecEnv([lambda env=env: wrap(env) for env in bare])
    venv = sb3.ViperVecEnvWrapper(venv, model, "a", bonus=bonus)
    venv.reset()
    for _ in range(STEPS):
        venv.step(actions(rng, continuous))
    check(bonus, log)


@pytest.mark.parametrize("video", [True, False])
@pytest.mark.parametrize("pixels", [True, False])
def test_single(model, rng, pixels, video):
    log, bonus = [], Recording()
    env = LoggingEnv(1, log, pixels, continuous=True)
    if video:
        env = ViperRewardWrapper(env, model, "a", bonus=bonus)
    else:
        env = BonusRewardWrapper(env, bonus)
    over = True
    for _ in range(STEPS):
        if over:
            env.reset(seed=0)
        _, _, terminated, truncated, _ = env.step(actions(rng, True)[0])
        over = terminated or truncated
    check(bonus, log)
    assert (bonus.transitions[0].features is not None) == video


def check(bonus: Recording, log: list[tuple]) -> None:
    assert len(log) >= STEPS and len({step[:2] for step in log}) >= 4  # several episodes
    assert sorted(bonus.steps()) == sorted(log)


def test_features_are_the_tokenizers_of_the_same_frames(model, rng):
    bonus = Recording()
    envs = SyncVectorEnv([lambda n=n: LoggingEnv(n, []) for n in range(3)])
    envs = ViperVectorRewardWrapper(envs, model, ["a", "b", "a"], bonus=bonus)
    envs.reset(seed=0)
    for _ in range(STEPS):
        envs.step(actions(rng, False))
    for transition in bonus.transitions:
        assert transition.features.shape == (len(transition.frame), 4 * 4)
        assert np.array_equal(transition.features, model.features(transition.frame, "a"))
        assert np.array_equal(
            transition.previous_features, model.features(transition.previous, "a")
        )


@pytest.mark.parametrize("bonus", ["curiosity", object()])
def test_what_is_no_bonus_is_refused_at_once(model, bonus):
    for wrap in (lambda e: ViperRewardWrapper(e, model, "a", bonus=bonus),
                 lambda e: BonusRewardWrapper(e, bonus)):  # fmt: skip
        with pytest.raises(ValueError, match=r"'rnd' or 'disagreement'.*got"):
            wrap(CodedEnv())

"""What is small and decides a game must survive the bundled tokenizer: pong's ball is one pixel."""

import numpy as np
import pytest

from viper_gym.data.rollout import record_episode
from viper_gym.envs.suite import find_suite
from viper_gym.likelihood.reward_model import VideoRewardModel

pytest.importorskip("ale_py", reason="needs the extra 'atari'")

BALL = 60  # grey levels above the court's blue, of 236 - 17; shared by the pixels that it covers


def court(frames: np.ndarray) -> np.ndarray:
    """Between the paddles, where nothing but the ball moves: (T, 48, 44), above the median."""
    darkest = frames.astype(int)[:, 10:58, 10:54].min(-1)  # white is the only colour with blue
    return darkest - np.median(darkest, 0).astype(int)


def test_pongs_ball_is_where_it_was_after_coding():
    suite = find_suite("atari")
    env = suite.make("pong", observation="pixels")
    episode = record_episode(env, RandomButtons(env), seed=2, length=200)
    model = VideoRewardModel.from_pretrained("atari", task="pong", device="cpu")
    frames = episode.frames
    drawn = model.decode(model.encode(frames, model.task_numbers("pong", len(frames))), "pong")
    real, coded = court(frames), court(drawn)
    seen = np.flatnonzero(real.max((1, 2)) > BALL)
    assert len(seen) > 80
    places = np.array([[place(real[t]), place(coded[t])] for t in seen])  # (seen, 2, 2) pixels
    apart = np.abs(places[:, 0] - places[:, 1]).max(1)
    assert (apart <= 2).mean() >= 0.95
    brightness = coded[seen].max((1, 2)) / real[seen].max((1, 2))
    assert np.median(brightness) >= 0.5
    # and where there is none, none is drawn
    gone = np.flatnonzero(real.max((1, 2)) <= 5)
    assert len(gone) > 5 and np.median(coded[gone].max((1, 2))) < BALL / 2


def place(picture: np.ndarray) -> tuple[int, ...]:
    return np.unravel_index(picture.argmax(), picture.shape)


class RandomButtons:
    """Presses a random button at every step."""

    def __init__(self, env):
        self._space = env.action_space

    def reset(self, rng):
        self._space.seed(0)

    def __call__(self, state):
        return self._space.sample()

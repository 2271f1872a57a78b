from itertools import pairwise

import numpy as np
import pytest
import torch

from viper_gym.bonus.rnd import RND, RNDConfig
from viper_gym.bonus.running import RunningMeanStd
from viper_gym.errors import FrameMismatch
from viper_gym.types import Transition


def test_running_statistics_equal_numpy(rng):
    data = rng.normal(3.0, 2.0, (100, 4))
    running = RunningMeanStd((4,))
    for part in np.split(data, [10, 11, 60]):
        running.update(part)
    assert np.allclose(running.mean, data.mean(0), atol=1e-3)
    assert np.allclose(running.var, data.var(0), atol=1e-2)


def smooth(rng, n) -> Transition:
    small = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    frames = small.repeat(8, 1).repeat(8, 2)
    return Transition(frames, np.zeros((n, 1), np.float32), frames)


def test_bonus_is_about_one_at_first(rng):
    assert 0.5 < RND(64).compute(smooth(rng, 32)).mean() < 1.5


def test_bonus_does_not_fade_and_new_frames_stand_out(rng):
    rnd = RND(64, RNDConfig(update_every=1, horizon=64))
    seen, unseen = smooth(rng, 16), smooth(rng, 1)
    for _ in range(300):
        usual = rnd.compute(seen)
        rnd.update(seen)
    assert 0.3 < usual.mean() < 3
    assert rnd.compute(unseen)[0] == 5.0  # the clip


def test_a_smaller_share_of_the_batch_learns_less(rng):
    seen, errors = smooth(rng, 32), []
    for proportion in (1.0, 0.1, 0.0):
        rnd = RND(64, RNDConfig(update_every=1, update_proportion=proportion))
        before = rnd.error(seen.frame).mean()
        for _ in range(40):
            rnd.update(seen)
        errors.append(rnd.error(seen.frame).mean() / before)
    assert errors[0] < errors[1] < errors[2] == 1.0


def test_updates_come_once_in_so_many_frames(rng):
    rnd, weights = RND(64, RNDConfig(update_every=8)), []
    for _ in range(9):
        rnd.update(smooth(rng, 2))
        weights.append(rnd.predictor[1].bias.detach().clone())
    changed = [not torch.equal(a, b) for a, b in pairwise(weights)]
    assert changed == [False, False, True, False, False, False, True, False]


def test_frames_need_not_be_square_but_large_enough():
    frames = np.zeros((2, 48, 80, 3), np.uint8)
    transition = Transition(frames, np.zeros((2, 1), np.float32), frames)
    assert RND((48, 80)).compute(transition).shape == (2,)
    with pytest.raises(FrameMismatch, match="36 pixels"):
        RND(32)


def test_the_users_random_state_is_left_alone(monkeypatch):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    seeded: list[int] = []  # the generators of GPUs, which a fork of the CPU's does not put back
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    RND(64)
    assert torch.equal(torch.rand(3), expected) and not seeded

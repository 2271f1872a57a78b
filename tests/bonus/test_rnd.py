import numpy as np

from viper_gym.bonus.rnd import RND, RNDConfig
from viper_gym.bonus.running import RunningMeanStd


def test_running_statistics_equal_numpy(rng):
    data = rng.normal(3.0, 2.0, (100, 4))
    running = RunningMeanStd((4,))
    for part in np.split(data, [10, 11, 60]):
        running.update(part)
    assert np.allclose(running.mean, data.mean(0), atol=1e-3)
    assert np.allclose(running.var, data.var(0), atol=1e-2)


def smooth_frames(rng, n):
    small = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return small.repeat(8, 1).repeat(8, 2)


def test_error_falls_on_seen_frames_and_stays_on_unseen_ones(rng):
    rnd = RND(64, RNDConfig(update_every=1))
    seen, unseen = smooth_frames(rng, 16), smooth_frames(rng, 16)
    rnd.compute(np.concatenate([seen, unseen]))
    before = rnd.error(seen).mean()
    for _ in range(300):
        rnd.update(seen[:1])
        rnd._learn(seen)
    assert rnd.error(seen).mean() < before / 10
    pairs = rnd.error(unseen)[:, None] > rnd.error(seen)[None]
    assert pairs.mean() >= 0.95


def test_bonus_is_about_one_at_first_and_restores(rng):
    rnd, twin = RND(64), RND(64, RNDConfig(seed=5))
    frames = smooth_frames(rng, 32)
    assert 0.5 < rnd.compute(frames).mean() < 1.5
    rnd.update(frames)
    twin.load_state_dict(rnd.state_dict())
    assert np.allclose(rnd.error(frames), twin.error(frames))


def test_bonus_does_not_fade_and_new_frames_stand_out(rng):
    rnd = RND(64, RNDConfig(update_every=1, horizon=64))
    seen, unseen = smooth_frames(rng, 16), smooth_frames(rng, 1)
    for _ in range(300):
        usual = rnd.compute(seen)
        rnd.update(seen)
    assert 0.3 < usual.mean() < 3
    assert rnd.compute(unseen)[0] == 5.0  # the clip


def test_the_users_random_state_is_left_alone():
    import torch

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    RND(64)
    assert torch.equal(torch.rand(3), expected)

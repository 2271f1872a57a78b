import numpy as np
import pytest
import torch

from viper_gym.bonus.disagreement import Disagreement, DisagreementConfig
from viper_gym.bonus.networks import Ensemble
from viper_gym.types import Transition


def steps(rng, n: int, features: int = 12, actions: int = 2) -> Transition:
    frames = rng.integers(0, 256, (n, 40, 40, 3), dtype=np.uint8)
    x, y = rng.normal(size=(2, n, features)).astype(np.float32)
    return Transition(frames, rng.normal(size=(n, actions)).astype(np.float32), frames, x, y)


def test_the_ensemble_is_its_members_one_by_one():
    torch.manual_seed(0)
    ensemble, x = Ensemble(3, (4, 8, 8, 2)), torch.randn(5, 4)
    for member, out in enumerate(ensemble(x)):
        h = x
        for layer, (w, b) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
            h = h @ w[member] + b[member]
            h = h if layer == 2 else h.relu()
        assert torch.allclose(out, h, atol=1e-6)
    assert not torch.allclose(out, ensemble(x)[0])


def test_raw_value_is_the_deviation_over_members_averaged_over_dimensions(rng):
    bonus, transition = Disagreement(), steps(rng, 6)
    bonus.compute(transition)
    with torch.no_grad():
        x = np.concatenate([bonus._normalised(transition.previous_features), transition.action], 1)
        predicted = bonus.ensemble(torch.from_numpy(x)).numpy()
    assert predicted.shape == (10, 6, 12)
    assert np.allclose(bonus.error(transition), predicted.std(0).mean(-1), atol=1e-6)


def test_it_depends_on_the_action(rng):
    bonus, transition = Disagreement(), steps(rng, 6)
    other = transition._replace(action=-transition.action)
    assert not np.allclose(bonus.error(transition), bonus.error(other))


def test_it_fades_where_the_outcome_is_random_but_known(rng):
    """A frame drawn by a coin stays unpredictable; the members come to agree on the mean."""
    bonus = Disagreement(config=DisagreementConfig(update_every=1, learning_rate=3e-3))
    transition = steps(rng, 64)
    constant = transition._replace(previous_features=np.ones((64, 12), np.float32))
    constant = constant._replace(action=np.ones((64, 2), np.float32))
    bonus.compute(constant)
    before = bonus.error(constant).mean()
    for _ in range(300):
        bonus.update(constant)
    assert bonus.error(constant).mean() < before / 3


def test_wide_features_are_projected(rng):
    bonus = Disagreement(config=DisagreementConfig(feature_size=8))
    assert bonus.compute(steps(rng, 3, features=500)).shape == (3,)
    assert bonus.ensemble.weights[-1].shape == (10, 256, 8)


@pytest.mark.parametrize("features", [None, lambda frames: frames.mean((1, 2))])
def test_without_a_video_model(rng, features):
    transition = Transition(*steps(rng, 4)[:3])
    bonus = Disagreement(features)
    assert bonus.compute(transition).shape == (4,)
    bonus.update(transition)
    assert bonus._statistics.mean.shape == ((256,) if features is None else (3,))


def test_a_feature_function_wins_over_the_tokenizer(rng):
    bonus = Disagreement(lambda frames: frames.mean((1, 2)))
    bonus.compute(steps(rng, 4))
    assert bonus._statistics.mean.shape == (3,)


def test_features_are_computed_once_a_step(rng):
    calls = []
    bonus = Disagreement(lambda frames: calls.append(len(frames)) or frames.mean((1, 2)))
    for _ in range(3):
        transition = Transition(*steps(rng, 4)[:3])
        bonus.compute(transition)
        bonus.update(transition)
    assert calls == [4] * 6  # both frames of three steps

"""Learning curves: what is drawn of many episodes, of few and of none."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from viper_gym.benchmark.figures import CURVE_POINTS, learning_curves


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws a run and returns its line and shade of task returns, None of a run without any."""
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)

    def draw(returns):
        steps, path = np.arange(len(returns)), tmp_path / "curve.png"
        learning_curves({"run": (steps, returns, returns)}, "a title", None, path)
        assert path.stat().st_size > 0
        left = figures[-1].axes[0]
        if not left.lines:
            return None
        return left.lines[0].get_ydata(), left.collections[0].get_paths()[0].vertices[:, 1]

    return draw


def test_many_episodes_are_means_before_their_range(drawn):
    line, shade = drawn(np.tile([0.0, 10.0], 300))
    assert len(line) == CURVE_POINTS and np.allclose(line, 5)
    assert (shade.min(), shade.max()) == (0, 10)


def test_few_episodes_are_drawn_as_they_are(drawn):
    line, _ = drawn(np.array([1.0, 3.0, 2.0]))
    assert np.array_equal(line, [1, 3, 2])


@pytest.mark.filterwarnings("ignore:No artists with labels")
def test_a_run_without_an_episode_is_an_empty_picture(drawn):
    assert drawn(np.zeros(0)) is None

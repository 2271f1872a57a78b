"""Levels by points lost, with a model to which brighter frames are likelier."""

import numpy as np
import pytest

from brightness import brightness_model, video
from viper_gym.benchmark.figures import points_lost_figure
from viper_gym.benchmark.score_mask import MANY, points_lost
from viper_gym.data.episodes import Episode
from viper_gym.errors import VideoDataError


def lost_game(points: int) -> Episode:
    """Every second step loses a point, and the picture shows it by getting darker."""
    rewards = np.tile([0.0, -1.0], points).astype(np.float32)
    shown = np.concatenate([[0], np.cumsum(rewards < 0)])
    return Episode(video(15 - shown % 16).frames, rewards)


def test_a_model_that_sees_the_score_pays_less_the_more_is_lost(tmp_path):
    model = brightness_model()
    row = points_lost(model, "a", [lost_game(3), lost_game(MANY + 2)])
    assert len(row.levels) == MANY + 3 and np.all(np.diff(row.levels) < 0)
    # each of a frame's four tokens loses a quarter of a nat a point: a nat a frame
    assert row.none == row.levels[0]
    many = (2 * row.levels[MANY] + 2 * row.levels[MANY + 1] + row.levels[MANY + 2]) / 5
    assert row.change == pytest.approx(many - row.none, abs=1e-5)
    assert row.change == pytest.approx(-(5 * MANY + 4) / 5, abs=1e-5)
    assert row.example_points == tuple(range(2, 2 * MANY + 5, 2))
    points_lost_figure({"seen": row}, tmp_path / "mask.png")
    assert (tmp_path / "mask.png").stat().st_size > 5_000


def test_where_hardly_a_point_is_lost_there_is_nothing_to_compare():
    with pytest.raises(VideoDataError, match=f"loses {MANY} points"):
        points_lost(brightness_model(), "a", [lost_game(3)])

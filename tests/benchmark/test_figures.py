"""Learning curves of many episodes, of few and of none; a video of one's own."""

import json
import weakref

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from conftest import coded_frame, small_bundle
from viper_gym.benchmark.figures import CURVE_POINTS, learning_curves, video_gif
from viper_gym.checkpoints.bundle import save_bundle
from viper_gym.cli.score import Score
from viper_gym.data.episodes import Episode


def test_a_film_is_every_second_frame_and_is_never_whole_in_memory(tmp_path, monkeypatch):
    made, alive, drawn = [], [], Image.fromarray

    def noted(pixels):
        image = drawn(pixels)
        made.append(weakref.ref(image))
        alive.append(sum(ref() is not None for ref in made))
        return image

    monkeypatch.setattr(Image, "fromarray", noted)
    frames = np.random.default_rng(0).integers(0, 255, (200, 32, 32, 3)).astype(np.uint8)
    frames[:, :8, :8] = np.arange(200)[:, None, None, None]
    video_gif(frames, tmp_path / "film.gif", zoom=4)
    film = Image.open(tmp_path / "film.gif")
    assert film.n_frames == 100 and film.size == (128, 128)
    film.seek(99)
    assert abs(int(np.array(film.convert("RGB"))[8, 8, 0]) - 198) < 8
    assert len(made) == 100 and max(alive) < 10, max(alive)


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


@pytest.fixture
def score(monkeypatch, tmp_path, capsys):
    """Scores a clip of so many frames; returns the axes of its curve, stdout and stderr."""
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    save_bundle(small_bundle(), tmp_path / "bundle")  # a window of 4 frames, 2 steps apart

    def run(task, frames, **options):
        clip = tmp_path / f"clip{frames}.npz"
        Episode(np.stack([coded_frame(0, t) for t in range(frames)])).save(clip)
        out = tmp_path / f"new/{task}{frames}.png"
        Score(clip, task, str(tmp_path / "bundle"), out, "cpu", **options).run()
        assert Image.open(out).size[0] > 500
        return figures[-1].axes[1], *capsys.readouterr()

    return run


def test_a_scored_video_is_drawn_between_the_levels_and_beside_a_rollout(score, tmp_path):
    curve, told, _ = score("a", 20)
    dashed = {line.get_label(): line.get_ydata()[0] for line in curve.lines[2:]}
    assert dashed == {"best cheap behaviour": 0.0, "expert": 1.0}
    rollout = tmp_path / "new/a20_rollout.gif"
    assert Image.open(rollout).n_frames == 10 and str(rollout) in told


def test_what_has_no_scale_has_no_levels(score):
    curve, told, _ = score("b", 20)
    assert len(curve.lines) == 2 and curve.get_legend() is None
    assert "mean nats a token" in told


def test_of_a_clip_that_is_too_short_nothing_is_imagined_and_it_is_said(score, tmp_path):
    _, told, aside = score("a", 3, json=True)
    found = json.loads(told)
    assert found["rollout"] is None and len(found["rewards"]) == 2
    assert "no rollout: expected more than 4 frames" in " ".join(aside.split())
    assert not (tmp_path / "new/a3_rollout.gif").exists()
    found = json.loads(score("a", 20, json=True)[1])
    assert found["rollout"] == str(tmp_path / "new/a20_rollout.gif")
    assert found["picture"] == str(tmp_path / "new/a20.png")

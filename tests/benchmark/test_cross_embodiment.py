"""Who is trained on what, and how episodes of the held-out cell are ranked."""

import json
from dataclasses import astuple, replace

import numpy as np
import pytest
from PIL import Image

from conftest import SIZE, random_video_model, toy_bundle
from viper_gym.benchmark import cross_embodiment
from viper_gym.benchmark.cross_embodiment import (
    CellScore,
    CrossEmbodiment,
    _link,
    _same_settings,
    conditions,
    run,
    score_cell,
    scored_runs,
)
from viper_gym.benchmark.figures import cross_embodiment_figure
from viper_gym.data.episodes import Episode
from viper_gym.data.videos import load_folder
from viper_gym.errors import TrainingError, UnknownTask, VideoDataError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy


def test_no_condition_but_the_upper_bound_shows_the_cell():
    cells = conditions("panda_door")
    assert len(cells["upper bound"]) == 6 and "panda_door" in cells["upper bound"]
    assert set(cells["upper bound"]) - set(cells["held out"]) == {"panda_door"}
    assert {"sawyer_door", "panda_lift"} <= set(cells["held out"])
    assert set(cells["held out"]) - set(cells["lower bound"]) == {"sawyer_door"}
    with pytest.raises(UnknownTask, match="panda_door"):
        conditions("panda_fly")


@pytest.mark.parametrize("mode", ["conditional", "joint"])
def test_pairs_are_counted_as_the_model_ranks_them(mode, rng):
    policy = ContextPolicy("exact", mode=mode)
    bundle = toy_bundle(random_video_model(), stride=2)
    model = VideoRewardModel(bundle, device="cpu", dtype="fp32", policy=policy)

    def episode(success: bool) -> Episode:
        frames = rng.integers(0, 256, (13, SIZE, SIZE, 3), dtype=np.uint8)
        return Episode(frames, np.zeros(12, np.float32), {"success": success})

    episodes = {
        "expert": [episode(True) for _ in range(3)],
        "random": [episode(False) for _ in range(4)],
        "graded": [episode(i % 2 == 0) for i in range(6)],
    }
    score = score_cell(model, "a", scored_runs("a", episodes))
    a_window = 4 if mode == "joint" else 1  # frames that an entry sums
    levels = {
        # a window of 4, every second frame: the first that is full ends at frame 6
        name: [model.log_prob(e.frames[None], "a")[0, 6::2].mean() / a_window for e in some]
        for name, some in episodes.items()
    }
    higher = [e > r for e in levels["expert"] for r in levels["random"]]
    assert score.expert_over_random == pytest.approx(np.mean(higher))
    failed = [levels["graded"][i] for i in (1, 3, 5)]
    assert score.failures == 3 and score.failed == pytest.approx(np.mean(failed))
    assert score.expert_over_failed == pytest.approx(
        np.mean([e > f for e in levels["expert"] for f in failed])
    )
    with pytest.raises(VideoDataError, match="graded episodes that fail"):
        scored_runs("a", {**episodes, "graded": episodes["expert"]})


def test_the_figure_shows_every_cell_and_seed(tmp_path):
    def score(share: float) -> CellScore:
        return CellScore(share, share / 2, -1.0, -2.0, -3.0, 4)

    results = {
        cell: {seed: {"held out": score(0.9), "upper bound": score(1.0)} for seed in (0, 1)}
        for cell in ("panda_door", "sawyer_lift")
    }
    figure = cross_embodiment_figure(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == [
        f"{cell}: above {runs}" for cell in results for runs in ("random runs", "failed runs")
    ]
    dots = [line.get_ydata().tolist() for line in figure.axes[1].lines if line.get_marker() == "o"]
    assert dots == [[0.45, 0.45], [0.5, 0.5]]


def test_episodes_of_all_behaviours_are_in_the_folder_that_is_learned(tmp_path, rng):
    """Seeds name the files, so those of two behaviours are called the same."""
    files: dict[str, list] = {"expert": [], "play": []}
    for kind, behaviours in {"expert": ("diverse",), "play": ("zero", "random")}.items():
        for behaviour in behaviours:
            files[kind].append(tmp_path / kind / "panda_lift" / behaviour / "episode_1.npz")
            frames = rng.integers(0, 256, (9, SIZE, SIZE, 3), dtype=np.uint8)
            Episode(frames, np.zeros(8, np.float32)).save(files[kind][-1])
    experts, play = ({"panda_lift": files[kind]} for kind in ("expert", "play"))
    seen = load_folder(_link(tmp_path / "seen", experts, play), SIZE, min_frames=1)
    assert len(seen["panda_lift"]) == 3
    again = load_folder(_link(tmp_path / "seen", experts), SIZE, min_frames=1)
    assert len(again["panda_lift"]) == 1
    assert all(f.exists() for f in files["play"])


def test_a_trials_results_are_not_taken_for_another_runs(tmp_path):
    trial = CrossEmbodiment(tokenizer_minutes=0.1, data=tmp_path / "data", out=tmp_path / "out")
    _same_settings(trial, trial.out)
    _same_settings(trial, trial.out)
    with pytest.raises(TrainingError, match="other settings"):
        _same_settings(replace(trial, tokenizer_minutes=8.0), trial.out)
    old = json.loads((trial.out / "settings.json").read_text())
    del old["preset"]  # which results did not tell when there was one alone
    (trial.out / "settings.json").write_text(json.dumps(old))
    with pytest.raises(TrainingError, match="other settings"):
        _same_settings(replace(trial, preset="small"), trial.out)
    _same_settings(trial, trial.out)


def toy_episode(cell: str, seed: int, success: bool) -> Episode:
    """A square of the arm's colour; the task says how fast it goes, unless it fails and stands."""
    arm, task = cell.split("_")
    video = np.full((25, 64, 64, 3), 30, np.uint8)
    for t in range(len(video)):
        x = 2 + seed % 7 + success * t * (1 + len(task) % 2)
        video[t, 24:40, x % 48 : x % 48 + 16] = (220, 90, 40) if arm == "panda" else (40, 160, 220)
    return Episode(video, np.zeros(24, np.float32), {"success": success})


@pytest.fixture
def toys(monkeypatch):
    """Stand in for robosuite's episodes."""

    def collect(cell, behaviour, count, folder, *, first_seed, workers, suite):
        paths = [folder / cell / behaviour / f"episode_{first_seed + i}.npz" for i in range(count)]
        for i, path in enumerate(paths):
            toy_episode(cell, first_seed + i, behaviour == "diverse").save(path)
        return paths

    def suite_episodes(cell, counts, folder, first_seed, workers, suite):
        succeeds = {"expert": (True, True), "random": (False, False), "graded": (True, False)}
        return {
            name: [toy_episode(cell, first_seed + i, succeeds[name][i % 2]) for i in range(count)]
            for name, count in counts.items()
        }

    monkeypatch.setattr(cross_embodiment, "collect", collect)
    monkeypatch.setattr(cross_embodiment, "suite_episodes", suite_episodes)


def test_a_fold_is_trained_once_and_scored_under_each_condition(toys, tmp_path, monkeypatch):
    settings = CrossEmbodiment(
        cell="panda_door", preset="small", tokenizer_minutes=0.005, video_model_minutes=0.005,
        episodes=2, expert=2, random=2, graded=4, data=tmp_path / "data", out=tmp_path / "out",
    )  # fmt: skip
    found = run(settings, workers=0)
    assert list(found) == ["lower bound", "held out", "upper bound"]
    folder = tmp_path / "out" / "panda_door" / "seed_0"
    models = {condition: folder / condition.replace(" ", "_") for condition in found}
    for condition, score in found.items():
        assert np.isfinite(astuple(score)).all() and score.failures == 2
        assert json.loads((models[condition] / "score.json").read_text()) == vars(score)
        with Image.open(models[condition] / "rollout.gif") as gif:
            assert gif.n_frames == 7  # every fourth of 25
    models["upper bound"] = tmp_path / "out" / "all_cells" / "seed_0"
    for condition, cells in conditions("panda_door").items():
        for seen in ("seen", "data"):  # by the tokenizer, by the video model
            assert {p.name for p in (models[condition] / seen).iterdir()} == set(cells)
    assert not list(folder.rglob("panda_door"))  # only what all folds share has seen it

    def again(*_):
        raise AssertionError("done twice")

    monkeypatch.setattr(cross_embodiment, "train_tokenizer", again)
    monkeypatch.setattr(cross_embodiment, "train_video_model", again)
    with monkeypatch.context() as unscored:
        unscored.setattr(cross_embodiment, "score_cell", again)
        assert run(settings, workers=0) == found
    (folder / "held_out" / "score.json").unlink()  # killed before it was written
    assert run(settings, workers=0) == found
    with pytest.raises(TrainingError, match=r"seed_0 holds results of other settings"):
        run(replace(settings, episodes=3), workers=0)

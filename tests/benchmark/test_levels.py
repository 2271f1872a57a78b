"""Levels and shares by the age of an episode, on numbers that can be worked out by hand."""

import json

import numpy as np
import pytest

from brightness import brightness_model, video
from viper_gym.benchmark.audit import Scored, _levels_by_age, audit_task
from viper_gym.benchmark.report import to_json
from viper_gym.data.episodes import Episode


def scored(steps: int, level: float = 0.0) -> Scored:
    """An episode whose frame t has t nats, and as many as `level` more."""
    frames = np.zeros((steps + 1, 1, 1, 3), np.uint8)
    return Scored(Episode(frames), np.arange(steps + 1) + level)


def test_levels_are_means_of_the_frames_of_an_age():
    known = {"1-50": 25.0, "50-100": 74.5, "100-250": 174.5, "250-500": 374.5}
    assert _levels_by_age([scored(500)]) == known
    assert _levels_by_age([scored(1000)]) == {**known, "500+": 750.0}  # to the end, frame 1000
    assert _levels_by_age([scored(39)]) == {"1-50": 20.0}
    assert _levels_by_age([scored(3)]) == {}


def test_every_episode_that_reaches_an_age_counts_alike():
    levels = _levels_by_age([scored(39, level=100.0), scored(99)])
    assert levels == {"1-50": (120.0 + 25.0) / 2, "50-100": 74.5}


def nats(level: int) -> float:
    """Of a frame of four codes, of which code c has the logit c / 4."""
    logits = np.arange(16.0) / 4
    return float(4 * (logits[level] - np.log(np.exp(logits).sum())))


@pytest.mark.parametrize("steps", [500, 1000])
def test_what_comes_late_in_long_episodes_is_judged_too(steps):
    """An expert that is likelier than doing nothing for 500 steps, and then no more."""
    expert = np.where(np.arange(steps + 1) <= 500, 12, 2)
    episodes = {
        "expert": [video(expert, 1.0) for _ in range(2)],
        "zero": [video(np.full(steps + 1, 6)) for _ in range(2)],
    }
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero",))
    early = {"50-100": 1.0, "100-250": 1.0, "250-500": 1.0}
    assert audit.beats["zero"] == 1.0  # over the whole episode
    assert audit.beats_by_age == (early if steps == 500 else {**early, "500+": 0.0})
    unsafe = "0% of the pairs against a cheap behaviour (zero at steps 500+)"
    assert (unsafe in audit.verdict[0]) == (steps == 1000)
    written = json.loads(to_json({"a": audit}))["tasks"]["a"]["levels_by_age"]
    assert written["zero"]["1-50"] == pytest.approx(nats(6), abs=1e-3)
    assert written["expert"]["250-500"] == pytest.approx(nats(12), abs=1e-3)
    if steps == 1000:
        last = (nats(12) + 500 * nats(2)) / 501  # frame 500 is a bright one
        assert written["expert"]["500+"] == pytest.approx(last, abs=1e-3)

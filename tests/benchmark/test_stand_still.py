"""Pictures that stop, on videos whose likelihoods are known by construction."""

import numpy as np
import pytest

from brightness import brightness_model, lively, video
from viper_gym.benchmark.figures import stand_still_figure
from viper_gym.benchmark.stand_still import moving_clips, stand_still
from viper_gym.likelihood.reward_model import VideoRewardModel

FRAMES = 100


@pytest.fixture
def model() -> VideoRewardModel:
    return brightness_model()


def test_an_expert_who_gets_better_is_above_its_stopped_picture(model):
    rising = video(np.minimum(np.arange(FRAMES) * 15 // FRAMES * 1.0, 15))
    found = stand_still(model, "a", [lively(rising)])
    assert found is not None and found.stride == model.config.frame_stride
    assert found.wins == 1.0 and found.expert > found.frozen
    assert found.wins_to_end == 1.0 and found.wins_from_start == 1.0


def test_an_expert_who_gets_worse_is_below_it(model):
    falling = video(15 - np.arange(FRAMES) * 15 // FRAMES * 1.0)
    found = stand_still(model, "a", [lively(falling)])
    assert found is not None and found.wins == 0.0
    assert found.wins_to_end == 0.0 and found.wins_from_start == 0.0
    assert all(a <= 0 for a in found.advantage[2:])


def test_an_expert_who_failed_is_no_example(model):
    rising = lively(video(np.minimum(np.arange(FRAMES) * 15 // FRAMES * 1.0, 15)))
    falling = lively(video(15 - np.arange(FRAMES) * 15 // FRAMES * 1.0))
    falling.meta["success"] = False
    found = stand_still(model, "a", [falling, rising])
    assert found is not None and found.wins == found.wins_to_end == 1.0
    assert found == stand_still(model, "a", [rising])
    assert stand_still(model, "a", [falling]) is None


def test_who_does_not_move_has_no_moving_clips(model):
    assert stand_still(model, "a", [video(np.full(FRAMES, 7.0))]) is None
    assert moving_clips([video(np.full(FRAMES, 7.0))], span=8) is None


def test_the_stopped_half_of_a_clip_is_its_last_picture():
    clips = moving_clips([lively(video(np.arange(FRAMES) % 8 * 2.0))], span=8, length=10)
    assert clips is not None and clips.real.shape[1] == 18
    assert (clips.frozen[:, :8] == clips.real[:, :8]).all()
    assert (clips.frozen[:, 8:] == clips.real[:, 7:8]).all()
    assert (np.sort(clips.shuffled, 1) == np.sort(clips.real, 1)).all()


def test_who_stops_when_all_is_done_has_not_stopped_half_way():
    episode = lively(video(np.arange(FRAMES) % 8 * 2.0))
    every = moving_clips([episode], span=8, length=10)
    episode.meta["success_steps"] = FRAMES // 2
    early = moving_clips([episode], span=8, length=10, until_solved=True)
    assert every is not None and early is not None and every.stops[0] == (0, 7)
    last = FRAMES - 1 - FRAMES // 2
    assert sorted(early.stops) == sorted(stop for stop in every.stops if stop[1] <= last)
    assert len(early.stops) < len(every.stops)
    kept = moving_clips([episode], span=8, length=10)  # the audit's clips are as they were
    assert kept is not None and kept.stops == every.stops


def test_an_episode_of_just_a_clips_length_is_a_clip():
    clips = moving_clips([lively(video(np.arange(18) % 8 * 2.0))], span=8, length=10)
    assert clips is not None and len(clips.real) == 1


def test_an_expert_whose_way_is_bad_and_whose_end_is_good(model):
    """Stopping pays while he moves, and not until the end of the episode."""
    level = np.concatenate([np.full(8, 6.0), 6 - np.arange(52) / 10, np.full(240, 15.0)])
    found = stand_still(model, "a", [lively(video(level))])
    assert found is not None and found.wins < 1.0
    assert found.wins_to_end == 1.0 and found.wins_from_start == 1.0


def test_the_figure_shows_every_checkpoint(model, tmp_path):
    rising = stand_still(model, "a", [lively(video(np.arange(FRAMES) // 7 * 1.0))])
    assert rising is not None
    stand_still_figure({"one": [rising], "four": [rising]}, tmp_path / "still.png")
    assert (tmp_path / "still.png").stat().st_size > 10_000

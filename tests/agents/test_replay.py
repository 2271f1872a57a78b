"""Replay: every frame once, stacks within episodes, exactly what was added, after a kill too."""

import numpy as np
import pytest

from viper_gym.agents.replay import FrameReplay, ReplayConfig
from viper_gym.errors import ReplayError

SHAPE = (4, 4, 3)
LENGTHS = (5, 7)  # steps of an episode, of each environment


def picture(env: int, episode: int, t: int) -> np.ndarray:
    frame = np.zeros(SHAPE, np.uint8)
    frame[..., 0], frame[..., 1], frame[..., 2] = env, episode, t
    return frame


class Stream:
    """Episodes whose frames say (environment, episode, step), fed to a replay as a loop would."""

    def __init__(self):
        self.episode, self.t = [0, 0], [0, 0]

    def feed(self, replay: FrameReplay, steps: int) -> None:
        for _ in range(steps):
            t, ends = np.array(self.t), np.array(LENGTHS)
            replay.add(
                np.stack([picture(i, self.episode[i], self.t[i]) for i in range(2)]),
                t == 0,
                np.stack([[i, self.episode[i], self.t[i]] for i in range(2)]).astype(np.float32),
                10.0 * t,
                (t == ends - 1) & (np.arange(2) == 0),  # only the first environment terminates
            )
            for i in range(2):
                self.t[i] += 1
                if self.t[i] > LENGTHS[i]:
                    self.t[i], self.episode[i] = 0, self.episode[i] + 1


def replay(steps: int = 60, size: int = 200, folder=None) -> FrameReplay:
    made = FrameReplay(ReplayConfig(size), 2, SHAPE, 3, folder)
    Stream().feed(made, steps)
    return made


def check(batch, rows: int) -> set[tuple[int, int, int]]:
    """Every row is one true transition; returns which were seen."""
    seen = set()
    assert batch.observations.shape == (rows, 4, 4, 9) and batch.observations.dtype == np.uint8
    for row in range(rows):
        env, episode, t = (int(x) for x in batch.actions[row])
        stacks = (batch.observations[row], batch.next_observations[row])
        for stack, newest in zip(stacks, (t, t + 1), strict=True):
            for place, age in enumerate((2, 1, 0)):
                frame = picture(env, episode, max(0, newest - age))
                assert (stack[..., 3 * place : 3 * place + 3] == frame).all()
        assert t < LENGTHS[env]
        assert batch.rewards[row] == 10 * t
        assert batch.discounts[row] == (0.0 if env == 0 and t == 4 else 1.0)
        seen.add((env, episode, t))
    return seen


def test_every_transition_and_no_other_can_be_drawn(rng):
    seen = check(replay().sample(4000, 3, rng), 4000)
    # 60 frames: 10 episodes of 5 steps; 7 of 7 and one of 3 of which the newest has no successor
    assert len(seen) == 10 * 5 + 7 * 7 + 3 == len(replay())


def test_a_full_ring_forgets_the_oldest(rng):
    small = replay(steps=61, size=40)
    seen = check_within(small, rng, oldest=61 - 20)
    assert len(seen) == len(small)


def check_within(small: FrameReplay, rng, oldest: int) -> set[tuple[int, int, int]]:
    """Stacks at the ring's edge repeat the oldest frame that is left; all else is as in `check`."""
    batch = small.sample(2000, 3, rng)
    seen = set()
    for row in range(2000):
        env, episode, t = (int(x) for x in batch.actions[row])
        number = episode * (LENGTHS[env] + 1) + t
        assert number >= oldest
        assert (batch.observations[row][..., 6:] == picture(env, episode, t)).all()
        assert (batch.next_observations[row][..., 6:] == picture(env, episode, t + 1)).all()
        back = min(2, t, number - oldest)
        assert (batch.observations[row][..., :3] == picture(env, episode, t - back)).all()
        seen.add((env, episode, t))
    return seen


@pytest.mark.parametrize("size", [400, 60])
def test_a_killed_run_finds_what_it_saved_and_nothing_torn(tmp_path, rng, size):
    before = FrameReplay(ReplayConfig(size), 2, SHAPE, 3, tmp_path)
    stream = Stream()
    stream.feed(before, 50)
    before.save()
    counted = len(before)
    stream.feed(before, 9)  # lost: never saved
    del before
    after = FrameReplay(ReplayConfig(size), 2, SHAPE, 3, tmp_path)
    if size == 400:
        assert len(after) == counted
        check(after.sample(500, 3, rng), 500)
    else:  # the lost steps overwrote the oldest saved ones
        assert counted - 2 * 9 - 2 <= len(after) < counted
    stream = Stream()
    stream.episode = [100, 100]
    stream.feed(after, 4)  # a new episode begins where the saved one broke off
    batch = after.sample(500, 3, rng)
    newest = {int(t) for _, episode, t in batch.actions if episode == 100}
    assert newest == {0, 1, 2}
    for action, following in zip(batch.actions, batch.next_observations, strict=True):
        assert (following[..., 6:] == picture(*(action + np.array([0, 0, 1])).astype(int))).all()


@pytest.mark.parametrize("content", ["", '{"head": 3', '{"head": 3}', "[]"])
def test_a_damaged_index_is_named(tmp_path, content):
    replay(folder=tmp_path).save()
    (tmp_path / "replay.json").write_text(content)
    with pytest.raises(ReplayError, match=r"replay\.json is damaged or foreign"):
        replay(folder=tmp_path)


def test_another_shape_is_refused(tmp_path):
    replay(folder=tmp_path).save()
    with pytest.raises(ReplayError, match="another shape"):
        FrameReplay(ReplayConfig(100), 2, SHAPE, 3, tmp_path)


def test_too_large_a_buffer_is_refused_before_anything_is_played(tmp_path):
    with pytest.raises(ReplayError, match=r"buffer_size"):
        FrameReplay(ReplayConfig(10**12), 1, (64, 64, 3), 1, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ReplayError, match="another folder"):
        FrameReplay(ReplayConfig(10), 1, SHAPE, 1, tmp_path / "file")


def test_an_empty_replay_says_so(rng):
    with pytest.raises(ReplayError, match="too few to sample"):
        FrameReplay(ReplayConfig(10), 2, SHAPE, 3).sample(1, 3, rng)


def test_memory_is_known_in_advance():
    config = ReplayConfig(1000)
    made = FrameReplay(config, 2, SHAPE, 0)
    held = sum(a.nbytes for a in made._arrays.values())
    assert held <= FrameReplay.bytes_needed(config, SHAPE) < 1.1 * held


def test_sequences_are_consecutive_and_say_what_led_to_each_frame(rng):
    made = replay(60, size=80)  # 40 steps an environment are kept of 60
    batch = made.sample_sequences(500, 9, rng)
    assert batch.frames.shape == (500, 9, 4, 4, 3)
    crossed = 0
    for row in range(500):
        env, episode, t = (int(x) for x in batch.frames[row, 0, 0, 0])
        for step in range(9):
            if t > LENGTHS[env]:
                t, episode = 0, episode + 1
            assert (batch.frames[row, step] == picture(env, episode, t)).all()
            assert batch.first[row, step] == (t == 0)
            led = [env, episode, t - 1] if t else [0, 0, 0]
            assert batch.actions[row, step].tolist() == led
            assert batch.rewards[row, step] == (10 * (t - 1) if t else 0)
            assert batch.terminal[row, step] == (env == 0 and t == 5)
            crossed += t == 0
            t += 1
    assert crossed > 100
    starts = {int(x) for x in batch.frames[:, 0, 0, 0, 1]}
    assert min(starts) >= 2  # the oldest were overwritten


def test_sequences_do_not_cross_what_was_lost(tmp_path, rng):
    """Whoever resumes takes nothing from an episode that nobody will label."""

    def added(kept: FrameReplay, number: int) -> None:
        for t in range(number):
            frames = np.full((1, 4, 4, 3), t, np.uint8)
            kept.add(frames, np.array([t == 0]), np.zeros((1, 1)), np.ones(1), np.zeros(1, bool))

    def made() -> FrameReplay:
        return FrameReplay(ReplayConfig(100), 1, (4, 4, 3), 1, tmp_path, labels_later=True)

    before = made()
    added(before, 12)
    before.set_rewards(0, np.full(11, 2.0))
    added(before, 9)  # not labelled: the run is killed
    before.save()
    after = made()
    assert after.steps_known == 11
    added(after, 12)
    after.set_rewards(0, np.full(11, 3.0))
    drawn = after.sample_sequences(200, 6, rng)
    led = ~drawn.first
    assert set(drawn.rewards[led].tolist()) == {2.0, 3.0}
    assert all(len(set(row[1:])) == 1 for row in drawn.rewards.tolist())  # within one episode


def test_sequences_longer_than_what_was_added_are_refused(rng):
    with pytest.raises(ReplayError, match="10 steps an environment, too few"):
        replay(10).sample_sequences(4, 10, rng)
    assert replay(10).sample_sequences(4, 9, rng).first.shape == (4, 9)


def test_room_is_made_without_posix_fallocate(tmp_path, monkeypatch):
    """macOS and Windows have none."""
    monkeypatch.delattr("os.posix_fallocate", raising=False)
    made = replay(30, 80_000, tmp_path)
    assert (tmp_path / "frames.bin").stat().st_size == 80_000 * 48 > 3 << 20  # several blocks
    assert len(made) > 40


def test_a_buffer_below_a_sequence_says_to_make_it_larger():
    with pytest.raises(ReplayError, match=r"keeps 4 steps an environment.*raise buffer_size"):
        replay(30, 8).sample_sequences(4, 6, np.random.default_rng(0))

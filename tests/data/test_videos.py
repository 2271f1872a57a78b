from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from viper_gym.data import videos
from viper_gym.data.altered_windows import replace_context, show_any_code
from viper_gym.data.clips import (
    FrameSampler,
    WindowSampler,
    beginnings,
    empty_codes,
    hold_end,
    skip_beginnings,
    split_episodes,
    with_play,
)
from viper_gym.data.episodes import Episode
from viper_gym.data.videos import find_videos, load_folder, read_video
from viper_gym.errors import VideoDataError
from viper_gym.pictures import resize


def frames(n: int, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def write_mp4(path, video):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=20, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = video.shape[2], video.shape[1], "rgb24"
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())


def test_episode_round_trip_is_lossless(tmp_path):
    episode = Episode(frames(5), np.arange(4.0, dtype=np.float32), {"task": "x"})
    episode.save(tmp_path / "a" / "e.npz")
    back = Episode.load(tmp_path / "a" / "e.npz")
    assert np.array_equal(back.frames, episode.frames)
    assert back.task_return == 6.0
    assert back.meta == {"task": "x"}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["e.npz"]


def test_truncated_and_foreign_npz_are_named(tmp_path):
    Episode(frames(5)).save(tmp_path / "e.npz")
    data = (tmp_path / "e.npz").read_bytes()
    (tmp_path / "torn.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoDataError, match=r"torn\.npz"):
        Episode.load(tmp_path / "torn.npz")
    np.savez(tmp_path / "other.npz", pixels=frames(3))
    with pytest.raises(VideoDataError, match=r"'frames', found \['pixels'\]"):
        Episode.load(tmp_path / "other.npz")
    for name, foreign in (("array", frames(3)), ("number", None)):
        with (tmp_path / f"{name}.npz").open("wb") as file:
            np.save(file, foreign) if foreign is not None else np.savez(file, frames=np.array(7))
        with pytest.raises(VideoDataError, match=rf"{name}\.npz: not a readable episode file"):
            Episode.load(tmp_path / f"{name}.npz")


def test_every_damage_of_an_npz_is_named(tmp_path):
    """Whatever zip, zlib, NumPy or JSON make of it."""
    Episode(frames(5)).save(tmp_path / "e.npz")
    data, rng = (tmp_path / "e.npz").read_bytes(), np.random.default_rng(0)
    named = 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (tmp_path / "bad.npz").write_bytes(damaged)
        try:
            Episode.load(tmp_path / "bad.npz")  # a bit that nothing reads
        except VideoDataError as error:
            assert "bad.npz" in str(error)
            named += 1
    assert named > 200


def test_every_format_reads_the_same_frames(tmp_path):
    video = frames(12)
    write_mp4(tmp_path / "v.mp4", video)
    (tmp_path / "pictures").mkdir()
    for i, frame in enumerate(video):  # not zero-padded: 10 must come after 9
        Image.fromarray(frame).save(tmp_path / "pictures" / f"frame_{i}.png")
    Episode(video).save(tmp_path / "v.npz")
    for name in ("v.mp4", "pictures", "v.npz"):
        assert np.array_equal(read_video(tmp_path / name, 32).frames, video), name


def test_a_movie_is_resized_as_it_is_read(tmp_path, monkeypatch):
    """A long one at its own size would not fit in memory."""
    write_mp4(tmp_path / "v.mp4", frames(10, size=64))
    read, order = videos._movie, []
    monkeypatch.setattr(videos, "_movie", lambda path: (order.append("r") or f for f in read(path)))
    resize = videos.resize
    monkeypatch.setattr(videos, "resize", lambda *x: order.append("s") or resize(*x))
    assert read_video(tmp_path / "v.mp4", 32).frames.shape == (10, 32, 32, 3)
    assert "".join(order) == "rs" * 10


def test_gif_is_read_and_resized(tmp_path):
    images = [Image.fromarray(np.full((40, 60, 3), 30 * i, np.uint8)) for i in range(4)]
    images[0].save(tmp_path / "v.gif", save_all=True, append_images=images[1:])
    video = read_video(tmp_path / "v.gif", 32)
    assert video.frames.shape == (4, 32, 32, 3) and video.meta["resized_from"] == [40, 60]


def test_rest_that_a_gif_leaves_out_is_read(tmp_path):
    """Pillow makes one long picture of those that do not change."""
    images = [Image.fromarray(np.full((16, 16, 3), 9 * min(i, 20), np.uint8)) for i in range(51)]
    images[0].save(tmp_path / "v.gif", save_all=True, append_images=images[1:], duration=50)
    assert Image.open(tmp_path / "v.gif").n_frames == 21
    shown = read_video(tmp_path / "v.gif").frames
    assert len(shown) == 51
    assert (np.abs(shown.mean((1, 2, 3)) - 9 * np.minimum(np.arange(51), 20)) < 5).all()


def test_a_gap_in_a_movie_is_rest(tmp_path):
    video, begins = frames(10), [0, 1, 2, 3, 10, 11, 12, 13, 14, 15]
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264rgb", rate=20, options={"crf": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "rgb24"
        for picture, begin in zip(video, begins, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = begin, Fraction(1, 20)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    shown = read_video(tmp_path / "v.mp4").frames
    assert np.array_equal(shown, video[[0, 1, 2, *[3] * 7, 4, 5, 6, 7, 8, 9]])


def timed(path, begins: list[int], ticks: int) -> None:
    """A movie of as many pictures, each shown from a time in ticks of a second on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=ticks)
        stream.width = stream.height = 32
        stream.time_base = stream.codec_context.time_base = Fraction(1, ticks)
        for number, begin in enumerate(begins):
            picture = np.full((32, 32, 3), number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = begin, Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("steps, read", [
    ([2, 3] * 20, 41),  # 24 pictures a second on a clock of 60
    ([33] * 5 + [1] + [33] * 34, 41),
    ([33, 34, 33] * 13 + [100], 40 + 3),
    ([33] * 40 + [10**7], 41 + 1000),
])  # fmt: skip
def test_uneven_times_are_no_rest(tmp_path, caplog, steps, read):
    timed(tmp_path / "v.mkv", np.cumsum([0, *steps]).tolist(), 1000)
    assert len(read_video(tmp_path / "v.mkv").frames) == read
    assert ("1000 are read" in caplog.text) == (read > 1000)


def test_a_broken_picture_is_named(tmp_path):
    for i in range(3):
        Image.fromarray(frames(1)[0]).save(tmp_path / f"{i}.png")
    whole = bytearray((tmp_path / "1.png").read_bytes())
    at = whole.index(b"IDAT")
    whole[at - 4 : at] = (10).to_bytes(4, "big")  # a chunk that ends where none begins
    (tmp_path / "1.png").write_bytes(whole)
    with pytest.raises(VideoDataError, match=r"1\.png: not a readable picture"):
        read_video(tmp_path)


def test_what_held_out_experts_leave_behind_is_held_out_of_play():
    def videos(n: int, offset: int) -> list[np.ndarray]:
        return [np.full((30, 1, 1), offset + i) for i in range(n)]

    experts = split_episodes({"a": videos(20, 0), "b": videos(20, 100)})
    play = split_episodes({"a (play)": videos(24, 200), "b (play)": videos(10, 300)})
    both = with_play(experts, play, last_frames=10, least=15)
    assert list(both.train) == list(both.held_out) == ["a", "b", "a (play)", "b (play)"]
    for task, number in (("a", 44), ("b", 30)):
        parts = {}
        for name, part in (("train", both.train), ("held out", both.held_out)):
            skilled = {int(v[0, 0, 0]) for v in part[task]}
            left = {int(v[0, 0, 0]) for v in part[f"{task} (play)"]}
            assert {n for n in left if n < 200} == skilled
            assert all(len(v) in (20, 30) for v in part[f"{task} (play)"])
            parts[name] = left
        assert len(parts["train"] | parts["held out"]) == number
        assert not parts["train"] & parts["held out"]


def test_pictures_of_sixteen_bits_are_scaled(tmp_path):
    grey = np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8)
    (tmp_path / "v").mkdir()
    Image.fromarray(grey).save(tmp_path / "v" / "0.png")
    frames = read_video(tmp_path / "v").frames
    np.testing.assert_array_equal(frames[0, ..., 1], grey >> 8)


def test_linked_folders_are_entered_once(tmp_path):
    frames = np.zeros((9, 64, 64, 3), np.uint8)
    Episode(frames).save(tmp_path / "elsewhere" / "one.NPZ")
    (tmp_path / "data" / "walk").mkdir(parents=True)
    (tmp_path / "data" / "walk" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data" / "walk")
    assert len(load_folder(tmp_path / "data", 64, min_frames=1)["walk"]) == 1


def test_rewards_that_do_not_fit_and_movies_without_pictures_are_named(tmp_path):
    np.savez(tmp_path / "r.npz", frames=np.zeros((9, 4, 4, 3), np.uint8), rewards=np.zeros(9))
    with pytest.raises(VideoDataError, match=r"expected 8 rewards for 9 frames.*got shape \(9,\)"):
        Episode.load(tmp_path / "r.npz")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate = 8000
        container.mux([*stream.encode(sound), *stream.encode(None)])
    with pytest.raises(VideoDataError, match="no picture in it"):
        read_video(tmp_path / "sound.mp4")


def test_unusable_folders_are_named(tmp_path):
    with pytest.raises(VideoDataError, match="no such folder"):
        load_folder(tmp_path / "none", 32, 4)
    with pytest.raises(VideoDataError, match="one sub-folder a task"):
        load_folder(tmp_path, 32, 4)
    (tmp_path / "walk").mkdir()
    with pytest.raises(VideoDataError, match="walk: no videos"):
        load_folder(tmp_path, 32, 4)
    Episode(frames(3)).save(tmp_path / "walk" / "short.npz")
    with pytest.raises(VideoDataError, match=r"short\.npz: 3 frames, expected 4 or more"):
        load_folder(tmp_path, 32, 4)
    Episode(frames(9)[..., 0]).save(tmp_path / "walk" / "short.npz")
    with pytest.raises(VideoDataError, match=r"\(T, 32, 32, 3\), got uint8 \(9, 32, 32\)"):
        load_folder(tmp_path, 32, 4)
    (tmp_path / "walk" / "short.npz").unlink()
    (tmp_path / "walk" / "v.mp4").write_bytes(b"not a video")
    with pytest.raises(VideoDataError, match=r"v\.mp4"):
        load_folder(tmp_path, 32, 4)


def test_npz_of_another_size_are_resized_as_movies_are(tmp_path):
    shown = frames(9, size=16)
    Episode(shown, np.ones(8, np.float32), {"camera": 2}).save(tmp_path / "walk" / "e.npz")
    [episode] = load_folder(tmp_path, 32, 4)["walk"]
    assert np.array_equal(episode.frames, np.stack([resize(f, 32) for f in shown]))
    assert episode.meta["resized_from"] == [16, 16] and episode.meta["camera"] == 2
    assert episode.task_return == 8


def coded_episode(number: int, length: int) -> np.ndarray:
    """Codes whose first cell is the episode and whose second is the time."""
    codes = np.zeros((length, 2, 2), np.int16)
    codes[:, 0, 0], codes[:, 0, 1] = number, np.arange(length)
    return codes


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_windows_are_strided_and_never_cross_episodes(stride):
    codes = {"a": [coded_episode(i, 13 + i) for i in range(4)], "b": [coded_episode(9, 13)]}
    pictures = np.array([[[-1, 5], [0, -1]], [[9, -1], [-1, -1]]])
    sampler = WindowSampler(codes, sequence_length=4, frame_stride=stride, pictures=pictures)
    seen = set()
    for step in range(200):
        for window, task, bare in zip(*sampler.batch(step, 6)[:3], strict=True):
            # the first task's episodes all show 5 in the second cell once, and 0 in the third
            assert bare.tolist() == ([[True, False]] if task else [[False, True]]) + [
                [not task, False]
            ]
            assert len(set(window[:, 0, 0].tolist())) == 1
            assert (np.diff(window[:, 0, 1]) == stride).all()
            assert (window[0, 0, 0] == 9) == (task == 1)
            seen.add((int(window[0, 0, 0]), int(window[0, 0, 1])))
    expected = {(i, t) for i in range(4) for t in range(13 + i - 3 * stride)}
    assert seen - {(9, t) for t in range(13)} == expected  # every window can be drawn


def test_windows_can_be_taken_from_the_end_of_every_episode_alone():
    codes = {"a": [coded_episode(i, length) for i, length in enumerate((9, 20, 31))]}
    skipped = {"a": skip_beginnings(codes["a"], 10)}
    assert skipped == {"a": [0, 10, 21]} and skip_beginnings(codes["a"], 0) == [0, 0, 0]
    assert [len(c) for c in beginnings(codes["a"], 10, least=11)] == [21]
    assert beginnings(codes["a"], 10, least=10)[0][:, 0, 1].tolist() == list(range(10))
    assert beginnings(codes["a"], 0, least=1) == []
    sampler = WindowSampler(codes, 3, 2, empty_codes(codes), skipped=skipped)
    drawn = np.concatenate([sampler.batch(step, 50).codes for step in range(20)])
    starts = {(int(w[0, 0, 0]), int(w[0, 0, 1])) for w in drawn}
    begin = {0: 0, 1: 10, 2: 21}  # the shortest is taken whole
    last = {0: 4, 1: 15, 2: 26}
    assert starts == {(i, t) for i in range(3) for t in range(begin[i], last[i] + 1)}
    with pytest.raises(ValueError, match="fewer than 5 frames"):
        WindowSampler(codes, 3, 2, empty_codes(codes), skipped={"a": [0, 10, 27]})


def test_batches_depend_on_seed_and_step_only():
    episodes = {"a": [Episode(frames(20, seed=i)) for i in range(3)]}
    one, two = FrameSampler(episodes, seed=1), FrameSampler(episodes, seed=1)
    one.batch(0, 8)
    assert np.array_equal(one.batch(5, 8)[0], two.batch(5, 8)[0])
    assert not np.array_equal(one.batch(6, 8)[0], two.batch(5, 8)[0])


def test_split_holds_out_whole_episodes():
    episodes = {"a": [Episode(frames(4, seed=i)) for i in range(10)]}
    split = split_episodes(episodes, 0.2)
    assert (len(split.train["a"]), len(split.held_out["a"])) == (8, 2)
    held_out = {item.frames.tobytes() for item in split.held_out["a"]}
    assert not held_out & {item.frames.tobytes() for item in split.train["a"]}


def test_what_is_held_out_is_of_every_kind():
    """Videos come folder by folder: the last ones may be all that shows who does nothing."""
    play = ["constant"] * 16 + ["random"] * 16 + ["small"] * 6 + ["zero"] * 6
    split = split_episodes({"a": play, "one": ["constant"], "two": ["small", "zero"]})
    assert split.held_out["a"] == ["constant", "random", "random", "zero"]
    assert {kind: split.train["a"].count(kind) for kind in set(play)} == {
        "constant": 15,
        "random": 14,
        "small": 6,
        "zero": 5,
    }
    assert split.train["one"] == split.held_out["one"] == ["constant"]
    assert (split.train["two"], split.held_out["two"]) == (["small"], ["zero"])


def test_frozen_context_copies_a_later_frame_and_does_not_train_on_copies(rng):
    windows = np.arange(200 * 6).reshape(200, 6, 1, 1)
    empty, bare = -np.ones((200, 1, 1), int), np.ones((200, 1, 1), bool)
    mixed, weights = replace_context(windows, 0.5, 0.0, empty, bare, rng)
    touched = (mixed != windows).any((1, 2, 3))
    assert 0.35 < touched.mean() < 0.65
    assert (weights[~touched] == 1).all()
    for row in np.flatnonzero(touched):
        last = int((weights[row] == 0).sum())  # frames 1 … last are copies or copied
        assert 1 <= last <= 4
        assert (mixed[row, : last + 1] == windows[row, last]).all()
        assert (mixed[row, last + 1 :] == windows[row, last + 1 :]).all()
        assert weights[row].tolist() == [1.0] + [0.0] * last + [1.0] * (5 - last)
    same, ones = replace_context(windows, 0.0, 0.0, empty, bare, rng)
    assert (same == windows).all() and (ones == 1).all()


def test_frozen_context_stops_a_part_while_the_rest_goes_on(rng):
    windows = np.arange(2000 * 54).reshape(2000, 6, 3, 3)
    windows[:, :, :, 0] = windows[:, :1, :, 0]  # the first column never moves
    bare = np.ones((2000, 3, 3), bool)
    mixed, weights = replace_context(windows, 1.0, 0.0, windows[:, 0], bare, rng)
    parts = 0
    for real, row, counted in zip(windows, mixed, weights, strict=True):
        last = int((counted[1:] == 0).sum())
        assert (row[last:] == real[last:]).all() and (counted[last + 1 :] == 1).all()
        stopped = (row[:last] != real[:last]).any(0)  # (3, 3)
        assert stopped.any() and (row[:last, stopped] == real[last, stopped]).all()
        assert (row[:last, ~stopped] == real[:last, ~stopped]).all()
        rows, columns = np.flatnonzero(stopped.any(1)), np.flatnonzero(stopped.any(0))
        assert stopped.sum() == (1 + np.ptp(rows)) * (1 + np.ptp(columns))  # a rectangle
        if stopped[:, 1:].all():
            continue  # the whole picture, or a rectangle as large
        parts += 1
        assert counted[0] == 0  # half a copy is no picture that an expert shows
    assert 0.3 < parts / 2000 < 0.6


def test_empty_context_is_followed_by_the_real_frame_which_is_trained_on(rng):
    windows = np.arange(4000 * 96).reshape(4000, 6, 4, 4)
    empty = np.tile(-np.arange(1, 4001)[:, None, None], (1, 4, 4))
    bare = np.zeros((4000, 4, 4), bool)
    bare[:, [0, 2], [1, 3]] = True  # no rectangle
    mixed, weights = replace_context(windows, 0.2, 0.3, empty, bare, rng)
    kinds = {"whole": 0, "bare": 0, "rectangle": 0, "any codes": 0}
    holed = (weights[:, 0] == 0) & (mixed[:, 0] != windows[:, 0]).any((1, 2))
    for row in np.flatnonzero(holed):
        last = int((weights[row] == 0).sum())
        first, real, blank = mixed[row, 0], windows[row, last], empty[row]
        if (mixed[row, :last] != first).any() or not 1 <= last <= 4:
            continue  # stopped in a rectangle (the test above)
        assert (mixed[row, last:] == windows[row, last:]).all()
        hole = first != real
        if not hole.any():
            continue
        assert weights[row].tolist() == [0.0] * last + [1.0] * (6 - last)
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        box = np.ix_(range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1))
        if (first == blank).all():
            kinds["whole"] += 1
        elif (hole == bare[row]).all() and (first[hole] == blank[hole]).all():
            kinds["bare"] += 1
        elif (first[hole] == blank[hole]).all():
            kinds["rectangle"] += 1
            assert hole[box].all()
        else:
            kinds["any codes"] += 1
            assert np.isin(first[hole], windows).all()
    counts = np.array(list(kinds.values())) / 4000
    assert (counts > 0.05).all() and 0.27 < counts.sum() < 0.33, kinds


def test_empty_codes_are_the_commonest_of_each_cell():
    a = np.array([[[5, 1]], [[5, 2]], [[4, 2]]], np.int16)  # (T, 1, 2)
    assert empty_codes({"a": [a[:1], a[1:]], "b": [a[2:]]}).tolist() == [[[5, 2]], [[4, 2]]]


def test_frames_of_all_episodes_are_drawn():
    first, second = (np.full((n, 8, 8, 3), n, np.uint8) for n in (3, 5))
    second[-1] = 9
    sampler = FrameSampler({"a": [Episode(first), Episode(second)]})
    drawn, _ = sampler.batch(0, 4000)
    values, counts = np.unique(drawn[:, 0, 0, 0], return_counts=True)
    assert values.tolist() == [3, 5, 9]
    assert counts / 4000 == pytest.approx([3 / 8, 4 / 8, 1 / 8], abs=0.03)


def test_frames_of_calm_tasks_are_drawn_more_often(rng):
    calm = np.zeros((40, 8, 8, 3), np.uint8)
    calm[::4, 0, :4] = 255
    busy = rng.integers(0, 255, (40, 8, 8, 3)).astype(np.uint8)
    sampler = FrameSampler({"calm": [Episode(calm)], "busy": [Episode(busy)]})
    assert sampler.share.sum() == pytest.approx(1.0)
    assert sampler.share[0] > 2 * sampler.share[1]
    _, tasks = sampler.batch(0, 2000)
    assert np.mean(tasks == 0) == pytest.approx(sampler.share[0], abs=0.05)


def test_the_end_of_an_episode_can_be_held_still():
    codes = {"a": [np.arange(6)[:, None, None] * np.ones((1, 2, 2), int)]}
    before = codes["a"][0].copy()
    hold_end(codes, 0)
    np.testing.assert_array_equal(codes["a"][0], before)
    hold_end(codes, 3)
    assert codes["a"][0][:, 0, 0].tolist() == [0, 1, 2, 5, 5, 5]
    for frames in (-1, 6):  # every frame would be the last
        with pytest.raises(ValueError, match="expected 0 to 5 frames"):
            hold_end(codes, frames)


def test_cells_that_stand_still_can_show_any_code(rng):
    windows = np.zeros((200, 3, 4, 4), np.int64)
    windows[:, 1, 0] = 7  # the first row moves
    shown = show_any_code(windows, 0.5, 1000, rng)
    np.testing.assert_array_equal(shown[:, :, 0], windows[:, :, 0])
    assert (shown == shown[:, :1])[:, :, 1:].all()  # what stood still still does
    changed = (shown != windows).any((1, 2, 3))
    assert 0.3 < changed.mean() < 0.6 and len(np.unique(shown)) > 100
    assert show_any_code(windows, 0.0, 1000, rng) is windows


def test_some_windows_wait_before_their_episode_begins():
    """They hold its first picture, then go on as it does."""
    codes = {"a": [np.arange(40)[:, None, None] * np.ones((1, 2, 2), int)]}
    sampler = WindowSampler(codes, 4, 3, empty_codes(codes), waiting=0.5)
    windows, _, _, counted = sampler.batch(0, 200)
    kinds = {
        (0, 0, 3, 6): [1, 0, 1, 1],  # how long it waits is not learned from
        (0, 0, 0, 3): [1, 0, 0, 1],
    }
    seen = [tuple(window) for window in windows[:, :, 0, 0].tolist()]
    assert 0.35 < np.mean([window in kinds for window in seen]) < 0.65 and set(kinds) < set(seen)
    for window, weights in zip(seen, counted.tolist(), strict=True):
        assert weights == kinds.get(window, [1, 1, 1, 1])
        assert window in kinds or set(np.diff(window)) == {3}


def test_tampered_windows_hold_a_frame_still_or_take_frames_of_about_the_same_time():
    # every cell of a frame is its number, so that a window shows where it is from
    episodes = [np.full((1, 1), 100 * e) + np.arange(100).reshape(-1, 1, 1) for e in range(3)]
    sampler = WindowSampler(
        {"a": episodes}, 4, 2, np.zeros((1, 1, 1), int), skipped={"a": [20, 20, 20]}
    )
    windows, tasks = sampler.tampered(0, 400)
    numbers = windows[:, :, 0, 0]
    still = (numbers == numbers[:, :1]).all(1)
    assert set(tasks) == {0} and 0.4 < still.mean() < 0.6
    assert (numbers // 100 == numbers[:, :1] // 100).all()  # of one episode
    assert (numbers % 100 >= 20).all() and np.ptp(numbers, 1).max() <= 2 * 4 * 7
    assert (np.diff(numbers[~still], axis=1) < 0).any(1).mean() > 0.8  # not in order
    assert np.isin(numbers[~still] % 100, (20, 99)).mean() < 0.06  # nor mostly the first and last
    assert np.array_equal(windows, sampler.tampered(0, 400)[0])


def test_tampered_windows_are_taken_where_something_moves():
    """An expert who rests would be play otherwise: held still, that is what it plays."""
    rests = np.minimum(np.arange(100), 60).reshape(-1, 1, 1)  # at rest from frame 60 on
    sampler = WindowSampler({"a": [rests]}, 4, 2, np.zeros((1, 1, 1), int))
    numbers = sampler.tampered(0, 400)[0][:, :, 0, 0]
    still = (numbers == numbers[:, :1]).all(1)
    assert 0.4 < still.mean() < 0.6 and numbers[still].max() < 60 <= numbers[~still].max()


def test_lossy_videos_are_warned_of_once(tmp_path, caplog):
    frames = np.zeros((9, 64, 64, 3), np.uint8)
    for i in range(2):
        Episode(frames).save(tmp_path / "walk" / f"{i}.npz")
    load_folder(tmp_path, 64, min_frames=1)
    assert not caplog.messages
    (tmp_path / ".cache").mkdir()  # not a task
    for i in range(2):
        Image.fromarray(frames[0]).save(tmp_path / "walk" / f"{i}.gif")
    load_folder(tmp_path, 64, min_frames=1)
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(".gif videos have lost")


def test_hidden_files_and_folders_are_no_videos(tmp_path):
    Episode(frames(5)).save(tmp_path / "walk" / "1.npz")
    for name in ("2/0.png", "2/1.png", "2/.ipynb_checkpoints/0-checkpoint.png", ".cache/0.png"):
        (tmp_path / "walk" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frames(1)[0]).save(tmp_path / "walk" / name)
    (tmp_path / "walk" / "._clip.mp4").write_bytes(b"of macOS")
    (tmp_path / "walk" / "2" / "._0.png").write_bytes(b"of macOS")
    found = find_videos(tmp_path / "walk")
    assert [path.name for path in found] == ["1.npz", "2"]
    assert len(read_video(found[1]).frames) == 2


def test_an_npz_without_frames_or_with_foreign_meta_is_named(tmp_path):
    np.savez(tmp_path / "none.npz", frames=np.zeros((0, 32, 32, 3), np.uint8))
    with pytest.raises(VideoDataError, match=r"none\.npz: no frame in it"):
        read_video(tmp_path / "none.npz", 64)
    np.savez(tmp_path / "list.npz", frames=frames(3), meta=np.array("[1]"))
    with pytest.raises(VideoDataError, match=r"list\.npz: expected 'meta' to be a JSON object"):
        read_video(tmp_path / "list.npz")

"""The benchmark measures what it says; times themselves are no test."""

import inspect
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from conftest import SIZE, coded_frame, random_video_model, toy_bundle
from viper_gym.benchmark import throughput
from viper_gym.benchmark.batching import measure_batching
from viper_gym.benchmark.environments import measure_environment
from viper_gym.benchmark.throughput import agreement, measure, policies, ratios
from viper_gym.benchmark.turns import in_turns
from viper_gym.data.episodes import Episode
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy


def test_every_method_is_timed_at_every_batch():
    rows = measure(toy_bundle(random_video_model(length=8), 2), (1, 3), ("fp32",), "cpu", 0.02)
    methods = ["recompute", *policies(8)]
    assert [(r.batch, r.method) for r in rows] == [(b, m) for b in (1, 3) for m in methods]
    for row in ratios(rows):
        assert row["rewards_per_second"] == pytest.approx(1000 / row["milliseconds"])
        if row["method"] == "exact":
            assert row["times_exact"] == 1.0
    cached = {r.method: r.state_mebibytes for r in rows if r.batch == 3}
    assert all(r.peak_mebibytes is None for r in rows)  # of a process nobody knows it
    # 3 environments x 2 phases x (keys, values) x 2 layers x 32 tokens x 24 floats, and codes
    assert cached["refresh 4"] * 2**20 == 3 * 2 * (2 * 2 * 32 * 24 * 4 + 32 * 8)


@pytest.mark.parametrize("tasks", [("a", "b"), ("a",)], ids=["likelihood", "ratio"])
def test_the_whole_window_is_recomputed_to_the_value_of_exact(tasks, rng):
    """Where the bundle knows unskilled play, both compare its class with the experts'."""
    bundle = toy_bundle(random_video_model(length=4, classes=2), tasks=tasks)
    bundle.config = replace(bundle.config, contrast=len(tasks) == 1)
    model = VideoRewardModel(bundle, "cpu", "fp32", ContextPolicy("exact"))
    frames = rng.integers(0, 256, (8, 3, SIZE, SIZE, 3), np.uint8)
    ways = {m: throughput._stepper(model, m, 3, frames)[0] for m in ("recompute", "exact")}
    for t in range(12):
        scores = {method: step(t) for method, step in ways.items()}
    assert np.ptp(scores["exact"]) > 0.1
    np.testing.assert_allclose(scores["recompute"], scores["exact"], rtol=1e-4, atol=1e-4)


def test_windows_are_full_before_the_clock_starts(monkeypatch):
    """A slow method must not be timed on windows that are partly empty."""
    filled = {}

    def timing(step, warm_up, cycle, seconds):
        for t in range(warm_up):
            step(t)
        stream = inspect.getclosurevars(step).nonlocals.get("stream")
        filled[len(filled)] = None if stream is None else stream.context_frames().tolist()
        return 1.0

    monkeypatch.setattr(throughput, "_time", timing)
    measure(toy_bundle(random_video_model(length=8), 2), (2,), ("fp32",), "cpu")
    assert filled == {0: None} | {i: [7, 7] for i in range(1, 6)}  # recompute has no stream


def test_the_vector_wrapper_is_timed_against_single_ones():
    model = VideoRewardModel(toy_bundle(random_video_model(), 2), "cpu", "fp32")
    frames = np.stack([coded_frame(0, t) for t in range(10)])
    row = measure_batching(model, "a", frames, envs=8, seconds=0.2)
    assert 0 < row.bare_ms < row.vector_ms < row.single_ms
    assert 0 < row.ratio < 1  # eight calls of a tiny network are mostly overhead


def test_policies_keep_the_shares_of_the_context_asked_for():
    assert list(policies(16)) == ["exact", "refresh 1", "refresh 4", "refresh 8", "refresh 11"]


def test_agreement_is_exact_where_history_does_not_matter():
    """A model without attention to the past has no difference; one with has some, and ranks."""
    frames = np.stack([coded_frame(t // 5, t) for t in range(60)])
    draws = np.random.default_rng(0).integers(0, 16, (800, 2))  # no period that meets a refresh's
    other = np.stack([coded_frame(*pair) for pair in draws])
    experts, shown = [Episode(other, None)], [Episode(frames, None)]
    bundle = toy_bundle(random_video_model(length=8), 2)
    some = agreement(bundle, "a", experts, shown, "cpu")
    assert [a.method for a in some] == ["refresh 1", "refresh 2", "refresh 4", "refresh 5"]
    assert all(a.difference > 1e-4 and -1 <= a.rank_correlation <= 1 for a in some)
    # on the episode that set the offsets, which refreshes meet at a few frames each, less is left
    same = agreement(bundle, "a", experts, experts, "cpu")
    assert all(a.corrected < 0.7 * a.saw_tooth for a in same)
    assert all(np.isnan(a.corrected) for a in agreement(bundle, "a", [], shown, "cpu"))
    for block in bundle.video_model.blocks:
        block.attention.out.weight.zero_()
        block.attention.out.bias.zero_()
    bundle.video_model.position[0].zero_()
    none = agreement(bundle, "a", experts, shown, "cpu")
    assert all(a.difference < 1e-5 and a.saw_tooth < 1e-5 for a in none)


def test_turns_are_alike_and_warm_up_is_not_counted():
    calls = []
    ways = {name: partial(calls.append, name) for name in ("a", "b")}
    found = in_turns(ways, turn=3, seconds=0.0, warm_up=2)
    assert calls == [*"aabb", *"aaabbb"]
    assert found.keys() == {"a", "b"} and min(found.values()) > 0


def test_cost_of_a_registered_environment():
    pytest.importorskip("dm_control", reason="needs the extra 'dmc'")
    import viper_gym  # noqa: F401  (registers the ids)

    cost = measure_environment("viper/dmc-cup_catch-v0", seconds=0.01, device="cpu", dtype="fp32")
    assert cost.physics > 0 and cost.reset > 0
    assert cost.step == cost.physics + cost.rendering + cost.reward

"""The audit's figures on videos whose likelihoods are known by construction."""

import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from brightness import brightness_model, video
from conftest import random_video_model, small_bundle, toy_bundle
from viper_gym.benchmark.audit import audit_task, worth
from viper_gym.benchmark.calibration import (
    CEILINGS,
    FLOORS,
    calibrate,
    context_offsets,
    ladder_bounds,
    with_bounds,
)
from viper_gym.benchmark.metrics import gap_in_deviations, share_of_pairs, spearman
from viper_gym.benchmark.report import (
    folder_source,
    run_audit,
    table,
    with_agents,
    with_evaluation,
)
from viper_gym.benchmark.still import still_episodes, success_limit
from viper_gym.benchmark.suite_episodes import AUDIT_SEED, AUDIT_SEEDS, unreachable
from viper_gym.benchmark.task_audit import TaskAudit, summary, verdict
from viper_gym.checkpoints.bundle import Calibration, read_config, save_bundle, write_config
from viper_gym.checkpoints.card import model_card
from viper_gym.checkpoints.resolve import bundled_folder
from viper_gym.cli.calibrate import calibrate_checkpoint
from viper_gym.cli.evaluate import Evaluate
from viper_gym.data.episodes import Episode
from viper_gym.envs.collect import collect
from viper_gym.errors import CheckpointError, VideoDataError, ViperGymError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy


def test_metrics_on_hand_computed_numbers():
    assert share_of_pairs(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 3.5 / 4
    assert spearman(np.array([1, 2, 3.0]), np.array([10, 30, 20.0])) == pytest.approx(0.5)
    assert np.isnan(spearman(np.array([1, 1, 1.0]), np.array([1, 2, 3.0])))
    unknown = np.array([10, np.nan, 30, 20.0])  # left out
    assert spearman(np.array([1, 9, 2, 3.0]), unknown) == pytest.approx(0.5)
    assert gap_in_deviations(np.array([2.0, 4.0]), np.array([1.0])) == pytest.approx(2 / 2**0.5)


@pytest.fixture
def episodes(rng):
    def level(mean, n=80):
        return np.clip(rng.normal(mean, 1.5, n).round(), 0, 15)

    return {
        "expert": [video(level(12), 1.0) for _ in range(6)],
        "random": [video(level(3)) for _ in range(6)],
        "zero": [video(level(6)) for _ in range(6)],
        "graded": [video(level(m), m) for m in np.linspace(1, 13, 12)],
    }


def test_audit_of_a_reward_that_ranks(episodes):
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.auroc_random == 1.0
    assert audit.spearman > 0.95
    assert audit.beats_cheap == 1.0
    assert audit.best_cheap == "zero"
    assert audit.gap > 3
    assert audit.beats_by_age == {"50-100": 1.0}
    assert audit.episodes["expert"] == 6
    config = calibrate(brightness_model().config, audit)
    levels = config.calibration["a"]
    assert audit.late_levels["zero"] < audit.best_late["zero"]
    assert levels.low == audit.best_late["zero"] < levels.high == audit.late_levels["expert"]
    assert audit.best_late["zero"] < levels.idle == audit.idle_late  # the luckiest of them
    assert calibrate(config, audit, (-1.0, 0.0)).calibration["a"].by_context == (-1.0, 0.0)


def test_experts_of_negative_returns_are_counted_from_the_worst(episodes):
    """Pendulum's, or -1 a step: half of a negative return is a better one."""
    returns = {"expert": -1.0, "random": -9.0, "zero": -8.0}
    for name, value in returns.items():
        episodes[name] = [
            Episode(e.frames, np.full(len(e.frames) - 1, value, np.float32)) for e in episodes[name]
        ]
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.failed_experts == 0 and audit.successful_cheap == {"zero": 0, "random": 0}
    assert audit.beats_cheap == 1.0
    good = Episode(episodes["zero"][0].frames, np.full(79, -2.0, np.float32))
    audit, _ = audit_task(
        brightness_model(), "a", {**episodes, "zero": [*episodes["zero"], good]}, cheap=("zero",)
    )
    assert audit.successful_cheap == {"zero": 1}
    assert success_limit(10.0, -5.0) == 5.0  # a task whose experts get more than 0, as ever
    assert success_limit(-2.0, -10.0) == -6.0


def test_one_disaster_makes_nothing_else_a_success(episodes):
    returns = {"expert": 1.0, "random": -0.2, "zero": 0.0}
    for name, value in returns.items():
        episodes[name] = [
            Episode(e.frames, np.full(len(e.frames) - 1, value, np.float32)) for e in episodes[name]
        ]
    calm = still_episodes(episodes)
    fell = episodes["random"][0]
    fell.rewards[-1] = -1000.0
    assert {k: len(v) for k, v in still_episodes(episodes).items()} == {
        k: len(v) for k, v in calm.items()
    }
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.successful_cheap == {"zero": 0, "random": 0} and audit.failed_experts == 0
    failed = [Episode(e.frames, e.rewards * 0) for e in episodes["expert"][:2]]
    episodes["expert"] = [*episodes["expert"][:4], *failed]
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.failed_experts == 2


@pytest.mark.parametrize("beside", [(), ("zero",)])
def test_experts_of_negative_returns_are_not_held_against_their_own_mean(episodes, beside):
    """Where nothing is known of others the worst expert is the worst."""
    returns = (-100.0, -150.0, -160.0)
    experts = [
        Episode(e.frames, np.full(len(e.frames) - 1, value / 79, np.float32))
        for e, value in zip(episodes["expert"], returns, strict=False)
    ]
    given = {"expert": experts, **{name: episodes[name] for name in beside}}
    for name in beside:
        given[name] = [
            Episode(e.frames, np.full(len(e.frames) - 1, -400 / 79, np.float32))
            for e in episodes[name]
        ]
    audit, _ = audit_task(brightness_model(), "a", given, cheap=("zero",))
    assert audit.failed_experts == (0 if beside else 1)


def test_the_task_is_done_half_way_from_those_who_do_not_try_to_experts(episodes):
    """A pole that begins upright falls slowly: idling has three quarters of an expert's return."""
    returns = {"expert": 1.0, "random": 0.3, "zero": 0.75, "empty": 1.0}
    episodes["empty"] = episodes["random"]
    for name, value in returns.items():
        episodes[name] = [
            Episode(e.frames, np.full(len(e.frames) - 1, value, np.float32)) for e in episodes[name]
        ]
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random", "empty"))
    assert audit.successful_cheap == {"zero": 0, "random": 0, "empty": 0}
    assert np.isfinite(audit.idle_late) and set(audit.beats) >= {"zero", "random", "empty"}
    # one expert in three is half as good as the others: it did not fail where idlers get less
    lesser = [Episode(e.frames, e.rewards * 0.6) for e in episodes["expert"][:2]]
    mixed = {**episodes, "expert": [*episodes["expert"][:4], *lesser]}
    del mixed["zero"], mixed["empty"]
    audit, _ = audit_task(brightness_model(), "a", mixed, cheap=("random",))
    assert audit.failed_experts == 2  # 0.6 is below half-way from 0.3 to 1
    mixed["random"] = [Episode(e.frames, e.rewards * 0) for e in mixed["random"]]
    audit, _ = audit_task(brightness_model(), "a", mixed, cheap=("random",))
    assert audit.failed_experts == 0


@pytest.mark.parametrize(("idle", "limit"), [(0.0, 0.5), (0.6, 0.8), (0.95, 0.9), (1.0, 0.9)])
def test_idlers_who_nearly_do_the_task_do_not_make_experts_fail(idle, limit):
    assert success_limit(1.0, 0.0, idle) == pytest.approx(limit)


def test_a_behaviour_that_always_does_the_task_is_not_called_measured(episodes):
    episodes["zero"] = [Episode(e.frames, e.rewards) for e in episodes["expert"]]
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.successful_cheap["zero"] == 6
    assert any(line.startswith("NOT MEASURED: 'zero'") for line in audit.verdict)
    assert not any(line.startswith("OK") for line in audit.verdict)


def test_what_was_not_measured_is_not_called_good(episodes):
    assert all(line.startswith("NOT MEASURED") for line in verdict(TaskAudit("a")))
    audit, _ = audit_task(brightness_model(), "a", {"expert": episodes["expert"][:1]})
    assert any("deviations" in line for line in audit.verdict)
    assert any("returns are ranked" in line for line in audit.verdict)
    assert not any(line.startswith("OK") for line in audit.verdict)


def test_without_cheap_behaviour_no_scale_and_without_an_expert_no_audit(episodes):
    with pytest.raises(CheckpointError, match=r"cheap behaviour .*got expert"):
        calibrate(brightness_model().config, TaskAudit("a", episodes={"expert": 6}))
    failed = [Episode(e.frames, e.rewards, {"success": False}) for e in episodes["expert"]]
    with pytest.raises(VideoDataError, match="none of 6 episodes of 'expert' did the task"):
        audit_task(brightness_model(), "a", {**episodes, "expert": failed})


def test_a_window_asked_for_some_tasks_leaves_the_others_as_they_were(tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundled_folder("dmc"), folder)
    before = read_config(folder)
    options = Evaluate(
        str(folder), tasks=("cup_catch",), calibrate=True, window=1, out=tmp_path, workers=0
    )  # fmt: skip
    calibrate_checkpoint(options, {"expert": 1, "zero": 1, "graded": 3}, seed=5)
    after = read_config(folder)
    floor, ceiling = after.calibration["cup_catch"].clip  # found on the graded episodes
    assert floor in FLOORS and ceiling in CEILINGS
    assert after.policy == before.policy == replace(after.policy_of("cup_catch"), window=4)
    assert after.policy_of("cup_catch").window == 1
    assert after.calibration["cup_catch"].by_context == (0.0,)
    others = [t for t in before.tasks if t != "cup_catch"]
    assert all(after.calibration[t] == before.calibration[t] for t in others)
    model = VideoRewardModel.from_pretrained(folder, device="cpu")
    assert model.scale("cup_catch").high > model.scale("cup_catch").low
    calibrate_checkpoint(replace(options, window=4), {"expert": 1, "zero": 1}, seed=5)
    again = read_config(folder).calibration["cup_catch"]
    assert again.policy is None  # the bundle's again
    assert again.clip is None  # nothing graded to find bounds on


def test_a_task_without_a_scale_leaves_the_others_theirs_and_a_card_its_words(tmp_path):
    """Of the first task the "expert" does nothing."""
    folder, own = tmp_path / "bundle", tmp_path / "own"
    shutil.copytree(bundled_folder("dmc"), folder)
    (folder / "README.md").write_text("mine")
    kept = collect("cup_catch", "expert", 2, tmp_path / "data", first_seed=5, workers=0)
    idle = collect("cup_catch", "zero", 1, tmp_path / "data", first_seed=5, workers=0)
    for behaviour, files in (("expert", kept), ("zero", idle)):
        for i, file in enumerate(files):
            Episode(Episode.load(file).frames).save(own / "cup_catch" / behaviour / f"{i}.npz")
    shutil.copytree(own / "cup_catch" / "zero", own / "cartpole_swingup" / "expert")
    shutil.copytree(own / "cup_catch" / "zero", own / "cartpole_swingup" / "zero")
    tasks = ("cartpole_swingup", "cup_catch")  # that of which no scale can be made is the first
    options = Evaluate(
        str(folder), tasks=tasks, episodes=own, calibrate=True, write=True, out=tmp_path / "out"
    )
    before = read_config(folder)
    with pytest.raises(CheckpointError, match="'cartpole_swingup': the cheap behaviour"):
        options.run()
    after = read_config(folder)
    assert after.calibration["cartpole_swingup"] == before.calibration["cartpole_swingup"]
    assert after.calibration["cup_catch"] != before.calibration["cup_catch"]
    assert set(after.evaluation["tasks"]) >= set(tasks)
    assert (folder / "README.md").read_text() == "mine"
    assert "## Audit on given episodes" in model_card(after)
    shutil.copytree(own / "cup_catch" / "zero", own / "cheetah_run" / "expert")
    shutil.copytree(own / "cup_catch" / "zero", own / "cheetah_run" / "zero")
    shutil.rmtree(own / "cup_catch")
    none = replace(options, tasks=("cartpole_swingup", "cheetah_run"), window=2)
    assert set(calibrate_checkpoint(none, {}, seed=0)) == set(none.tasks)
    assert read_config(folder) == after  # nothing was made, nothing is lost


def test_an_audit_on_other_seeds_has_episodes_of_its_own_and_says_which(tmp_path, monkeypatch):
    counts = {"expert": 1, "zero": 1}
    monkeypatch.setattr("viper_gym.benchmark.suite_episodes.FULL_AUDIT", counts)
    folder, out = tmp_path / "bundle", tmp_path / "out"
    shutil.copytree(bundled_folder("dmc"), folder)
    options = Evaluate(str(folder), tasks=("cup_catch",), write=True, out=out, workers=0)
    commands = {}
    for seed in (400_000, AUDIT_SEED):  # the later ones first: they are not taken for the others
        replace(options, seed=seed).run()
        assert (out / f"episodes/cup_catch/expert/episode_0{seed}.npz").exists()
        commands[seed] = read_config(folder).evaluation["command"]
        assert commands[seed] in (folder / "README.md").read_text()
    start = f"viper-gym evaluate --checkpoint {folder} --suite dmc"
    before, after = commands[400_000].split(" && ")  # figures of other tasks stay
    assert after == f"{start} --seed 400000 --write --tasks cup_catch"
    assert before.startswith("viper-gym evaluate --checkpoint dmc --suite dmc --write --tasks ")
    assert f"{commands[AUDIT_SEED]} ".startswith(f"{start} --write ")


def test_seeds_that_others_use_are_no_audits(tmp_path):
    assert AUDIT_SEED == Evaluate.seed == AUDIT_SEEDS.start
    for seed in (-100_000, 0, 100_000, 200_000, 350_000, 10_000_000):
        with pytest.raises(ViperGymError, match=f"--seed: .* from 300000 to 9900000, got {seed}"):
            Evaluate(seed=seed, out=tmp_path).run()
    with pytest.raises(ViperGymError, match="--seed: the episodes of --episodes are recorded"):
        Evaluate(seed=400_000, episodes=tmp_path, out=tmp_path).run()


def test_returns_under_calibrated_bounds_are_ranked_where_there_is_a_calibration(episodes):
    model = brightness_model()  # its scale: -20 nats a frame is 0, -10 is 1
    ranked, _ = audit_task(model, "a", episodes, cheap=("zero", "random"))
    assert ranked.spearman_clipped > 0.9
    levels = {"a": Calibration(0.0, 1.0, idle=0.0)}  # all below the floor: nothing is ranked
    model.bundle.config = replace(model.config, calibration=levels)
    assert np.isnan(audit_task(model, "a", episodes, cheap=("zero",))[0].spearman_clipped)
    exact = ContextPolicy("exact", window=2)
    other = VideoRewardModel(model.bundle, device="cpu", dtype="fp32", policy=exact)
    audit, _ = audit_task(other, "a", episodes, cheap=("zero", "random"))  # is calibrated anew
    assert np.isnan(audit.spearman_clipped) and audit.spearman > 0.95


def test_bounds_are_those_that_rank_graded_rollouts():
    def episode(calm, shaky, done):  # frames that fail, that do the task by a shaking hand, calmly
        return np.repeat([-2.0, 0.6, 1.0], [calm, shaky, done])

    # a restless failure is worth no less than a calm one, a shaking hand no less than a calm one
    rewards = [
        np.full(10, -0.1),
        episode(10, 0, 0),
        episode(6, 4, 0),
        episode(7, 0, 3),
        episode(2, 8, 0),
    ]
    returns = np.array([0.0, 0.0, 4.0, 3.0, 8.0])
    assert ladder_bounds(rewards, returns) == (0.0, 0.5)
    assert ladder_bounds(rewards[1:], np.array([0, 1.2, 3.0, 2.4])) == (0.0, 1.5)  # as it is
    assert ladder_bounds(rewards, np.full(5, np.nan)) is None
    # an agent is paid sums: whoever goes on longer earns more, though a little less a step
    longer = [np.full(k, 1.2 - 0.01 * k) for k in (20, 30, 40, 50, 60)]
    floor, ceiling = ladder_bounds(longer, np.arange(5.0))
    paid = [r.clip(floor, ceiling).sum() for r in longer]
    assert paid == sorted(paid)
    assert ladder_bounds(rewards, np.zeros(5)) is None
    assert ladder_bounds([], np.array([])) is None


def test_calibration_finds_bounds_on_what_the_task_was_worth(episodes):
    model = brightness_model()
    audit, scored = audit_task(model, "a", episodes, cheap=("zero", "random"))
    config = with_bounds(calibrate(model.config, audit), "a", scored["graded"])
    floor, ceiling = config.calibration["a"].clip
    assert floor <= 0 < ceiling
    model.bundle.config = config
    clipped = audit_task(model, "a", episodes, cheap=("zero", "random"))[0].spearman_clipped
    assert clipped >= audit.spearman - 0.01
    solved = [replace(s, episode=replace(s.episode, meta={"success_steps": n}))
              for n, s in enumerate(reversed(scored["graded"]))]  # fmt: skip
    assert np.array_equal(worth(solved), np.arange(12.0))
    assert np.array_equal(
        worth(scored["graded"]), [s.episode.task_return for s in scored["graded"]]
    )
    assert with_bounds(config, "a", []).calibration["a"].clip is None


def test_offsets_compare_the_same_frames_with_more_and_less_context(episodes):
    experts = episodes["expert"]
    assert np.allclose(context_offsets(brightness_model(), "a", experts), 0.0, atol=1e-3)
    bundle = toy_bundle(random_video_model(), 2, tasks=("a", "b"))
    model = VideoRewardModel(bundle, "cpu", "fp32", ContextPolicy("refresh"))
    offsets = context_offsets(model, "a", experts)
    assert len(offsets) == 4 and max(offsets) - min(offsets) > 0.01
    assert sum(offsets[2:]) == pytest.approx(0.0, abs=1e-3)  # what a full window goes through
    alone = VideoRewardModel(bundle, "cpu", "fp32", ContextPolicy("exact", window=1))
    full = VideoRewardModel(bundle, "cpu", "fp32", ContextPolicy("exact"))
    means = [  # over frames with a full window before them and behind them
        np.concatenate([m.log_prob(e.frames[None], "a")[0, 6:-6] for e in experts]).mean()
        for m in (alone, full)
    ]
    assert offsets[0] - offsets[3] == pytest.approx(means[0] - means[1], abs=1e-3)
    joint = VideoRewardModel(bundle, "cpu", "fp32", ContextPolicy("exact", mode="joint"))
    sums = context_offsets(joint, "a", experts)  # a frame alone is one frame's worth of four
    values = [
        np.concatenate([m.log_prob(e.frames[None], "a")[0, 6:-6] for e in experts]).mean()
        for m in (alone, joint)
    ]
    assert len(sums) == 4 and sums[3] == 0.0 and sums[0] > 10 * abs(sums[2])
    assert sums[0] == pytest.approx(values[0] - values[1], abs=1e-3)
    assert context_offsets(model, "a", [video(np.full(8, 3.0))]) == ()  # too short


def test_episodes_of_unknown_return_are_left_out_of_what_returns_tell(episodes):
    """An mp4 beside npz files, say."""
    whole, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    for name in ("expert", "graded"):
        episodes[name].append(Episode(episodes[name][-1].frames))
    episodes["zero"][0] = video(np.full(80, 14.0), reward=1.0)  # it did the task
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.successful_cheap == {"zero": 1, "random": 0}
    assert audit.spearman == whole.spearman > 0.9
    ranked = ladder_bounds([np.full(5, r) for r in (-0.2, 0.5, 1.0)], np.array([0.0, np.nan, 4.0]))
    assert ranked is None  # two are not enough for a rank correlation


def test_still_videos_of_the_users_own_are_judged_beside_those_that_are_made(episodes):
    own = [video(np.full(80, 14.9))] * 3
    made = still_episodes(episodes)["settled"]
    audit, _ = audit_task(brightness_model(), "a", {**episodes, "settled": own, "frozen": own})
    assert audit.episodes["frozen"] == 3 and audit.episodes["settled"] == 3 + len(made) > 3
    assert audit.levels["frozen"] > audit.levels["zero"]


def test_frames_that_are_scored_together_have_no_refreshed_window(tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(bundled_folder("dmc"), folder)
    options = Evaluate(str(folder), calibrate=True, context="refresh", out=tmp_path)
    for asked in ({"mode": "joint"}, {"mode": "joint", "tasks": ("cup_catch",)}):
        with pytest.raises(CheckpointError, match=r"--context refresh: .* need the full window"):
            replace(options, **asked).run()
    assert read_config(folder) == read_config(bundled_folder("dmc"))


def test_tasks_that_nothing_is_recorded_of_are_left_out_or_refused_at_once(tmp_path, episodes):
    """The small bundle knows a and b; of a there are episodes."""
    folder, own, out = tmp_path / "bundle", tmp_path / "own", tmp_path / "out"
    save_bundle(small_bundle(), folder)
    before = {task: TaskAudit(task, spearman=0.25) for task in ("a", "b")}
    write_config(with_evaluation(read_config(folder), before, "audit B"), folder)
    for name in ("expert", "zero"):
        for i, episode in enumerate(episodes[name]):
            episode.save(own / "a" / name / f"{i}.npz")
    options = Evaluate(str(folder), episodes=own, write=True, out=out)
    with pytest.raises(VideoDataError, match="found none for b"):
        replace(options, tasks=("a", "b")).run()
    with pytest.raises(VideoDataError, match=f"in {own} and in {tmp_path / 'none'}, found none"):
        replace(options, agents=tmp_path / "none").run()
    assert not out.exists()
    options.run()
    after = read_config(folder).evaluation
    assert after["tasks"]["b"]["spearman"] == 0.25 and after["tasks"]["a"]["episodes"]["zero"]
    made = f"viper-gym evaluate --checkpoint {folder} --episodes {own} --write --tasks a"
    assert after["command"] == f"audit B --tasks b && {made}"


def test_folders_of_other_names_change_no_figure(tmp_path, episodes, caplog):
    config = brightness_model().config
    source = folder_source(tmp_path, config)
    for name in ("expert", "zero", "random"):
        for i, episode in enumerate(episodes[name]):
            episode.save(tmp_path / "a" / name / f"{i}.npz")
    before = source("a")
    for i in range(8):
        frames = np.full_like(episodes["zero"][0].frames, 255)
        Episode(frames, np.full(len(frames) - 1, -100.0)).save(
            tmp_path / "a/old policy" / f"{i}.npz"
        )
    assert source("a").keys() == before.keys() == {"expert", "zero", "random"}
    assert ["nothing is made of old policy" in m for m in caplog.messages] == [True]


def test_videos_of_another_size_than_those_of_training_are_warned_of(tmp_path, episodes, caplog):
    model = brightness_model()
    size = model.image_size
    large = np.repeat(np.repeat(episodes["expert"][0].frames, 2, 1), 2, 2)
    Episode(large).save(tmp_path / "own/a/expert/0.npz")
    Episode(large).save(tmp_path / "agents/a/0.npz")
    source = folder_source(tmp_path / "own", model.config)
    with_agents(source, tmp_path / "agents", model.config)("a")
    warned = (
        f"frames of ({2 * size}, {2 * size}), those that the model was trained on have ({size}, "
    )
    assert [warned in m for m in caplog.messages] == [True, True]
    caplog.clear()
    resized = {"a": {"resized_from": [2 * size, 2 * size]}}
    folder_source(tmp_path / "own", replace(model.config, preprocessing=resized))("a")
    assert not caplog.messages


def test_what_is_told_of_earlier_bundles_stays_while_others_are_audited(episodes, tmp_path):
    earlier = {"before": TaskAudit("before", spearman=0.5)}
    told = []

    def source(task):
        if task == "lost":
            raise VideoDataError("no video")
        if (tmp_path / "audit.json").exists():
            told.append(json.loads((tmp_path / "audit.json").read_text())["tasks"].keys())
        return episodes

    model = VideoRewardModel(small_bundle(), device="cpu")
    failed: dict = {}
    found = run_audit(
        model, ["lost", "a", "b"], source, tmp_path, earlier=earlier, failed=failed
    )  # a task that cannot be audited costs the others nothing
    assert told == [{"before", "a"}]
    assert list(found) == ["a", "b"] and list(failed) == ["lost"]
    with pytest.raises(VideoDataError, match="no video"):
        run_audit(model, ["lost", "a"], source, None)


def test_stopping_where_a_cheap_behaviour_ended_is_cheap_too(episodes):
    episodes["zero"][0] = video(np.full(80, 14.0), reward=1.0)  # it did the task
    episodes["zero"][1] = video(np.r_[np.full(79, 3.0), 9.0])
    still = still_episodes(episodes)["settled"]
    ends = {int(e.frames[-1, 0, 0, 0]) for e in still}
    assert all((e.frames == e.frames[0]).all() for e in still)
    assert 16 * 9 + 8 in ends and 16 * 14 + 8 not in ends
    assert len(still) == 4 * (5 + 6)  # four moments of "zero" but one, and of "random"


def test_a_first_frame_in_which_the_task_is_done_is_not_cheap_when_it_is_frozen(episodes):
    for expert in episodes["expert"]:
        expert.rewards[:5] = 0.0
    episodes["expert"][0].rewards[:5] = 1.0
    assert len(still_episodes(episodes)["frozen"]) == 5
    for expert in episodes["expert"]:
        expert.rewards[:5] = 1.0
    assert "frozen" not in still_episodes(episodes)
    for expert in episodes["expert"]:
        expert.rewards = None  # unknown: every picture may be cheap
    assert len(still_episodes(episodes)["frozen"]) == 6


def test_the_empty_picture_is_never_the_pose_experts_end_in(episodes):
    median = still_episodes(episodes)["empty"][0].frames[0]
    expert = np.median(np.concatenate([e.frames for e in episodes["expert"]]), 0)
    assert np.abs(median - expert).min() > 20
    episodes["empty"] = [video(np.full(80, 0.0))]
    assert "empty" not in still_episodes(episodes)  # what was recorded counts
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "empty"))
    assert audit.levels["empty"] < audit.levels["zero"]


def test_a_cheap_behaviour_that_wins_is_called_unsafe(episodes):
    episodes["zero"] = [video(np.full(80, 15.0)) for _ in range(4)]
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.beats["zero"] == 0.0
    assert audit.verdict[0].startswith("UNSAFE") and "zero" in audit.verdict[0]
    with pytest.raises(CheckpointError, match="cheap behaviour 'zero'"):
        calibrate(brightness_model().config, audit)
    assert summary(audit)["beats_cheap"] == 0.0


def test_the_verdict_names_the_behaviour_whose_share_it_states():
    audit = TaskAudit("a", beats={"zero": 0.9, "random": 1.0, "stop": 0.2}, beats_cheap=0.9)
    assert "90% of the pairs against a cheap behaviour (zero)" in verdict(audit)[0]


def test_an_expert_that_stops_is_told_of_where_it_is_paid_and_where_nobody_knows(episodes):
    """It did the task for a while, so it is not cheap, and makes nothing unsafe."""

    def lines(levels, reward=0.0):
        episodes["stop"] = [video(np.full(80, level), reward) for level in levels]
        audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
        assert audit.beats_cheap == 1.0 and summary(audit)["beats"].keys() > {"stop"}
        return audit, [line for line in audit.verdict if "stops half-way" in line]

    wins, told = lines([3.0, 4.0])
    assert wins.beats["stop"] == 1.0 and told == []
    half, told = lines([3.0, 15.0])
    assert half.beats["stop"] == 0.5
    assert told == [
        "WEAK: an expert that stops half-way is paid as much as one that goes on, or more, in 50% "
        "of the pairs"
    ]
    done, told = lines([3.0, 15.0], reward=1.0)
    assert np.isnan(done.beats["stop"]) and told == []
    assert done.verdict[-1].startswith("NOT MEASURED: no expert that stopped half-way failed")
    good = TaskAudit(
        "a", beats={"stop": np.nan}, episodes={"stop": 2}, beats_cheap=1.0, gap=9.0, spearman=1.0,
        beats_frozen=1.0, beats_shuffled=1.0,
    )  # fmt: skip
    assert [line.split(":")[0] for line in verdict(good)] == ["OK", "NOT MEASURED"]
    assert len(verdict(replace(good, episodes={}))) == 1  # nobody asked
    console = Console(width=80, file=io.StringIO())
    console.print(table({"half": half, "done": done}))
    assert re.search(r"stopped +│ +0\.50 +│ +– ", console.file.getvalue())


@pytest.mark.parametrize("tasks", [1, 4, 5])
def test_the_table_of_a_few_tasks_fits_a_terminal(tasks):
    audits = {f"a_long_name_{i}": TaskAudit("a", spearman=0.25 + i) for i in range(tasks)}
    console = Console(width=80 if tasks < 5 else 160, file=io.StringIO())
    console.print(table(audits))
    text = console.file.getvalue()
    assert all(x in text for x in ("AUROC random", "best cheap", *audits)) and "…" not in text
    assert all(f"{0.25 + i:.2f}" in text for i in range(tasks)) and "nan" not in text


def test_an_episode_without_a_step_is_named(episodes):
    episodes["zero"] = [Episode(episodes["zero"][0].frames[:1])]
    with pytest.raises(VideoDataError, match="a: an episode of 'zero' has one frame"):
        audit_task(brightness_model(), "a", episodes)


def test_no_scale_is_made_of_a_gap_within_the_experts_own_uncertainty(episodes):
    """Experts of two kinds, four nats a frame apart: a level known to 0.9, and zero 0.2 below."""
    episodes["expert"] = [video(np.full(80, level), 1.0) for level in [8.0] * 3 + [12.0] * 3]
    episodes["zero"] = [video(np.resize([9.0, 10.0, 10.0, 10.0, 10.0], 80))]
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero",))
    assert audit.late_error == pytest.approx(np.std([0, 0, 0, 4, 4, 4], ddof=1) / np.sqrt(6))
    assert audit.best_late["zero"] < audit.late_levels["expert"]
    with pytest.raises(CheckpointError, match=r"0\.2 nats a frame above .* 'zero', .* 0\.89 only"):
        calibrate(brightness_model().config, audit)


def test_what_an_agent_found_pays_nothing_from_then_on(episodes):
    """An agent's pictures are likelier than every scripted behaviour; where it did the task they
    do not count."""
    before, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random", "agent"))
    found = [video(np.full(80, level)) for level in (9.0, 10.0)]
    episodes["agent"] = [*found, video(np.full(80, 14.0), reward=1.0)]
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random", "agent"))
    assert audit.successful_cheap["agent"] == 1 and audit.best_cheap == "agent"
    model = brightness_model()
    paid = (audit.best_late["agent"] - model.scale("a").low) / 10  # its scale: -20 to -10
    assert audit.agent_paid == pytest.approx(paid)
    assert paid > 0.5 and f"paid {paid:.0%} of" in "".join(audit.verdict)
    assert "paid" not in "".join(before.verdict)
    config = model.config
    level = calibrate(config, audit).calibration["a"]
    assert level.low == audit.best_late["agent"] > calibrate(config, before).calibration["a"].low
    assert level.source.startswith("0 = agent")


def test_pictures_at_rest_decide_nothing_where_nobody_can_bring_them_to_rest(episodes):
    late = [np.where(np.arange(80) < 20, 14.0, 3.0) for _ in range(4)]
    episodes["random"] = [video(values) for values in late]  # bright at first, where it may rest
    audit, _ = audit_task(brightness_model(), "a", episodes)
    config = brightness_model().config
    assert audit.best_late["settled"] > audit.late_levels["expert"]
    with pytest.raises(CheckpointError, match="cheap behaviour 'settled'"):
        calibrate(config, audit)
    assert audit.beats_cheap < 0.95 and "settled" in audit.verdict[0]
    beyond = unreachable("atari")
    assert beyond == ("empty", "frozen", "settled") and unreachable("dmc") == ()
    game, _ = audit_task(brightness_model(), "a", episodes, unreachable=beyond)
    levels = calibrate(config, game).calibration["a"]
    assert levels.low == game.best_late["zero"] and levels.source.startswith("0 = zero")
    # still measured, and judged by nobody
    assert game.beats["settled"] == audit.beats["settled"] < 0.95
    assert game.best_cheap in ("zero", "random") and "settled" not in "".join(game.verdict)
    assert set(game.worst_by_age.values()) <= {"zero", "random"}
    game.beats_frozen = 0.4
    assert "frozen" not in "".join(verdict(game))
    assert "a frozen picture wins 60%" in "".join(verdict(replace(game, unreachable=())))


def test_cheap_episodes_that_do_the_task_are_counted_and_left_out(episodes):
    episodes["zero"][0] = video(np.full(80, 15.0), reward=1.0)
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.successful_cheap["zero"] == 1
    assert audit.beats_cheap == 1.0


def told(episode: Episode, solved: int) -> Episode:
    """The episode of an environment that says at how many steps it was solved."""
    episode.meta.update(success=solved > 0, success_steps=solved)
    return episode


def test_where_the_environment_tells_success_the_sum_of_rewards_does_not(episodes):
    for episode in episodes["expert"]:  # short, so that its return is small
        told(episode, 20)
    episodes["zero"] = [told(video(np.full(80, 6.0), reward=3.0), 0) for _ in range(4)]
    episodes["random"][0] = told(video(np.full(80, 15.0), reward=0.0), 1)
    for k, episode in enumerate(episodes["graded"]):
        told(episode, k)
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.successful_cheap == {"zero": 0, "random": 1} and audit.failed_experts == 0
    assert audit.beats_cheap == 1.0 and audit.spearman_success > 0.9
    told(episodes["expert"][0], 0)
    audit, _ = audit_task(brightness_model(), "a", episodes, cheap=("zero", "random"))
    assert audit.failed_experts == 1


def test_without_a_success_to_tell_there_is_no_rank_correlation_with_it(episodes):
    audit, _ = audit_task(brightness_model(), "a", episodes)
    assert np.isnan(audit.spearman_success)


def test_figures_of_other_tasks_stay_with_the_commands_that_made_them():
    audits = {task: TaskAudit(task, spearman=rank) for task, rank in (("a", 0.5), ("b", 0.6))}

    def stored(config, tasks, command="audit B", chosen=True):
        return with_evaluation(
            config, {t: audits[t] for t in tasks}, command, tasks if chosen else ()
        )

    config = read_config(bundled_folder("dmc"))
    one = stored(replace(config, evaluation={}), "a")
    assert one.evaluation["command"] == "audit B --tasks a"
    both = stored(one, "b")
    assert both.evaluation["command"] == "audit B --tasks a b"
    assert [f["spearman"] for f in both.evaluation["tasks"].values()] == [0.5, 0.6]
    served = stored(both, "ab", chosen=False)
    assert served.evaluation["command"] == "audit B"
    audits["b"].spearman = 0.7
    again = stored(served, "b")  # what the whole command covers still does
    assert again.evaluation["command"] == "audit B"
    assert [f["spearman"] for f in again.evaluation["tasks"].values()] == [0.5, 0.7]
    assert list(stored(again, "a", chosen=False).evaluation["tasks"]) == ["a"]  # what is served now
    for config in (both, again):  # of another command, too
        elsewhere = stored(config, "b", command="audit C")
        assert elsewhere.evaluation["command"] == "audit B --tasks a && audit C --tasks b"
        assert list(elsewhere.evaluation["tasks"]) == ["a", "b"]
    assert stored(elsewhere, "a", command="audit C").evaluation["command"] == "audit C --tasks a b"
    free = stored(replace(config, evaluation={**both.evaluation, "command": "it's mine"}), "b")
    assert free.evaluation["command"] == "it's mine --tasks a && audit B --tasks b"
    spaced = with_evaluation(replace(config, evaluation={}), {"tür auf": audits["a"]}, "B", ("x",))
    assert spaced.evaluation["command"] == "B --tasks 'tür auf'"
    more = with_evaluation(spaced, {"tür zu": audits["b"]}, "B", ("x",))
    assert more.evaluation["command"] == "B --tasks 'tür auf' 'tür zu'"
    named = "audit --checkpoint {} --write"  # however the one checkpoint is called
    once = stored(replace(config, evaluation={}), "a", command=named.format("runs/b"))
    twice = stored(once, "b", command=named.format("'/my runs/b'"))
    assert twice.evaluation["command"] == "audit --checkpoint '/my runs/b' --write --tasks a b"

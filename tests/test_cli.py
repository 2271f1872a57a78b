"""The commands as a user types them."""

import json
import re
import resource
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from PIL import Image

from conftest import CodedEnv, random_video_model, small_bundle, toy_bundle
from viper_gym.checkpoints.bundle import save_bundle
from viper_gym.checkpoints.index import read_index
from viper_gym.data.episodes import Episode
from viper_gym.envs.collect import collect
from viper_gym.errors import PreprocessingMismatch, TrainingError

COMMANDS = (
    "demo", "tasks", "collect", "play", "evaluate", "score", "sample", "convert", "push", "rebuild",
    "bench", "doctor",
)  # fmt: skip


def viper(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "viper_gym", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command):
    assert "usage: viper-gym" in viper(command, "--help").stdout


def test_a_reader_who_has_seen_enough_gets_no_traceback():
    process = subprocess.Popen(
        [sys.executable, "-m", "viper_gym", "tasks"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # `viper-gym tasks | head` closes it that early
    assert process.stderr.read() == "" and process.wait() == 141


def test_the_version_is_told():
    from viper_gym import __version__

    assert viper("--version").stdout == f"viper-gym {__version__}\n"


def test_train_help_comes_from_the_dataclasses():
    assert "--frame-stride" in viper("train", "video-model", "--help").stdout
    assert "paper-atari" in viper("train", "tokenizer", "--help").stdout


def test_what_stopping_pays_is_counted_and_drawn(tmp_path):
    pytest.importorskip("metaworld", reason='needs the extra "metaworld"')
    command = ("bench", "still", "--suite", "metaworld", "--tasks", "door_close", "--experts", "2")
    found = viper(*command, "--checkpoint", "metaworld", "--out", tmp_path)
    assert found.returncode == 0, found.stderr
    assert "never having moved" in found.stdout and (tmp_path / "still.png").stat().st_size > 10_000
    (row,) = json.loads(
        viper(*command, "--checkpoint", "metaworld", "--out", tmp_path, "--json").stdout
    )
    assert row["task"] == "door_close" and row["clips"] > 0 and row["stride"] == 4
    assert row["wins_from_start"] == 1.0  # a door that stays open is what nobody is paid for


def test_tasks_as_json():
    rows = json.loads(viper("tasks", "--json").stdout)
    assert {"id", "checkpoint", "oracle_return", "paper_expert_return"} < set(rows[0])
    assert rows[0]["id"].startswith("viper/dmc-") and len(rows) >= 24
    cup = next(r for r in rows if r["id"] == "viper/dmc-cup_catch-v0")
    assert cup["verdict"] == "WEAK" and cup["alias"] == "dmc"
    shown = viper("tasks").stdout
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    assert "viper/robosuite-TASK-v0 (no checkpoint yet)" in shown
    assert re.search(r"cartpole_swingup +dmc-5 +855 +862 ", shown)
    assert cup["auroc"] == 1.0 and 0.5 < cup["spearman"] < 1.0 and cup["beats_cheap"] > 0.9
    assert json.loads(viper("tasks", "--tasks", "cup_catch", "--json").stdout) == [cup]
    assert "unknown: fly" in viper("tasks", "--tasks", "fly").stderr
    measured = viper("tasks", "--tasks", "pendulum_swingup", "--measure", "1").stdout
    assert measured.startswith("dmc pendulum_swingup") and "(1 episodes)" in measured
    as_json = viper("tasks", "--tasks", "pendulum_swingup", "--measure", "1", "--json").stdout
    (row,) = json.loads(as_json)
    assert row["episodes"] == 1 and row["mean"] == row["lowest"] and row["success"] is None
    games = json.loads(viper("tasks", "--suite", "atari", "--json").stdout)
    assert {"viper/atari-pong-v0", "viper/atari-zaxxon-v0"} < {row["id"] for row in games}
    assert "known: dmc, metaworld" in viper("tasks", "--suite", "chess").stderr


def test_the_worst_figure_of_a_checkpoint_is_listed_too(tmp_path, monkeypatch):
    from viper_gym.checkpoints import resolve
    from viper_gym.cli.tasks import _separation

    bundle = small_bundle()
    figures = {"auroc_random": 1.0, "spearman": None, "beats_cheap": 0.0}
    save_bundle(
        replace(bundle, config=replace(bundle.config, evaluation={"tasks": {"a": figures}})),
        tmp_path,
    )
    monkeypatch.setattr(resolve, "bundled_folder", lambda alias: tmp_path)
    entry = read_index()["dmc"]
    assert _separation(entry, "a") == {"auroc": 1.0, "beats_cheap": 0.0}
    assert _separation(replace(entry, repo_id="you/there"), "a") == {}  # another model's


@pytest.fixture(scope="module")
def episode(tmp_path_factory):
    folder = tmp_path_factory.mktemp("episodes")
    return collect("cartpole_swingup", "expert", 1, folder, first_seed=5, workers=0)[0]


def test_score_and_sample_a_video(episode, tmp_path):
    curve = tmp_path / "new" / "s.png"
    done = viper("score", episode, "--task", "cartpole_swingup", "--out", curve, "--json")
    figures = json.loads(done.stdout)
    assert len(figures["rewards"]) == 500
    assert np.isclose(np.mean(figures["rewards"]), figures["mean_reward"], atol=1e-3)
    assert Image.open(curve).size[0] > 500
    out = tmp_path / "s.gif"
    assert (
        viper(
            "sample", episode, "--task", "cartpole_swingup", "--out", out, "--frames", 4
        ).returncode
        == 0
    )
    assert Image.open(out).n_frames > 4


def test_bad_input_is_one_named_error(tmp_path):
    Episode(np.zeros((1, 64, 64, 3), np.uint8)).save(tmp_path / "one.npz")
    Episode(np.zeros((9, 64, 64), np.uint8)).save(tmp_path / "grey.npz")
    Episode(np.zeros((4, 64, 64, 3), np.uint8)).save(tmp_path / "short.npz")
    save_bundle(toy_bundle(random_video_model(classes=1), tasks=("walk",)), own := tmp_path / "own")
    for name in ("s.gif", "s_rollout.gif"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    (tmp_path / "pictures").mkdir()
    cases = {
        ("score", tmp_path / "one.npz"): "VideoDataError",
        ("score", tmp_path / "grey.npz", "--task", "cup_catch"): "FrameMismatch",
        ("score", tmp_path / "none.mp4"): "VideoDataError",
        ("score", tmp_path / "short.npz", "--out", "."): "expected a file (.png",
        ("score", tmp_path / "short.npz", "--checkpoint", "dmc-2"): "choose one of",
        ("score", tmp_path / "short.npz", "--device", "gpu"): "DeviceUnavailable",
        ("sample", tmp_path / "short.npz", "--out", "s.mp4"): "expected a file (.gif",
        ("sample", tmp_path / "short.npz", "--frames", "0"): "--frames: expected 1 or more",
        ("sample", tmp_path / "short.npz", "--task", "cup_catch"): "VideoDataError",
        ("evaluate", "--checkpoint", "nonsense"): "CheckpointError",
        ("evaluate", "--tasks", "fly"): "UnknownTask",
        ("evaluate", "--mode", "joint"): "CheckpointError",
        ("tasks", "--measure", "-1"): "expected a number of episodes, got -1",
        ("demo", "--tasks"): "expected one task or more",
        ("evaluate", "--suite", "atari", "--calibrate", "--window", "99"): "must be in 1 … 4",
        ("evaluate", "--episodes", tmp_path): "expected a folder for each of",
        ("demo", "--tasks", "cup_catch", "--out", tmp_path / "one.npz"): "one.npz: ",
        ("demo", "--tasks", "cup_catch", "--workers", "-1"): "workers: expected more than 0",
        ("sample", tmp_path / "s.gif", "--out", "s.gif"): "s.gif is the video itself",
        ("score", "pictures", "--out", "pictures/a.png"): "would be a picture of the video",
        ("score", tmp_path / "s_rollout.gif", "--out", "s.png"): "s_rollout.gif is the video",
        ("bench", "wrappers", "--batch", "1"): "expected a number above 1 to compare, got 1",
        ("bench", "mask", "--tasks", "pong", "boxing"): "mask takes one, got pong, boxing",
        ("train", "tokenizer", "--data", tmp_path / "nothing"): "VideoDataError",
        ("train", "tokenizer", "--steps", "0"): "steps: expected more than 0, got 0",
        ("train", "tokenizer", "--batch-size", "0"): "batch_size: expected more than 0, got 0",
        ("train", "video-model", "--max-minutes", "0"): "max_minutes: expected more than 0",
        ("train", "agent", "--env-kwargs", "hold", "0"): "whole number of steps from 1 on, got 0",
        ("collect", "--episodes", "0"): "episodes: expected more than 0, got 0",
        ("collect", "--workers", "-1"): "workers: expected processes",
        ("collect", "--tasks", "cup_catch", "swingup"): "unknown dmc task 'swingup'",
        ("evaluate", "--checkpoint", own): "has tasks of no suite (walk): give --suite",
        ("evaluate", "--calibrate"): "expected one checkpoint, the tasks are of dmc, dmc-2",
    }
    for arguments, name in cases.items():
        done = viper(*arguments, cwd=tmp_path)
        assert done.returncode == 2, (arguments, done.stderr)
        assert name in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (tmp_path / "data").exists()  # nothing is played before all tasks are known


def test_evaluate_a_folder_of_ones_own(episode, tmp_path):
    from shutil import copy

    for task in ("cartpole_swingup", "cup_catch"):  # two bundles; the folder says which tasks
        for i, behaviour in enumerate(("expert", "expert", "random", "standing")):
            target = tmp_path / "own" / task / behaviour
            target.mkdir(parents=True, exist_ok=True)
            copy(episode, target / f"{i}.npz")
    done = viper("evaluate", "--episodes", tmp_path / "own", "--out", tmp_path / "out", "--json")
    assert "nothing is made of standing; the names that are judged are agent, " in done.stderr
    audits = json.loads(done.stdout)
    assert set(audits["tasks"]) == {"cartpole_swingup", "cup_catch"}
    assert json.loads((tmp_path / "out" / "audit.json").read_text()) == audits
    figures = audits["tasks"]["cartpole_swingup"]
    assert figures["auroc_random"] == 0.5  # the "random" episode is the expert's own
    assert "agent" not in figures["beats"]
    assert (tmp_path / "out" / "cartpole_swingup_rewards.png").exists()
    assert (tmp_path / "out" / "cartpole_swingup_rollout.gif").exists()


def test_evaluate_what_an_agent_did(episode, tmp_path):
    frames = Episode.load(episode).frames
    own = tmp_path / "own" / "cartpole_swingup" / "expert"
    Episode(frames).save(own / "0.npz")
    Episode(frames[:1].repeat(len(frames), 0)).save(tmp_path / "agents/cartpole_swingup/0.npz")
    arguments = (
        "evaluate", "--episodes", tmp_path / "own", "--tasks", "cartpole_swingup", "--json",
        "--out", tmp_path / "out", "--agents",
    )  # fmt: skip
    figures = json.loads(viper(*arguments, tmp_path / "agents").stdout)["tasks"]["cartpole_swingup"]
    assert figures["beats"]["agent"] == 1.0 and figures["episodes"]["agent"] == 1
    Episode(frames[:, :32, :32]).save(tmp_path / "small/cartpole_swingup/0.npz")
    small = tmp_path / "small/cartpole_swingup/0.npz"
    half = viper("score", small, "--task", "cartpole_swingup", cwd=tmp_path)
    warned = "(32, 32), those that the model was trained on have (64, 64)"
    assert warned in " ".join(half.stderr.split())
    Episode(frames[..., 0]).save(tmp_path / "grey/cartpole_swingup/0.npz")
    assert "expected uint8 pictures" in viper(*arguments, tmp_path / "grey").stderr
    done = viper(*arguments, tmp_path / "own" / "nowhere")
    assert done.returncode == 2 and "found none for cartpole_swingup" in done.stderr


def test_doctor_reports_and_exits_by_what_it_found(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = viper("doctor", "--json", "--checks", "versions", "hub", "compute")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report["ok"], report
    assert {f["check"] for f in report["findings"]} >= {"versions", "hub", "hub cache", "compute"}
    assert report["versions"]["torch"]


def test_doctor_goes_on_behind_a_broken_gl_and_fails(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    done = viper("doctor", "--checks", "rendering", "reward", "versions")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stdout.count("problem") == 2  # drawing, and the reward of what is drawn
    assert "numpy" in done.stdout


def paid_live(env, actions):
    """Frames (T+1, H, W, 3) and rewards (T,) of an episode's first steps."""
    frames, rewards = [env.reset(seed=1)[0]], []
    for action in actions:
        frame, reward, *_ = env.step(action)
        frames.append(frame)
        rewards.append(reward)
    env.close()
    return np.stack(frames), np.array(rewards)


@pytest.mark.parametrize("options", [{}, {"reward_clip": (-0.5, 1.5)}, {"reward_scale": "raw"}])
def test_relabelled_rewards_equal_live_ones(options):
    from viper_gym.cli.train_agent import _relabeller

    env_id = "viper/dmc-cup_catch-v0"
    given = {**options, "device": "cpu", "observation": "pixels"}
    relabel, bare, negative = _relabeller(env_id, given)
    assert negative and not _relabeller(env_id, {**given, "reward_clip": (0.0, 1.0)})[2]
    assert bare == {"checkpoint": None, "observation": "pixels"}
    apart = _relabeller(env_id, {**given, "asynchronous": True})[1]
    assert apart == {**bare, "asynchronous": True}  # for the vector environment
    actions = [np.full(2, np.sin(t / 5), np.float32) for t in range(40)]
    frames, rewards = paid_live(gym.make(env_id, device="cpu", **options), actions)
    assert relabel(frames) == pytest.approx(rewards, abs=1e-3, rel=1e-3)
    for wrong, message in (("CartPole-v1", "viper/ ids only"), (env_id, "hold belong")):
        with pytest.raises(TrainingError, match=message):
            _relabeller(wrong, {"hold": 4})
    for wrong in ({"checkpoint": None}, {"reward_clip": "foo"}, {"reward_scale": "foo"}):
        with pytest.raises(TrainingError, match=f"{next(iter(wrong))}|foo"):
            _relabeller(env_id, wrong)
    for other in ({"action_repeat": 8}, {"render_quality": "full"}):
        with pytest.raises(PreprocessingMismatch, match=next(iter(other))):
            _relabeller(env_id, other)


def test_another_tasks_reward_is_relabelled_as_it_is_paid_live():
    from viper_gym.cli.train_agent import _relabeller

    env_id, other = "viper/dmc-cartpole_balance-v0", {"reward_task": "cartpole_swingup"}
    relabel, bare, _ = _relabeller(env_id, {**other, "device": "cpu"})
    assert bare == {"checkpoint": None}
    live = gym.make(env_id, device="cpu", **other)
    frames, rewards = paid_live(live, [np.ones(1, np.float32)] * 6)
    assert relabel(frames) == pytest.approx(rewards, abs=1e-3, rel=1e-3)


def test_frames_of_the_size_that_videos_had_are_resized_for_relabelled_rewards(tmp_path):
    from viper_gym.cli.train_agent import _relabeller

    bundle = small_bundle()
    level = bundle.config.calibration["a"]
    said = {"cup_catch": {"image_size": 40, "resized_from": [40, 40]}}
    config = replace(bundle.config, tasks=("cup_catch", "b"), preprocessing=said)
    bundle.config = replace(config, calibration={"cup_catch": level})
    save_bundle(bundle, tmp_path)
    view = {"image_size": 40}
    env_id, given = "viper/dmc-cup_catch-v0", {"checkpoint": str(tmp_path), "view": view}
    live = gym.make(env_id, device="cpu", **given)
    frames, rewards = paid_live(live, [np.ones(2, np.float32)] * 6)
    relabel, _, _ = _relabeller(env_id, {**given, "device": "cpu"})
    assert frames.shape == (7, 40, 40, 3) and np.ptp(rewards) > 0
    assert relabel(frames) == pytest.approx(rewards, abs=1e-3)


def test_relabelled_runs_explore_by_rnd(tmp_path):
    out, env_id = tmp_path / "run", "viper/dmc-cup_catch-v0"
    options = ["--num-envs", "2", "--learning-starts", "80", "--log-every", "110"]
    options += ["--gradient-steps", "0.01", "--buffer-size", "4000", "--eval-episodes", "1"]
    command = ["train", "agent", "--env", env_id, "--relabel", "--out", str(out)]
    steps = ["--total-timesteps", "110"]  # episodes of 50 steps, and one that only resets
    given = ["bonus", "rnd", "beta", "0.5", "max_episode_steps", "50"]
    done = viper(*command, *steps, *options, "--env-kwargs", *given)
    assert done.returncode == 0, done.stderr[-2000:]
    told = {k: v for x in open(out / "metrics.jsonl") for k, v in json.loads(x).items()}
    assert 0 < told["train/bonus_return"] <= 0.5 * 5 * 50
    assert told["train/viper/task_return"] >= 0 and np.isfinite(told["train/return"])
    state = torch.load(out / "state.pt", weights_only=True)
    assert state["bonus"]["memory"]["added"] == 108
    longer = ["--total-timesteps", "130", "--resume"]
    assert viper(*command, *longer, *options, "--env-kwargs", *given).returncode == 0
    state = torch.load(out / "state.pt", weights_only=True)
    assert state["bonus"]["memory"]["added"] == 128  # what is new is known as before
    refused = viper(*command, "--env-kwargs", "bonus", "disagreement")
    assert refused.returncode == 2 and "use rnd, dreamer's own" in refused.stderr


def test_ends_under_relabelled_rewards_are_told_of_once():
    from viper_gym.cli.train_agent import TellsOfEnds

    for terminates, times in ((True, 1), (False, 0)):
        envs = TellsOfEnds(SyncVectorEnv([lambda: CodedEnv(length=2, terminate=terminates)]))  # noqa: B023
        envs.reset()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(8):
                envs.step(np.zeros(1, np.int64))
        assert sum("ends episodes early" in str(w.message) for w in told) == times


def test_an_agent_that_does_not_fit_is_a_named_error():
    from viper_gym.agents.actions import ActionCodec
    from viper_gym.agents.drq.agent import DrQConfig
    from viper_gym.cli.train_agent import AgentTraining, make_agent

    continuous = ActionCodec(gym.spaces.Box(-1, 1, (1,), np.float32))
    short = AgentTraining(drq=DrQConfig(cnn_strides=(2, 2)))
    for config, size, actions, message in (
        (short, 64, continuous, "no drq can be made .* 4 layers need as many strides"),
        (AgentTraining(), 64, ActionCodec(gym.spaces.Discrete(3)), "3 discrete ones: use --agent"),
        (AgentTraining(agent="dreamer"), 30, continuous, "no dreamer can be made .* 30x30"),
    ):
        with pytest.raises(TrainingError, match=message):
            make_agent(config, (size, size, 3), actions, "cpu", "fp32")


def test_an_agent_is_trained_killed_and_resumed_on_a_video_reward(tmp_path):
    out = tmp_path / "agent"
    command = [
        "train", "agent", "--env", "viper/dmc-cup_catch-v0", "--env-kwargs", "beta", "0.5",
        "bonus", "rnd", "device", "cpu", "--out", out, "--num-envs", "1", "--buffer-size", "2000",
        "--learning-starts", "480", "--gradient-steps", "0.2", "--eval-every", "100000",
        "--eval-episodes", "1", "--log-every", "100", "--drq.cnn-features", "8", "8",
        "--drq.cnn-strides", "2", "2", "--drq.batch-size", "16",
    ]  # fmt: skip
    metrics, checkpoint = out / "metrics.jsonl", out / "state.pt"
    endless = [*command, "--total-timesteps", "1000000", "--checkpoint-minutes", "0.02"]
    arguments = [sys.executable, "-m", "viper_gym", *map(str, endless)]
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(arguments, stdout=log, stderr=log)
    deadline = time.monotonic() + 300
    try:  # until a checkpoint has come after step 600, in whose line the first episode's end is
        while not (metrics.exists() and '"step": 600' in metrics.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, log.read()
            time.sleep(0.05)
        counted = time.time()
        while not (checkpoint.exists() and checkpoint.stat().st_mtime > counted):
            assert process.poll() is None and time.monotonic() < deadline, log.read()
            time.sleep(0.05)
    finally:
        process.kill()  # SIGKILL: nothing gets the chance to tidy up
        process.wait()
    assert "replay: 0.0 GB" in Path(log.name).read_text()
    kept = torch.load(checkpoint, weights_only=True)["step"]
    before = metrics.read_text()
    assert kept >= 600 and "Infinity" not in before
    metrics.write_text(before + '{"step": 99')  # a line that a kill tore
    last = str(kept + 150)
    resumed = viper(*command, "--total-timesteps", last, "--checkpoint-minutes", "5", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    lines = [json.loads(x) for x in metrics.read_text().splitlines()]
    steps = [x["step"] for x in lines]
    # every hundred steps once: none lost before the checkpoint, none twice behind it
    played = [x["step"] for x in lines if "train/seconds/env" in x]
    assert played == sorted({*range(100, kept + 151, 100), kept + 150})  # the last figures, too
    assert steps == sorted(steps) and steps[-1] == kept + 150
    assert before.splitlines()[:5] == metrics.read_text().splitlines()[:5]
    ended = [x for x in lines if "train/return" in x]
    assert len(ended) == kept // 500  # episodes have 500 steps; the second run began a new one
    assert ended[0]["train/viper/task_return"] >= 0
    total = ended[0]["train/return"]
    assert total != pytest.approx(ended[0]["train/viper/return"])  # the bonus is in it
    assert next(out.glob("eval_*.gif")).stat().st_size > 1000
    assert Image.open(out / "curves.png").size[0] > 500
    saved = checkpoint.read_bytes()
    more = [*command, "--total-timesteps", str(kept + 160), "--resume", "--checkpoint-minutes", "0"]
    full = subprocess.run(  # files of more than 50 kB cannot be written: a checkpoint has more
        [sys.executable, "-m", "viper_gym", *map(str, more)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert full.returncode != 0 and "Traceback" not in full.stderr, full.stderr
    assert "The last checkpoint is intact" in " ".join(full.stderr.replace("│", " ").split())
    assert checkpoint.read_bytes() == saved
    assert "uint8 pictures" in viper("train", "agent", "--env", "CartPole-v1", "--out", out).stderr
    assert "cannot make" in viper("train", "agent", "--env", "No-v0", "--out", out).stderr

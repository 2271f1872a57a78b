"""Every example runs, with the bundled checkpoint, for a few hundred steps."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import yaml

from viper_gym.checkpoints.index import read_index
from viper_gym.data.episodes import Episode

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scalars(folder: Path) -> dict[str, list[float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[float]] = {}
    for file in folder.rglob("events.*"):
        reader = EventAccumulator(str(file))
        reader.Reload()
        for tag in reader.Tags()["scalars"]:
            found.setdefault(tag, []).extend(e.value for e in reader.Scalars(tag))
    return found


def test_three_lines(capsys):
    load("three_lines").main(steps=200)
    rows = re.findall(r"video reward\s+(\S+)\s+task reward (\S+)", capsys.readouterr().out)
    assert len(rows) == 200 and len({video for video, _ in rows}) > 1


def test_cleanrl_sac(tmp_path):
    sac = load("cleanrl_sac_state")
    sac.main(sac.Args(total_timesteps=1040, learning_starts=900, num_envs=2, out=tmp_path))
    logged = scalars(tmp_path)
    assert len(logged["charts/task_return"]) == len(logged["charts/viper_return"]) == 2
    assert (tmp_path / "actor.pt").exists()


def test_cleanrl_ppo(tmp_path):
    ppo = load("cleanrl_ppo_pixels")
    ppo.main(
        ppo.Args(total_timesteps=256, num_envs=2, num_steps=64, epochs=1, out=tmp_path)
    )  # fmt: skip
    logged = scalars(tmp_path)
    assert len(logged["charts/video_reward"]) == 2
    assert np.isfinite(logged["losses/value"]).all() and (tmp_path / "agent.pt").exists()


def test_sb3_ppo(tmp_path):
    pytest.importorskip("stable_baselines3", reason="needs the extra 'sb3'")
    ppo = load("sb3_ppo")
    ppo.main(ppo.Args(steps=256, envs=2, rollout=64, out=tmp_path))
    logged = scalars(tmp_path)
    assert {"viper/reward", "viper/bonus"} <= set(logged)
    assert (tmp_path / "policy.zip").exists()


def test_sb3_ppo_of_a_game(tmp_path):
    pytest.importorskip("stable_baselines3", reason="needs the extra 'sb3'")
    pytest.importorskip("ale_py", reason="needs the extra 'atari'")
    ppo = load("sb3_ppo_game")
    args = ppo.Args(
        game="pong", steps=256, envs=2, rollout=128, episode=100, final_episodes=1, out=tmp_path
    )  # fmt: skip
    ppo.main(args)
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["phase"] for x in lines] == ["train"] * 2 + ["final"]
    assert len(Episode.load(tmp_path / "episodes/pong/0.npz").frames) == 100
    assert (tmp_path / "policy.zip").exists() and (tmp_path / "behaviour.gif").exists()


def test_sb3_sac(tmp_path):
    pytest.importorskip("stable_baselines3", reason="needs the extra 'sb3'")
    sac = load("sb3_sac_state")
    sac.main(
        sac.Args(
            "viper/dmc-cup_catch-v0", steps=1100, envs=2, fade=900, final_episodes=1, out=tmp_path
        )
    )  # fmt: skip
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["phase"] for x in lines] == ["train"] * 2 + ["final", "final as trained"]
    assert (tmp_path / "behaviour.gif").exists()
    again = sac.Args(
        "viper/dmc-cup_catch-v0", steps=10, envs=2, final_episodes=1, threads=1, out=tmp_path
    )
    with pytest.raises(SystemExit, match=r"--updates: expected a whole number, got 0\.6"):
        sac.main(replace(again, updates=0.3))
    assert (tmp_path / "metrics.jsonl").exists()
    episode = Episode.load(tmp_path / "episodes" / "cup_catch" / "0.npz")
    assert episode.frames.shape == (500, 64, 64, 3) and len(episode.rewards) == 499
    assert abs(episode.task_return - lines[-2]["task_return"]) <= 2.1  # but the last step


def test_custom_bonus(capsys):
    load("custom_bonus").main(steps=100)
    out = capsys.readouterr().out
    paid = [float(x) for x in re.findall(r"bonus (\S+)", out)]
    pictures = int(re.search(r"(\d+) different pictures", out)[1])
    assert len(paid) == 2 and paid[1] < paid[0]  # known pictures pay less
    assert 4 < pictures < 400


def test_the_shown_differences_are_in_the_scripts():
    """What examples/README.md shows as added lines stands so in the scripts it names."""
    text = (EXAMPLES / "README.md").read_text()
    sections = re.findall(r"\*\*.*?\*\* \((.*?)\).*?\n\n```diff\n(.*?)```", text, re.DOTALL)
    assert {name for names, _ in sections for name in names.split(", ")} == {
        file.name for file in EXAMPLES.glob("*.py")
    }
    for names, diff in sections:
        added = [line[1:].strip() for line in diff.splitlines() if line.startswith("+")]
        for name in names.split(", "):
            script = (EXAMPLES / name).read_text()
            assert added and [x for x in added if x not in script] == [], name


def test_zoo_file_gives_what_the_algorithm_and_the_environments_take():
    """Read as RL Baselines3 Zoo reads it; every key but its own is an argument of SAC."""
    sac = pytest.importorskip("stable_baselines3", reason="needs the extra 'sb3'").SAC
    own = {"n_timesteps", "policy", "monitor_kwargs"}
    by_env = yaml.safe_load((EXAMPLES / "rl_zoo/sac.yml").read_text())
    served = {task for entry in read_index().values() for task in entry.tasks}
    assert set(by_env) <= {f"viper/dmc-{task}-v0" for task in served} and len(by_env) >= 4
    for options in by_env.values():
        assert isinstance(options["n_timesteps"], float)
        assert eval(options["monitor_kwargs"])["info_keywords"][0] == "viper/task_return"
        env = gym.make(next(iter(by_env)), observation="state", device="cpu")
        sac(options["policy"], env, **{k: v for k, v in options.items() if k not in own})


def test_every_example_is_listed():
    text = (EXAMPLES / "README.md").read_text()
    for file in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/*.yml")]:
        assert f"({file.relative_to(EXAMPLES)})" in text

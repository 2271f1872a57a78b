"""`viper-gym play`: a saved agent's whole episodes, frame by frame, and what it refuses."""

import json
import shlex
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
import tyro

from dot_env import SIZE, STEPS, Dot, Solved
from viper_gym import cli
from viper_gym.agents.actions import ActionCodec
from viper_gym.agents.dreamer.config import DreamerConfig
from viper_gym.agents.drq.agent import DrQConfig
from viper_gym.agents.replay import ReplayConfig
from viper_gym.agents.trainer import TrainerConfig
from viper_gym.cli.play import Play, audit_command, is_solved, outcome, play, task_of
from viper_gym.cli.saved_agent import SavedAgent, read_agent, unpaid
from viper_gym.cli.train_agent import AgentTraining, train_agent
from viper_gym.data.episodes import Episode
from viper_gym.errors import TrainingError

DOT, CUP = "Play/A-Dot-v0", "viper/dmc-cup_catch-v0"
TINY = {
    "drq": DrQConfig(
        hidden=(8,), cnn_features=(4,), cnn_strides=(2,), latent_dim=4, batch_size=2, frame_stack=2
    ),
    "dreamer": DreamerConfig(size="tiny", batch_size=2, batch_length=4, imag_horizon=2),
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(gym.registry, DOT, gym.envs.registration.EnvSpec(DOT, Dot))


def trained(out: Path, agent: str = "drq", env: str = DOT, **kwargs: str) -> Path:
    """A run that has played a few steps, and learned nothing."""
    loop = TrainerConfig(
        out, total_timesteps=6, num_envs=1, learning_starts=4, gradient_steps=0.0,
        replay=ReplayConfig(50), eval_every=10**6, eval_episodes=1,
    )  # fmt: skip
    config = AgentTraining(agent, env, kwargs, trainer=loop, **{agent: TINY[agent]})
    return train_agent(config)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npz"))


@pytest.mark.parametrize("agent", ["drq", "dreamer"])
def test_any_environments_episodes_are_recorded_whole_and_alike_each_time(tmp_path, capsys, agent):
    kwargs = {"discrete": "true"} if agent == "dreamer" else {}
    run = trained(tmp_path / "run", agent, **kwargs)
    capsys.readouterr()
    Play(run, episodes=2, seed=7).run()
    first, second = files(run / "episodes" / "Play_A-Dot-v0")
    assert (first.name, second.name) == ("episode_7.npz", "episode_8.npz")
    episode = Episode.load(first)
    assert episode.frames.shape == (STEPS + 1, SIZE, SIZE, 3)
    env = Dot()
    assert np.array_equal(episode.frames[0], env.reset(seed=7)[0])
    columns = episode.frames[:, 7, :, 0].argmax(1) / (SIZE - 3)
    assert episode.rewards == pytest.approx(1 - 2 * np.abs(columns[1:] - 0.5), abs=0.1)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"seed 7: return {episode.task_return:.4g} in {STEPS} steps"
    assert said[-1] == f"2 episodes in {first.parent}"  # no checkpoint pays such an id
    Play(run, episodes=1, seed=8, out=tmp_path / "again").run()  # hangs on no episode before
    (again,) = files(tmp_path / "again")
    assert np.array_equal(Episode.load(again).frames, Episode.load(second).frames)


def test_samples_are_played_when_they_are_asked_for(tmp_path):
    run, played = trained(tmp_path / "run"), {}
    for name, options in {"mean": {}, "a": {"sample": True}, "b": {"sample": True}}.items():
        Play(run, episodes=1, out=tmp_path / name, **options).run()
        episode = Episode.load(files(tmp_path / name)[0])
        played[name] = episode.rewards  # a little noise is not to be seen in so few pixels
        assert episode.meta["sample"] == bool(options)
    assert np.array_equal(played["a"], played["b"])
    assert not np.array_equal(played["a"], played["mean"])


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_networks_compute_in_the_precision_that_is_asked_for(tmp_path, monkeypatch, precision):
    run, given, made = trained(tmp_path / "run"), [], SavedAgent.agent
    monkeypatch.setattr(
        SavedAgent, "agent", lambda self, *args: given.append(args[-1]) or made(self, *args)
    )
    Play(run, episodes=1, precision=precision, out=tmp_path / "out").run()
    assert given == [precision]


def test_every_frame_is_kept_while_an_action_is_held():
    asked: list[tuple[int, bool]] = []
    env = Dot()

    def player(frames, first):
        asked.append((int(frames[0, 7, :, 0].argmax()), bool(first[0])))
        return np.full((1, 1), 0.5, np.float32)

    to_env = ActionCodec(env.action_space).to_env
    episode = play(env, player, to_env, 4, seed=0)
    columns = episode.frames[:, 7, :, 0].argmax(1)
    assert len(columns) == STEPS + 1
    assert asked == [(int(c), t == 0) for t, c in enumerate(columns[:-1:4])]
    assert len(play(env, player, to_env, 4, seed=0, max_steps=6).frames) == 7


def test_pictures_that_are_drawn_into_the_same_memory_are_copied():
    class Reuses(Dot):
        memory = np.zeros((SIZE, SIZE, 3), np.uint8)

        def _picture(self):
            self.memory[:] = super()._picture()
            return self.memory

    def middle(frames, first):
        return np.full((1, 1), 1.0 if frames[0, 7, :8].any() else -1.0, np.float32)

    to_env = ActionCodec(Dot().action_space).to_env
    same, other = (play(env, middle, to_env, 1, seed=3) for env in (Reuses(), Dot()))
    assert np.array_equal(same.frames, other.frames) and len(np.unique(same.frames, axis=0)) > 3


def test_an_episode_tells_whether_it_was_solved():
    def stays(frames, first):
        return np.zeros((1, 1), np.float32)

    to_env = ActionCodec(Dot().action_space).to_env
    for when, solved in ((3, True), (STEPS + 1, False)):
        meta = play(Solved(when, np.bool_(True)), stays, to_env, 2, seed=0).meta
        assert (meta["success"], meta["success_steps"]) == (solved, int(solved))
        told = outcome(Episode(np.zeros((3, 2, 2, 3), np.uint8), np.ones(2), meta))
        assert told == f"return 2 in 2 steps, {'' if solved else 'not '}solved"
    assert "success" not in play(Dot(), stays, to_env, 2, seed=0).meta
    for said in ({"success": "yes"}, {"success": np.nan}, {"success": None}, {}):
        assert is_solved(said) is None


def test_a_task_is_played_unpaid_and_its_audit_is_named(tmp_path, capsys):
    run = trained(tmp_path / "run", env=CUP, hold="4", checkpoint="null", max_episode_steps="5")
    capsys.readouterr()
    Play(run, episodes=1, max_steps=10, out=tmp_path / "out of it").run()
    (path,) = files(tmp_path / "out of it" / "cup_catch")
    episode = Episode.load(path)
    assert episode.frames.shape == (11, 64, 64, 3) and len(episode.rewards) == 10
    assert episode.meta["task"] == "cup_catch" and episode.meta["hold"] == 4
    assert episode.meta["camera"] == 0  # how it was drawn
    *_, count, following = capsys.readouterr().out.splitlines()
    assert count == f"1 episodes in {path.parent}"
    command = shlex.split(following.removeprefix("next: "))
    evaluate = tyro.extras.subcommand_cli_from_dict(cli._COMMANDS, args=command[1:])
    assert command[0] == "viper-gym" and evaluate.suite == "dmc" and evaluate.checkpoint is None
    assert (evaluate.agents, evaluate.tasks) == (tmp_path / "out of it", ("cup_catch",))
    Play(run, episodes=1, seed=1).run()  # an episode is of 5 decisions, as in the run
    assert len(Episode.load(files(run / "episodes")[0]).frames) == 21


def saved(env: str, **kwargs: str) -> SavedAgent:
    return SavedAgent(Path("run"), AgentTraining(env=env, env_kwargs=kwargs), {})


def test_the_audit_is_of_the_checkpoint_that_paid():
    folder = Path("out/cup_catch")
    command = "viper-gym evaluate {} --agents out --tasks cup_catch".format
    assert audit_command(saved(CUP), folder) == command("--suite dmc")
    own = saved(CUP, checkpoint="my runs/x")
    assert audit_command(own, folder) == command("--checkpoint 'my runs/x'")
    other = saved(CUP, checkpoint="x", reward_task="cartpole_swingup")  # x may know no cup
    assert audit_command(other, folder) == command("--suite dmc")
    unserved = saved("viper/dmc-quadruped_run-v0", checkpoint="null")
    assert "--checkpoint FOLDER" in audit_command(unserved, folder)
    assert task_of(saved("ALE/Pong v5")) == "ALE_Pong_v5"


def test_nothing_of_the_reward_is_asked_of_the_environment():
    kept = {"view": {"camera": 1}, "action_repeat": 2, "env_kwargs": {}, "max_episode_steps": 3}
    paid = {"hold": 4, "bonus": "rnd", "beta": 0.5, "reward_clip": "calibrated", "dtype": "fp32"}
    paid |= {"checkpoint": "x", "revision": "main", "device": "cpu", "reward_scale": "per_token"}
    paid |= {"reward_task": "cup_catch"}
    assert unpaid({**kept, **paid, "task_reward_weight": 0.1}) == {**kept, "checkpoint": None}


@pytest.mark.parametrize("options", [{"episodes": 0}, {"max_steps": 0}, {"seed": -1}])
def test_numbers_that_play_nothing_are_refused(options):
    (name,) = options
    with pytest.raises(TrainingError, match=f"^{name}: expected"):
        Play(Path("run"), **options)


def test_folders_that_are_no_run_are_refused(tmp_path):
    def refused(message: str) -> None:
        with pytest.raises(TrainingError, match=message):
            read_agent(tmp_path)

    refused(r"expected a folder of `viper-gym train agent`, found no settings\.json")
    settings = tmp_path / "settings.json"
    settings.write_text("{")
    refused("cannot be read")
    settings.write_text("[1]")
    refused("does not tell agent, env, env_kwargs, seed")
    told = {"agent": "sac", "env": DOT, "env_kwargs": {}, "seed": 0}
    settings.write_text(json.dumps(told))
    refused("its agent is 'sac': not drq or dreamer")
    settings.write_text(json.dumps({**told, "agent": "drq", "drq.of_tomorrow": 1}))
    refused("of this version: .*of_tomorrow")
    settings.write_text(json.dumps({**told, "agent": "drq"}))
    refused(r"no state\.pt yet")
    (tmp_path / "state.pt").write_bytes(b"nothing of the kind")
    refused(r"state\.pt is damaged or foreign")


def test_another_agents_checkpoint_is_refused(tmp_path):
    run, other = trained(tmp_path / "run"), trained(tmp_path / "other", "dreamer")
    own = (run / "state.pt").read_bytes()
    (run / "state.pt").write_bytes((other / "state.pt").read_bytes())
    with pytest.raises(TrainingError, match=r"other settings: agent=dreamer \(now drq\)"):
        Play(run).run()
    (run / "state.pt").write_bytes(own)
    state = torch.load(run / "state.pt", weights_only=True)
    foreign = torch.load(other / "state.pt", weights_only=True)["agent"]
    torch.save({**state, "agent": foreign}, run / "state.pt")
    with pytest.raises(TrainingError, match="does not fit drq for pictures"):
        Play(run).run()


def test_episodes_of_an_earlier_agent_do_not_pass_for_a_new_ones(tmp_path, capsys):
    run = trained(tmp_path / "run")
    Play(run, episodes=2, seed=0).run()
    Play(run, episodes=1, seed=5).run()
    assert "2 more lie there" in capsys.readouterr().err
    trained(tmp_path / "run")  # anew
    assert not files(run / "episodes") and len(files(run / "previous" / "episodes")) == 3


def test_training_names_the_command_that_plays_what_it_left(monkeypatch, capsys):
    monkeypatch.setattr("viper_gym.cli.train_agent.train_agent", lambda config: config.trainer.out)
    cli.train(["agent", "--out", "my runs/a"])
    following = capsys.readouterr().out.splitlines()[-1]
    command = shlex.split(following.removeprefix("next: viper-gym "))
    assert tyro.extras.subcommand_cli_from_dict(cli._COMMANDS, args=command).folder == Path(
        "my runs/a"
    )

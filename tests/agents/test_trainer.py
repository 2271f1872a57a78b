"""The loop: rewards given later, what is logged, and the warning about still pictures."""

import json
import tracemalloc
import warnings
from shutil import rmtree
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv, VectorWrapper
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dot_env import SIZE, STEPS, Dot, Solved
from viper_gym.agents.actions import ActionCodec
from viper_gym.agents.evaluation import play_episodes, still_share
from viper_gym.agents.kept_bonus import KeptBonus
from viper_gym.agents.replay import ReplayConfig
from viper_gym.agents.run_log import RunLog, at_end
from viper_gym.agents.trainer import Trainer, TrainerConfig
from viper_gym.errors import DependencyNotInstalled, TrainingError
from viper_gym.wrappers.hold import HoldActionVector
from viper_gym.wrappers.vector_bonus import BonusVectorRewardWrapper


class Sweeps:
    """Not a learner: goes right, and remembers what it was given to learn from."""

    updates_per_step = 0.5
    least_steps = 2

    def __init__(self, push: float = 1.0):
        self.push, self.rewards, self.seen, self.before = push, [], [], []

    def player(self, num_envs, deterministic=False):
        return lambda frames, first: np.full((len(frames), 1), self.push, np.float32)

    def sample(self, replay, rng):
        return replay.sample(64, 1, rng)

    def update(self, batch):
        self.rewards.append(batch.rewards)
        self.seen.append(batch.next_observations)
        self.before.append(batch.observations)
        return {"loss": 0.0}

    def imagined(self, replay, rng):
        return None

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def brightness(frames: np.ndarray) -> np.ndarray:
    """A reward that can be read off the next frame: where the dot is."""
    return _column(frames[1:])


def _column(frames: np.ndarray) -> np.ndarray:
    return frames[:, 7, :, 0].argmax(1).astype(np.float64)


def plain(n: int) -> SyncVectorEnv:
    return SyncVectorEnv([Dot] * n)


def trainer(out, agent=None, relabel=None, total=300, made_of=None, **changes) -> Trainer:
    envs = changes.pop("make_envs", plain)
    more = {"made_of": made_of, "add_rewards": changes.pop("add_rewards", False)}
    more |= {"make_eval_envs": changes.pop("make_eval_envs", None)}
    options: dict = {"num_envs": 3, "learning_starts": 60, "log_every": 60, "eval_every": 150}
    options["replay"] = ReplayConfig(2000)
    config = TrainerConfig(out=out, total_timesteps=total, **{**options, **changes})
    learner = agent or Sweeps()
    return Trainer(config, envs, lambda *_: learner, relabel=relabel, **more)


def lines(out) -> list[dict]:
    return [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]


def test_relabelled_rewards_and_no_others_are_learned_from(tmp_path):
    agent = Sweeps()
    trainer(tmp_path, agent, brightness).run()
    assert len(agent.rewards) > 50
    for rewards, following in zip(agent.rewards, agent.seen, strict=True):
        assert np.array_equal(rewards, _column(following))
    last = lines(tmp_path)[-1]
    # from 0.1 or 0.9 at full speed to the right end, then it stays: columns 1 … 13
    assert 13 * STEPS * 0.6 < last["eval/return"] < 13 * STEPS
    assert last["eval/task_return"] < 5 < last["eval/return"]
    named = {name for line in lines(tmp_path) for name in line}
    assert {"train/return", "train/task_return"} <= named


def test_evaluations_are_by_the_policys_mean_in_environments_of_their_own(tmp_path):
    class Asked(Sweeps):
        def player(self, num_envs, deterministic=False):
            asked.append((num_envs, deterministic))
            return super().player(num_envs)

    asked: list[tuple[int, bool]] = []
    trainer(tmp_path, Asked(), total=150, eval_episodes=5).run()
    assert asked == [(3, False), (5, True)]


def test_as_many_updates_as_are_asked_for_each_step(tmp_path):
    agent = Sweeps()
    trainer(tmp_path, agent, total=300, gradient_steps=0.5).run()
    assert len(agent.rewards) == (300 - 60 + 3) // 2  # from the step on that has 60 behind it


def test_tensorboard_has_both_returns_at_their_steps(tmp_path):
    trainer(tmp_path, relabel=brightness, total=160).run()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for tag in ("eval/return", "eval/task_return", "train/loss"):
        written = [(x["step"], x[tag]) for x in lines(tmp_path) if tag in x]
        assert written and [e.step for e in events.Scalars(tag)] == [s for s, _ in written]
        assert [e.value for e in events.Scalars(tag)] == pytest.approx([v for _, v in written])


def test_random_state_and_time_go_on_after_a_stop(tmp_path):
    first = trainer(tmp_path, total=160)
    first.run()
    again = trainer(tmp_path, total=300, resume=True)
    assert again._rng.bit_generator.state == first._rng.bit_generator.state
    assert again._seconds == first._seconds > 0
    again.run()
    seconds = [x["seconds"] for x in lines(tmp_path)]
    assert seconds == sorted(seconds)


def test_relabelled_runs_go_on_after_a_stop(tmp_path):
    trainer(tmp_path, relabel=brightness, total=160).run()  # in the middle of episodes
    agent = Sweeps()
    again = trainer(tmp_path, agent, brightness, total=400, resume=True)
    assert again.replay.steps_known > 140
    again.run()
    for rewards, following in zip(agent.rewards, agent.seen, strict=True):
        assert np.array_equal(rewards, _column(following))


def test_an_episode_that_a_kill_cut_short_is_not_learned_from(tmp_path):
    """At a checkpoint in the middle of episodes nothing is scored; later nobody can."""
    scored: list[int] = []

    def counted(frames: np.ndarray) -> np.ndarray:
        scored.append(len(frames))
        return brightness(frames)

    options = {"checkpoint_minutes": 0.0, "eval_every": 10**6}
    killed = trainer(tmp_path, relabel=counted, total=160, **options)
    killed._finish = lambda left: None  # type: ignore[method-assign]
    killed.run()  # a checkpoint after every step, the last at step 159 of episodes of 25
    assert scored == 3 * 2 * [STEPS + 1]
    agent = Sweeps()
    again = trainer(tmp_path, agent, brightness, total=400, resume=True, eval_every=10**6)
    assert again.replay.steps_known == 3 * (2 * STEPS + 1)
    again.run()
    assert agent.rewards
    for rewards, following in zip(agent.rewards, agent.seen, strict=True):
        assert np.array_equal(rewards, _column(following))


def test_resuming_waits_for_steps_where_all_that_was_saved_is_written_over(tmp_path):
    first = trainer(tmp_path, total=300, replay=ReplayConfig(120))
    first.run()
    for _ in range(45):  # a killed run went on for longer than the ring is
        frames = np.zeros((3, SIZE, SIZE, 3), np.uint8)
        first.replay.add(frames, np.zeros(3, bool), np.zeros((3, 1)), np.zeros(3), np.zeros(3))
    agent = Sweeps()
    again = trainer(tmp_path, agent, total=450, replay=ReplayConfig(120), resume=True)
    assert again.step == 300 and again.replay.steps_known == 0
    assert len(again.replay) == 0
    again.run()
    assert agent.rewards and all(x.any() for x in agent.seen)


class CountsSteps(VectorWrapper):
    """Its rewards tell which step of an episode it is: 1000, 2000, …, 0 where it only resets."""

    def reset(self, **kwargs):
        self._steps, self._over = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        return self.env.reset(**kwargs)

    def step(self, actions):
        seen, _, terminated, truncated, info = self.env.step(actions)
        self._steps = np.where(self._over, 0, self._steps + 1)
        self._over = terminated | truncated
        return seen, 1000.0 * self._steps, terminated, truncated, info


def test_bonuses_of_the_same_steps_are_added_to_relabelled_rewards(tmp_path):
    counted = {"make_envs": lambda n: CountsSteps(plain(n)), "add_rewards": True}
    counted["make_eval_envs"] = plain
    trainer(tmp_path, relabel=brightness, total=160, **counted).run()  # stops inside episodes
    agent = Sweeps()
    again = trainer(tmp_path, agent, brightness, total=400, resume=True, **counted)
    known = again.replay.steps_known
    again.save()  # labels what the first run labelled: nothing to add
    assert again.replay.steps_known == known
    again.run()
    learned = np.concatenate(agent.rewards)
    steps, dots = np.divmod(learned, 1000)
    assert np.array_equal(dots, np.concatenate([_column(x) for x in agent.seen]))
    assert set(steps) == set(range(1, STEPS + 1))
    before = np.concatenate([_column(x) for x in agent.before])
    starts = set(before[steps == 1])
    assert len(starts) == 2 < len(set(before[steps == 2]))  # every first step is from a start
    told = {name: value for line in lines(tmp_path) for name, value in line.items()}
    assert told["train/bonus_return"] == pytest.approx(1000 * STEPS * (STEPS + 1) / 2)
    assert told["train/return"] < 1000 and told["eval/return"] < 1000
    assert "train/task_return" not in told and told["eval/task_return"] < 5


class Remembers:
    seen = 0

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_a_bonus_made_at_the_first_reset_is_given_its_state_then():
    envs = SimpleNamespace(env=SimpleNamespace(bonus=None))
    kept = KeptBonus(envs)
    assert kept.state_dict() is None
    kept.after_reset()  # no state, no bonus
    kept.load_state_dict({"seen": 3})
    assert kept.state_dict() == {"seen": 3}  # a run that is saved before it began loses nothing
    with pytest.raises(TrainingError, match="no bonus that takes it"):
        kept.after_reset()
    envs.env.bonus = Remembers()
    kept.after_reset()
    assert envs.env.bonus.seen == 3 and kept.state_dict() == {"seen": 3}
    envs.env.bonus.seen = 5
    kept.after_reset()  # once only
    assert envs.env.bonus.seen == 5


def test_what_a_run_was_made_of_is_compared_before_anything_is_touched(tmp_path):
    same = {"env": "a", "agent": "drq"}
    trainer(tmp_path, total=160, made_of=same).run()
    kept = len(trainer(tmp_path, resume=True, made_of=same).replay)
    assert kept > 100
    with pytest.raises(TrainingError, match=r"env=a \(now b\)"):
        trainer(tmp_path, resume=True, made_of={**same, "env": "b"})
    with pytest.raises(TrainingError, match=r"replay=.*2000.*now.*4000"):
        trainer(tmp_path, resume=True, made_of=same, replay=ReplayConfig(4000))
    assert len(trainer(tmp_path, resume=True, made_of=same).replay) == kept


def test_a_new_run_in_an_old_folder_is_not_resumed_as_the_old_one(tmp_path):
    trainer(tmp_path, total=160).run()
    killed = trainer(tmp_path)  # before its first checkpoint
    assert killed.step == 0
    again = trainer(tmp_path, resume=True)
    assert again.step == 0 and len(again.replay) == 0


def test_the_bonus_is_kept_and_evaluations_have_none(tmp_path):
    class Counts:
        seen = 0

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = state["seen"]

    def explored(n):
        return HoldActionVector(Explored(SyncVectorEnv([Dot] * n)), 1)

    class Explored(VectorWrapper):
        def __init__(self, env):
            super().__init__(env)
            self.bonus = Counts()

        def step(self, actions):
            self.bonus.seen += self.num_envs
            return super().step(actions)

    first = trainer(tmp_path, total=160, make_envs=explored, make_eval_envs=plain)
    first.run()
    again = trainer(tmp_path, resume=True, make_envs=explored, make_eval_envs=plain)
    assert again._envs.env.bonus.seen == first._envs.env.bonus.seen > 100
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    torch.save({**state, "bonus": {"seen": np.zeros(1)}}, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match="tensors, numbers and lists"):
        trainer(tmp_path, resume=True, make_envs=explored, make_eval_envs=plain)


class One:
    """A bonus of one every step."""

    def compute(self, transition):
        return np.ones(len(transition.frame))

    def update(self, transition):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_bonus_fades_and_stays_away_when_resumed(tmp_path):
    def curious(n):
        envs = BonusVectorRewardWrapper(SyncVectorEnv([Dot] * n), One(), task_reward_weight=0.0)
        return HoldActionVector(envs, 1)

    agent, options = Sweeps(), {"make_envs": curious, "make_eval_envs": plain}
    first = trainer(tmp_path, agent, total=150, bonus_steps=300, **options)
    first.run()
    paid = sorted({round(float(x), 6) for x in np.concatenate(agent.rewards)}, reverse=True)
    steps = [round(1 - step / 300, 6) for step in range(0, 150, 3)]
    assert set(paid) <= set(steps) and len(paid) > 40  # each step a hundredth less
    agent = Sweeps()
    trainer(tmp_path, agent, total=450, bonus_steps=300, resume=True, **options).run()
    late = np.concatenate(agent.rewards)
    assert (late == 0).sum() > 500 and ((late > 0) & (late < 0.5)).sum() > 500


def test_the_bonus_is_found_behind_wrappers_that_have_something_else_by_that_name():
    inner = BonusVectorRewardWrapper(SyncVectorEnv([Dot]), One(), beta=0.5)
    kept = KeptBonus(
        SimpleNamespace(bonus=None, beta=2.0, env=SimpleNamespace(bonus=3, env=inner)), 10
    )
    kept.fade(5)
    kept.fade(5)  # of what it was made with
    assert inner.beta == 0.25 and kept.find() is inner.bonus


def test_who_pays_no_bonus_cannot_let_it_fade(tmp_path):
    with pytest.raises(TrainingError, match="pay none"):
        trainer(tmp_path, bonus_steps=100).run()
    with pytest.raises(TrainingError, match="bonus_steps: expected 0 or more, got -1"):
        TrainerConfig(bonus_steps=-1)


def test_learning_waits_until_something_can_be_sampled(tmp_path):
    agent = Sweeps()
    agent.least_steps = 40
    trainer(tmp_path, agent, total=100, learning_starts=6).run()
    assert agent.rewards == []  # 33 steps of each environment
    trainer(tmp_path, agent, total=130, learning_starts=6).run()
    assert agent.rewards


def test_learning_waits_for_labels(tmp_path):
    """Three episodes of 25 steps and the first frames: nothing is known before step 78."""
    agent = Sweeps()
    trainer(tmp_path, agent, brightness, total=75, learning_starts=6).run()
    assert agent.rewards == []
    trainer(tmp_path, agent, brightness, total=120, learning_starts=6).run()
    assert len(agent.rewards) > 10


def test_an_episode_that_does_not_fit_is_refused(tmp_path):
    from viper_gym.errors import ReplayError

    made = trainer(tmp_path, relabel=brightness)
    made.replay.slots = 20
    with pytest.raises(ReplayError, match="more than 20 steps"):
        made.run()


class Grows:
    """A reward that rises from one episode to the next, wherever the dot is."""

    factor = 1.0

    def __call__(self, frames):
        self.factor += 1.0
        return self.factor * brightness(frames)


def test_a_still_picture_with_a_rising_return_is_warned_of(tmp_path):
    still = Sweeps(1.0)  # stops at the right end
    with pytest.warns(UserWarning, match="picture stands still in 100% of the later steps"):
        trainer(tmp_path / "still", still, Grows()).run()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer(tmp_path / "moves", Sweeps(0.3), Grows()).run()  # never arrives
        trainer(tmp_path / "same", still, brightness).run()  # does not rise


def test_films_of_long_episodes_are_cut_and_their_figures_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr("viper_gym.agents.trainer.FILMED", 10)
    films: list[np.ndarray] = []
    run = trainer(tmp_path, Sweeps(1.0), total=150)
    run._film = lambda frames, stem: films.append(frames)
    run.run()
    assert [len(film) for film in films] == [10]
    column = int(_column(films[0][:1])[0])
    assert column < SIZE - 3 and len({int(x) for x in _column(films[0])}) > 3  # from its beginning
    (still,) = [line["eval/still"] for line in lines(tmp_path) if "eval/still" in line]
    assert still == 1.0  # of the later half, which is not filmed


def test_standing_still_is_found_in_the_memory_of_few_pictures():
    frames = np.zeros((4000, 32, 32, 3), np.uint8)
    frames[::2, 0, 0] = 200
    tracemalloc.start()
    assert still_share(frames) == 0.0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.1 * frames.nbytes


def test_how_long_pictures_stand_still():
    frames = np.zeros((9, 4, 4, 3), np.uint8)
    assert still_share(frames) == 1.0
    frames[6:, 0, 0, 0] = 200
    assert still_share(frames) == pytest.approx(3 / 4)  # of four steps in the later half
    frames[6:, 0, 0, 0] = 16
    assert still_share(frames) == 1.0


def test_evaluation_counts_each_environments_first_episode_once():
    class Short(Dot):
        def __init__(self, steps):
            super().__init__()
            self.steps = steps

        def step(self, action):
            frame, _, _, _, info = super().step(action)
            return (
                frame,
                1.0,
                False,
                self.t == self.steps,
                info | {"task_return": 10.0 * self.steps},
            )

    envs = SyncVectorEnv([lambda s=s: Short(s) for s in (3, 8)])
    codec = ActionCodec(envs.single_action_space)
    means, episodes = play_episodes(Sweeps().player(2), envs, codec, 0)
    assert [len(e) for e in episodes] == [4, 9]
    figures = means.take("eval")
    assert figures["eval/return"] == pytest.approx(5.5)
    assert figures["eval/task_return"] == pytest.approx(55.0)


def evaluated(*envs) -> dict[str, float]:
    vector = SyncVectorEnv([lambda e=e: e for e in envs])
    codec = ActionCodec(vector.single_action_space)
    means, _ = play_episodes(Sweeps().player(len(envs)), vector, codec, 0)
    return means.take("eval")


def test_what_else_is_called_a_return_is_left_out():
    infos = {
        "viper/return": np.array([3.0, 0.0]),
        "_viper/return": np.array([True, False]),
        "episode_return": np.array([7.0, 8.0]),  # of who keeps no masks
        "agents_return": np.ones((2, 3)),
        "_agents_return": np.array([True, True]),
        "best_return": np.array([None, None], object),
        "a_return": 5.0,
    }
    assert at_end(infos, 0) == {"viper/return": 3.0, "episode_return": 7.0}
    assert at_end(infos, 1) == {"episode_return": 8.0}


@pytest.mark.parametrize("name", ["success", "is_success"])
def test_an_episode_that_was_solved_at_any_step_is_a_success(name):
    figures = evaluated(*(Solved(when, name=name) for when in (3, STEPS, STEPS + 1)))
    assert figures["eval/success"] == pytest.approx(2 / 3)
    # solved in the second episode, which is played because another's first is longer
    early = gym.wrappers.TimeLimit(SolvedLater(2, name=name), 10)
    assert evaluated(early, Solved(STEPS, name=name))["eval/success"] == pytest.approx(1 / 2)


class SolvedLater(Solved):
    episodes = 0

    def reset(self, **kwargs):
        self.episodes += 1
        return super().reset(**kwargs)

    def step(self, action):
        *result, info = super().step(action)
        return *result, info | {self.name: info[self.name] and self.episodes > 1}


@pytest.mark.parametrize("told", [{"a": 1}, np.ones(2), "yes", None, np.nan])
def test_what_is_no_success_is_not_counted_as_one(told):
    assert "eval/success" not in evaluated(Dot(), Dot())
    assert "eval/success" not in evaluated(Solved(3, told, told))


def test_returns_that_are_no_numbers_end_no_run(tmp_path):
    class Unpaid(Dot):
        def step(self, action):
            *result, info = super().step(action)
            return *result, info | {"discounted_return": np.nan}

    trainer(tmp_path, make_envs=lambda n: SyncVectorEnv([Unpaid] * n)).run()
    assert not any("discounted" in name for line in lines(tmp_path) for name in line)


def test_episodes_of_one_step(tmp_path):
    class Short(Dot):
        def step(self, action):
            frame, reward, _, truncated, info = super().step(action)
            return frame, reward, True, truncated, info

    agent = Sweeps()
    trainer(tmp_path, agent, make_envs=lambda n: SyncVectorEnv([Short] * n)).run()
    assert agent.rewards and lines(tmp_path)[-1]["eval/still"] == 0.0


def test_what_was_learned_is_kept_where_the_last_evaluation_fails(tmp_path):
    def none(number: int) -> SyncVectorEnv:
        raise RuntimeError("one simulator a process")

    for every in (150, 90, 30):  # behind the last step, at it, and before
        made = trainer(tmp_path / str(every), make_eval_envs=none, total=90, eval_every=every)
        with pytest.raises(RuntimeError, match="one simulator"):
            made.run()
        again = trainer(tmp_path / str(every), total=200, resume=True)
        assert again.step == min(every, 90)


def test_figures_behind_the_last_line_are_written_at_the_end(tmp_path):
    trainer(tmp_path, total=90, log_every=1000).run()
    named = [set(line) for line in lines(tmp_path)]
    assert any({"train/return", "train/loss"} <= names for names in named)


@pytest.mark.parametrize("space", [
    gym.spaces.Box(-1, 0.1, (1,), np.float32),
    gym.spaces.Box(-1, 0.1, (1,), np.float64),
    gym.spaces.Box(0.1, 0.7, (3,), np.float32),
])  # fmt: skip
def test_the_furthest_actions_are_within_bounds(space):
    codec = ActionCodec(space)
    for furthest in (-1.0, 1.0):
        (action,) = codec.to_env(np.full((1, codec.size), furthest, np.float32))
        assert action.dtype == space.dtype and space.contains(action)
        assert np.allclose(action, space.low if furthest < 0 else space.high)


def test_actions_of_whole_numbers_are_refused():
    with pytest.raises(TrainingError, match=r"bounded continuous.*int64"):
        ActionCodec(gym.spaces.Box(0, 10, (2,), np.int64))


@pytest.mark.parametrize("setting", [{"gradient_steps": -1.0}, {"seed": -1}, {"bonus_steps": -1}])
def test_settings_below_zero_are_refused(setting):
    with pytest.raises(TrainingError, match=r"expected 0 or more, got -1"):
        TrainerConfig(**setting)


def test_actions_to_and_from_environments(rng):
    box = gym.spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
    codec = ActionCodec(box)
    assert codec.size == 2 and not codec.discrete
    assert codec.to_env(np.array([[-1.0, 0.0], [0.5, 1.0]])).tolist() == [[-2.0, 0.5], [1.0, 1.0]]
    assert np.abs(codec.random(500, rng)).max() <= 1
    codec = ActionCodec(gym.spaces.Discrete(3, start=5))
    assert codec.to_env(np.array([[0, 0.2, 0.1], [1, 0, 0]])).tolist() == [6, 5]
    drawn = codec.random(300, rng)
    assert drawn.shape == (300, 3) and (drawn.sum(1) == 1).all() and (drawn.mean(0) > 0.2).all()
    with pytest.raises(TrainingError, match="bounded continuous"):
        ActionCodec(gym.spaces.Box(-np.inf, np.inf, (2,)))


def test_a_log_goes_on_where_the_checkpoint_was(tmp_path):
    log = RunLog(tmp_path)
    for step in (10, 20, 30):
        log.write(step, 1.0, {"x": float(step)})
    log.close()
    again = RunLog(tmp_path, step=20)
    again.write(25, 2.0, {"x": 0.0})
    again.close()
    assert [x["step"] for x in lines(tmp_path)] == [10, 20, 25]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [x.step for x in events.Scalars("x")] == [10, 20, 25]
    with pytest.raises(TrainingError, match="loss is not finite at step 3"):
        RunLog(tmp_path).write(3, 0.0, {"loss": float("nan")})


def test_weights_and_biases_is_optional(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(DependencyNotInstalled, match=r"viper-gym\[wandb\]"):
        RunLog(tmp_path, wandb_project="mine")


class FakeWandb:
    """Only what is asked of it: wandb itself is no dependency of the tests."""

    def __init__(self):
        self.ids, self.projects, self.logged, self.finished = [], [], [], 0

    def init(self, **options):
        self.ids.append(options["id"])
        self.projects.append(options["project"])
        return self

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1


def test_runs_in_folders_of_one_name_are_two_runs_and_a_resumed_one_is_the_same(
    tmp_path, monkeypatch
):
    import sys

    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for folder, step in (("a/seed_0", 0), ("b/seed_0", 0), ("a/seed_0", 50), ("a/seed_0", 0)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        RunLog(tmp_path / folder, step=step, wandb_project="mine").close()
    first, other, resumed, anew = fake.ids
    assert first == resumed and len({first, other, anew}) == 3


def test_lines_are_sent_to_the_project_with_their_steps(tmp_path, monkeypatch):
    import sys

    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    log = RunLog(tmp_path, wandb_project="mine")
    sent = [(10, {"train/loss": 0.5}), (20, {"train/loss": 0.25, "eval/return": 3.0})]
    for step, values in sent:
        log.write(step, 1.0, values)
    with pytest.raises(TrainingError, match="not finite"):
        log.write(30, 1.0, {"train/loss": float("nan")})
    assert fake.logged == sent and fake.projects == ["mine"] and not fake.finished
    assert [(x["step"], x["train/loss"]) for x in lines(tmp_path)] == [(10, 0.5), (20, 0.25)]
    log.close()
    assert fake.finished == 1


def test_environments_may_write_into_the_observations_they_gave(tmp_path):
    agent = Sweeps()
    given = lambda n: SyncVectorEnv([Dot] * n, copy=False)  # noqa: E731
    trainer(tmp_path, agent, brightness, make_envs=given).run()
    kept = trainer(tmp_path / "other", other := Sweeps(), brightness)
    kept.run()
    for seen, expected in zip(agent.seen, other.seen, strict=True):
        assert np.array_equal(seen, expected)


def test_a_forgotten_resume_keeps_the_old_checkpoint(tmp_path):
    trainer(tmp_path, total=160).run()
    before = (tmp_path / "state.pt").read_bytes(), lines(tmp_path)
    (tmp_path / "eval_00000150.gif").write_text("old")
    (tmp_path / "previous").mkdir()
    (tmp_path / "previous" / "state.pt").write_text("older")
    trainer(tmp_path, total=60).run()
    assert (tmp_path / "previous" / "eval_00000150.gif").read_text() == "old"
    assert not (tmp_path / "eval_00000150.gif").exists()
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1  # the new run's alone
    assert (tmp_path / "previous" / "state.pt").read_bytes() == before[0]
    old = (tmp_path / "previous" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(x) for x in old] == before[1]
    assert json.loads((tmp_path / "settings.json").read_text())["num_envs"] == 3
    # and it can be gone on with, replay and all
    again = trainer(tmp_path / "previous", total=300, resume=True)
    assert again.step == 162 and len(again.replay) > 140


@pytest.mark.parametrize("where", ["figures", "weights"])
def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path, where):
    class Diverges(Sweeps):
        updates, weights = 0, torch.zeros(2)

        def update(self, batch):
            self.updates += 1
            bad = self.updates >= 30
            if where == "weights":  # a loss may be finite, its gradient not
                self.weights[1] = np.nan if bad else 0.0
                return {"loss": 0.0}
            return {"loss": np.nan if bad else 0.0}

        def state_dict(self):
            return {"actor": {"weights": self.weights.clone()}}

    # saved at every step; nothing is logged before it is over
    with pytest.raises(TrainingError, match=r"not finite at step .*of before.*lower learning rate"):
        trainer(tmp_path, Diverges(), checkpoint_minutes=0.0, log_every=10**6).run()
    state = torch.load(tmp_path / "state.pt")
    assert 60 < state["step"] <= 120
    assert torch.isfinite(state["agent"]["actor"]["weights"]).all()


def test_a_replay_that_is_gone_is_told_at_a_resume(tmp_path):
    trainer(tmp_path, total=160).run()
    rmtree(tmp_path / "replay")
    with pytest.warns(UserWarning, match="holds nothing that was saved: the run goes on from step"):
        assert len(trainer(tmp_path, total=300, resume=True).replay) == 0


def test_the_best_return_outlives_a_stop(tmp_path):
    """Else the first evaluation of a resumed run can never be a rise over a still picture."""
    first = trainer(tmp_path, relabel=brightness, total=160)
    first.run()
    again = trainer(tmp_path, relabel=brightness, total=400, resume=True)
    assert again._best == first._best > 0


def test_progress_is_shown_from_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("viper_gym.agents.trainer.SHOWN_EVERY", 0.0)
    run, seen = trainer(tmp_path, total=90, log_every=1000), []
    run._on_progress = lambda step, total, metrics: seen.append((step, bool(metrics)))
    run.run()
    assert seen[0] == (0, False) and (3, False) in seen and seen[-1] == (90, True)

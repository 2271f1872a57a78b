"""DreamerV3: filtering, what gradients reach, players, restarts, and a reward found from pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from dot_env import SIZE, Dot
from viper_gym.agents.dreamer.actor_critic import Trajectory
from viper_gym.agents.dreamer.agent import Dreamer
from viper_gym.agents.dreamer.config import DreamerConfig
from viper_gym.agents.dreamer.networks import Decoder, Encoder, stages
from viper_gym.agents.dreamer.rssm import State
from viper_gym.agents.replay import ReplayConfig, SequenceBatch
from viper_gym.agents.trainer import Trainer, TrainerConfig
from viper_gym.errors import TrainingError

TINY = DreamerConfig(size="tiny", batch_size=4, batch_length=8, imag_horizon=5)


def batch(seed: int = 0, size: int = 4, length: int = 8, actions: int = 2) -> SequenceBatch:
    rng = np.random.default_rng(seed)
    first = np.zeros((size, length), bool)
    first[0, 0] = first[1, 3] = True
    acted = rng.uniform(-1, 1, (size, length, actions)).astype(np.float32)
    rewards = rng.normal(size=(size, length)).astype(np.float32)
    terminal = np.zeros((size, length), bool)
    terminal[1, 2] = True
    frames = rng.integers(0, 255, (size, length, SIZE, SIZE, 3)).astype(np.uint8)
    return SequenceBatch(frames, acted, rewards, terminal, first)


def agent(config: DreamerConfig = TINY, **options) -> Dreamer:
    return Dreamer((SIZE, SIZE, 3), 2, config=config, **options)


def test_pictures_of_other_sizes_and_shapes():
    for size in ((64, 64), (16, 16), (96, 96), (64, 128)):
        encoder = Encoder(size, 4)
        features = encoder(torch.rand(2, 3, *size))
        assert features.shape == (2, encoder.width)
        assert Decoder(7, size, 4)(torch.rand(2, 7)).shape == (2, 3, *size)
    assert stages((64, 64)) == 4
    with pytest.raises(ValueError, match="64x64; got 30x64"):
        Encoder((30, 64), 4)


def test_filtering_does_not_see_the_future_and_forgets_at_the_start_of_an_episode():
    """States before a changed step stay; those after the next `first` do too."""
    dreamer = agent()
    data = dreamer._to_device(batch())

    def states(change: bool) -> State:
        frames = data.frames.clone()
        if change:
            frames[1, 1] += 0.5
        embedded = dreamer.model.encoder(frames.flatten(0, 1)).unflatten(0, (4, 8))
        generator = torch.Generator().manual_seed(0)
        return dreamer.model.rssm.observe(embedded, data.actions, data.first, generator)[0]

    with torch.no_grad():
        one, two = states(False), states(True)
    same = (one.features == two.features).all(-1)
    assert same[[0, 2, 3]].all()
    assert same[1].tolist() == [True, False, False] + [True] * 5


def test_the_step_into_an_episode_and_its_action_do_not_count():
    dreamer, b = agent(), batch()
    other = b._replace(actions=b.actions.copy())
    other.actions[1, 3] = 9.0
    log = []
    for data in (b, other):
        dreamer._generator.manual_seed(1)
        log.append(dreamer.model.loss(dreamer._to_device(data), dreamer._generator)[0].item())
    assert log[0] == log[1]


def test_a_player_filters_as_training_does():
    """Same frames, actions and noise: the state of the player is that of `observe`."""
    dreamer = agent()
    row = SequenceBatch(*(x[:1] for x in batch()))
    data, frames = dreamer._to_device(row), row.frames[0]
    dreamer.model.rssm._mix = 0.0
    with torch.no_grad():  # certain latents: nothing is left to chance
        dreamer.model.rssm.posterior_logits.weight.mul_(1e6)
    player = dreamer.player(1, deterministic=True)
    acted = []
    for t in range(8):
        acted.append(player(frames[t : t + 1], np.array([t == 0])))
    led = torch.from_numpy(np.stack([np.zeros((1, 2), np.float32), *acted[:-1]], 1))
    with torch.no_grad():
        embedded = dreamer.model.encoder(data.frames[0])[None]
        states, _, _ = dreamer.model.rssm.observe(embedded, led, data.first)
    assert torch.allclose(player._state.features, states.features[:, -1], atol=1e-4)


def test_each_loss_moves_its_own_networks():
    dreamer = agent(DreamerConfig(**{**vars(TINY), "bonus": "disagreement"}))
    data = dreamer._to_device(batch())
    loss, _, _ = dreamer.model.loss(data, dreamer._generator)
    loss.backward()
    assert all(p.grad is not None for p in dreamer.model.parameters())
    parts = dreamer._parts()
    others = [p for name, part in parts.items() if name != "model" for p in part.parameters()]
    assert all(p.grad is None for p in others)
    dreamer._step = lambda name, loss: loss.backward() if name == "actor" else None
    for part in parts.values():
        part.zero_grad()
    dreamer.update(batch())
    assert all(p.grad is None for p in [*dreamer.model.parameters(), *dreamer.bonus.parameters()])
    assert any(p.grad.abs().sum() > 0 for p in dreamer.actor.parameters())
    assert all(p.requires_grad for p in dreamer.model.parameters())


def test_the_bonus_is_of_actions_as_the_world_takes_them():
    """An actor is trained through it, and would be paid for actions that the bounds cut."""
    dreamer = agent(DreamerConfig(**{**vars(TINY), "bonus": "disagreement"}))
    data = dreamer._to_device(batch())
    _, state, _ = dreamer.model.loss(data, dreamer._generator)
    features = torch.randn(3, 5, state.features.shape[-1])

    def bonus(actions):
        imagined = Trajectory(features, actions, torch.ones(3, 5))
        return dreamer._rewards(imagined)["bonus"]

    inside = torch.full((3, 5, 2), 0.5)
    assert torch.allclose(bonus(inside.sign()), bonus(2 * inside.sign()), atol=1e-6)
    assert not torch.allclose(bonus(inside), bonus(inside.sign()), atol=1e-4)


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("bonus", ["none", "disagreement"])
def test_updates_are_the_same_for_the_same_seed_and_after_a_restart(discrete, bonus):
    config = DreamerConfig(**{**vars(TINY), "bonus": bonus})
    b, c = batch(), batch(seed=1)
    if discrete:
        b, c = (
            x._replace(actions=np.eye(2, dtype=np.float32)[x.actions.argmax(-1)]) for x in (b, c)
        )
    one, two, three = (agent(config, seed=s, discrete=discrete) for s in (1, 1, 2))
    one.update(b)
    two.update(b)
    three.load_state_dict(one.state_dict())
    results = [a.update(c) for a in (one, two, three)]
    assert results[0] == results[1] == results[2]
    assert all(np.isfinite(v) for v in results[0].values())
    assert ("behaviour/bonus" in results[0]) == (bonus == "disagreement")


def test_the_slow_critic_follows():
    dreamer = agent()
    critic = dreamer.critics["reward"]
    before = [p.clone() for p in critic.slow.parameters()]
    dreamer.update(batch())
    fast = list(critic.network.parameters())
    for old, new, parameter in zip(before, critic.slow.parameters(), fast, strict=True):
        assert torch.allclose(new, old + 0.02 * (parameter - old), atol=1e-7)


def test_bf16_is_close():
    losses = [agent(precision=p).update(batch())["model/image_loss"] for p in ("fp32", "bf16")]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_what_is_imagined_is_shown_below_what_was(tmp_path):
    films = {}
    t = trainer(tmp_path, total=240, eval_every=240)
    t._film = lambda frames, stem: films.update({stem.name: frames})
    t.run()
    film = films["imagined_00000240"]
    assert film.shape == (16, 2 * SIZE, 4 * SIZE, 3) and film.dtype == np.uint8
    real, dream = film[:, :SIZE], film[:, SIZE:]
    assert set(np.unique(real)) == {0, 255}  # the dot, as it was
    assert not np.array_equal(real, dream)
    assert films["eval_00000240"].shape[1:] == (SIZE, SIZE, 3)


def test_an_imagined_film_starts_again_where_an_episode_begins():
    made, played = agent(), batch()
    begins = played.first.copy()
    begins[0, 5] = True

    def film(first: np.ndarray, frames: np.ndarray) -> torch.Tensor:
        data = made._to_device(played._replace(first=first, frames=frames))
        return made.model.rollout(data, 3, torch.Generator().manual_seed(0))

    other = played.frames.copy()
    other[:, 5] = 255 - other[:, 5]
    going_on = film(played.first, played.frames)
    assert torch.equal(going_on, film(played.first, other))  # only the first three are seen
    again, differently = film(begins, played.frames), film(begins, other)
    assert torch.equal(again[1:], differently[1:])
    assert not torch.allclose(again[0, 5:], differently[0, 5:])


@pytest.mark.filterwarnings("error")
def test_random_numbers_of_another_device_are_not_taken():
    state = agent().state_dict()
    agent().load_state_dict(state)
    state["generator"] = torch.zeros(16, dtype=torch.uint8)  # as a GPU's are
    with pytest.warns(UserWarning, match="another kind of device than cpu"):
        agent().load_state_dict(state)


@pytest.mark.parametrize("setting", [
    {"imag_horizon": 0}, {"batch_length": 0}, {"ensemble": 0}, {"beta": -1.0}, {"unimix": 2.0},
    {"train_ratio": -1.0}, {"discount": 1.5}, {"discount": 0.0}, {"return_lambda": -0.1},
    {"slow_critic_fraction": 0.0}, {"slow_critic_fraction": 1.1}, {"learning_rate": -1e-4},
])  # fmt: skip
def test_settings_that_train_nothing_are_refused(setting):
    (name,) = setting
    with pytest.raises(TrainingError, match=f"^{name}: expected"):
        replace(TINY, **setting)


def trainer(out, discrete: bool = False, total: int = 400, **changes) -> Trainer:
    options: dict = {"num_envs": 4, "learning_starts": 200, "log_every": 200, "eval_every": 10**6}
    config = TrainerConfig(
        out=out, replay=ReplayConfig(20_000), total_timesteps=total, **{**options, **changes}
    )
    dreamer = DreamerConfig(
        size="tiny", batch_size=8, batch_length=16, train_ratio=32.0, learning_rate=1e-3
    )
    return Trainer(
        config,
        lambda n: SyncVectorEnv([lambda: Dot(discrete)] * n),
        lambda shape, actions: Dreamer(shape, actions.size, actions.discrete, dreamer),
    )


@pytest.mark.parametrize("discrete", [False, True])
def test_a_reward_is_found_from_pixels(tmp_path, discrete):
    t = trainer(tmp_path, discrete, total=3000, eval_every=3000, eval_episodes=4)
    t.run()
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    random, last = lines[0]["train/return"], lines[-1]["eval/return"]
    # at best 4 steps to the middle at full speed, then 1 a step: about 23
    assert random < 14 and last > 18


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path):
    first = trainer(tmp_path, total=400)
    first.run()
    again = trainer(tmp_path, total=600, resume=True)
    assert again.step == 400 and len(again.replay) > 300
    again.run()
    lines = [json.loads(x)["step"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[0] == 200 and lines[-1] == 600
    assert sorted(lines) == lines


def test_learning_waits_until_sequences_fit(tmp_path):
    from viper_gym.errors import ReplayError

    early = trainer(tmp_path, learning_starts=8)
    with pytest.raises(ReplayError, match="too few to sample from"):
        early.agent.sample(early.replay, np.random.default_rng(0))
    learned_at, update = [], early.agent.update

    def noted(batch):
        learned_at.append(early.step)
        return update(batch)

    early.agent.update = noted
    early.run()
    assert learned_at[0] == 4 * (16 + 1)  # steps of all environments


def test_other_actions_are_refused(tmp_path):
    import gymnasium as gym

    class Other(Dot):
        def __init__(self):
            super().__init__()
            self.action_space = gym.spaces.MultiDiscrete([2, 2])

    with pytest.raises(TrainingError, match="MultiDiscrete"):
        Trainer(TrainerConfig(out=tmp_path), lambda n: SyncVectorEnv([Other] * n), lambda *_: None)

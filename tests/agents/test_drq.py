"""DrQ: hand-computed numbers, shifts, and a reward that it must find from pixels."""

import json
from dataclasses import replace
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dot_env import SIZE, Dot
from viper_gym.agents.drq.agent import DrQ, DrQConfig
from viper_gym.agents.drq.networks import Actor, as_images, random_shift, tanh_normal_log_prob
from viper_gym.agents.frame_shape import frame_shape
from viper_gym.agents.replay import Batch, FrameReplay, ReplayConfig
from viper_gym.agents.trainer import Trainer, TrainerConfig
from viper_gym.errors import TrainingError

SMALL = DrQConfig(
    hidden=(64, 64),
    cnn_features=(8, 16),
    cnn_strides=(2, 2),
    latent_dim=16,
    shift=1,
    tau=0.02,
    batch_size=32,
    frame_stack=2,
)


def batch(size: int = 8, seed: int = 0, terminated: float = 0.0) -> Batch:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 255, (2, size, SIZE, SIZE, 6)).astype(np.uint8)
    actions = rng.uniform(-1, 1, (size, 2)).astype(np.float32)
    rewards = rng.normal(size=size).astype(np.float32)
    return Batch(frames[0], actions, rewards, np.full(size, 1 - terminated, np.float32), frames[1])


def agent(config: DrQConfig = SMALL, **options) -> DrQ:
    return DrQ((SIZE, SIZE, 3), 2, config, **options)


def test_no_shift_at_all_is_refused():
    with pytest.raises(TrainingError, match="augmentations: expected more than 0, got 0"):
        agent(replace(SMALL, augmentations=0))
    for none in ({"frame_stack": 0}, {"num_critics": 0}, {"batch_size": 0}):
        with pytest.raises(TrainingError, match="expected more than 0, got 0"):
            agent(replace(SMALL, **none))
    with pytest.raises(ValueError, match="at least one layer"):
        agent(replace(SMALL, cnn_features=(), cnn_strides=()))


@pytest.mark.parametrize("setting", [
    {"updates_per_step": -1.0}, {"shift": -1}, {"gamma": 1.01}, {"gamma": -0.1}, {"tau": 0.0},
    {"tau": 1.5}, {"learning_rate": 0.0}, {"init_temperature": 0.0}, {"gamma": float("nan")},
])  # fmt: skip
def test_settings_that_train_nothing_are_refused_when_they_are_made(setting):
    (name,) = setting
    with pytest.raises(TrainingError, match=f"^{name}: expected"):
        replace(SMALL, **setting)


def test_settings_at_the_ends_of_what_they_may_be():
    ends = replace(SMALL, updates_per_step=0.0, shift=0, gamma=0.0, tau=1.0)
    assert np.isfinite(agent(ends).update(batch())["critic_loss"])
    assert replace(SMALL, gamma=1.0).gamma == 1.0


def test_several_shifts_of_a_picture_share_one_target(monkeypatch):
    """Shifts by nothing are all alike: two of them are worth one, but for the sampled actions."""
    still = replace(SMALL, shift=0)
    losses = [
        agent(replace(still, augmentations=k)).update(batch(terminated=1.0))["critic_loss"]
        for k in (1, 2)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    twice, targets, learned = agent(replace(SMALL, augmentations=2)), [], []
    target, loss = twice._target, F.mse_loss
    monkeypatch.setattr(twice, "_target", lambda *x: targets.append(target(*x)) or targets[-1])
    monkeypatch.setattr(F, "mse_loss", lambda v, t: learned.append(t) or loss(v, t))
    twice.update(batch())
    first, second = targets[0].view(2, 8)
    assert not torch.equal(first, second)  # of other shifts, and other actions
    for member in learned[0]:
        assert torch.allclose(member, ((first + second) / 2).repeat(2))


def test_log_density_of_a_squashed_gaussian():
    """Against the change of variables done by torch, and a number done by hand."""
    mean, log_std = torch.tensor([[0.3, -1.0]]), torch.tensor([[-0.5, 0.2]])
    raw = torch.tensor([[0.1, 2.0]])
    normal = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(
        normal, torch.distributions.transforms.TanhTransform()
    )
    expected = squashed.log_prob(raw.tanh()).sum(-1)
    assert tanh_normal_log_prob(raw, mean, log_std) == pytest.approx(expected, abs=1e-4)
    zero = torch.zeros(1, 1)
    assert tanh_normal_log_prob(zero, zero, zero).item() == pytest.approx(-0.918939, abs=1e-5)


def test_shifts_move_whole_pictures_and_repeat_the_border():
    frames = torch.arange(4 * 6 * 6 * 2).reshape(4, 6, 6, 2)
    assert torch.equal(random_shift(frames, 0), frames)
    generator = torch.Generator().manual_seed(0)
    moved = random_shift(frames.repeat(50, 1, 1, 1), 2, generator)
    padded = torch.from_numpy(np.pad(frames.numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge"))
    seen = set()
    for row in range(200):
        places = [
            (r, c)
            for r in range(5)
            for c in range(5)
            if torch.equal(moved[row], padded[row % 4, r : r + 6, c : c + 6])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == 25


def test_target_of_the_critics_by_hand():
    """A terminated step is worth its reward; others add the discounted, softened next value."""
    drq = agent()
    b = batch(terminated=1.0)
    rewards = torch.from_numpy(b.rewards)
    images = as_images(torch.from_numpy(b.next_observations))
    with torch.no_grad():
        over = drq._target(images, rewards, torch.zeros(8))
        assert torch.equal(over, rewards)
        state = drq._generator.get_state()
        on = drq._target(images, rewards, torch.ones(8))
        drq._generator.set_state(state)
        action, log_prob, _ = drq.actor(drq.encoder(images), drq._generator)
        encoder, critic = drq.target
        value = critic(encoder(images), action).min(0).values - 0.1 * log_prob
    assert on == pytest.approx((rewards + 0.99 * value).numpy(), abs=1e-5)


def test_values_keep_their_digits_where_convolutions_are_bf16():
    """A discounted return of 100 in bf16 is a multiple of 0.5."""
    drq = agent(precision="bf16")
    for member in [*drq.critic.members, *drq.target[1].members]:
        member[-1].bias.data.fill_(100.1)
    b = batch()
    images = as_images(torch.from_numpy(b.next_observations))
    values = drq.critic(drq._features(images), torch.from_numpy(b.actions))
    target = drq._target(images, torch.zeros(8), torch.ones(8))
    for found in (values, target):
        assert found.dtype == torch.float32
        assert (found - found.bfloat16().float()).abs().max() > 0.01


def test_only_the_critics_move_the_encoder_and_the_target_follows_slowly():
    drq = agent()
    before = [p.clone() for p in drq.target.parameters()]
    drq.update(batch())
    online = [*drq.encoder.parameters(), *drq.critic.parameters()]
    for old, new, parameter in zip(before, drq.target.parameters(), online, strict=True):
        assert torch.allclose(new, old + SMALL.tau * (parameter - old), atol=1e-6)
    features = drq.encoder(as_images(torch.from_numpy(batch().observations))).detach()
    drq.encoder.zero_grad()
    drq.actor(features)[1].sum().backward()
    assert all(p.grad is None for p in drq.encoder.parameters())


def test_updates_are_the_same_for_the_same_seed_and_after_a_restart():
    one, two, three = agent(seed=1), agent(seed=1), agent(seed=2)
    one.update(batch())
    two.update(batch())
    three.load_state_dict(one.state_dict())
    results = [a.update(batch(seed=1)) for a in (one, two, three)]
    assert results[0] == results[1] == results[2]
    assert agent(seed=2).update(batch()) != agent(seed=1).update(batch())


def test_actions_are_bounded_and_the_mean_is_repeatable():
    drq = agent()
    frames = batch().observations
    assert np.abs(drq.act(frames)).max() <= 1
    assert not np.array_equal(drq.act(frames), drq.act(frames))
    assert np.array_equal(drq.act(frames, deterministic=True), drq.act(frames, deterministic=True))


def test_a_player_stacks_frames_as_the_replay_does(rng):
    """Two episodes, the second from step 5 on."""
    drq, seen = agent(replace(SMALL, frame_stack=3)), []
    drq.act = lambda stack, deterministic=False: (
        seen.append(stack.copy()) or np.zeros((len(stack), 2), np.float32)
    )
    player, replay = drq.player(1), FrameReplay(ReplayConfig(50), 1, (16, 16, 3), 2)
    frames = rng.integers(0, 255, (9, 1, 16, 16, 3)).astype(np.uint8)
    for t in range(9):
        first = np.array([t in (0, 5)])
        player(frames[t], first)
        replay.add(frames[t], first, np.zeros((1, 2), np.float32), np.zeros(1), np.zeros(1, bool))
    assert np.array_equal(np.concatenate(seen), replay._stacks(np.arange(9), np.zeros(9, int), 3))


def test_players_of_evaluations_do_not_draw(rng):
    drq, frames = agent(), rng.integers(0, 255, (1, 16, 16, 3)).astype(np.uint8)
    for mean in (True, False):
        one, two = (drq.player(1, mean)(frames, np.ones(1, bool)) for _ in range(2))
        assert np.array_equal(one, two) == mean


def test_temperature_rises_where_the_policy_is_too_sure():
    drq = agent()
    before = drq.log_temperature.item()
    with torch.no_grad():
        final = drq.actor.policy[-1]
        final.weight[2:], final.bias[2:] = 0.0, -3.0  # a small standard deviation
    assert isinstance(drq.actor, Actor)
    for _ in range(5):
        drq.update(batch())
    assert drq.log_temperature.item() > before


def config(out, **changes) -> TrainerConfig:
    options = {"total_timesteps": 400, "num_envs": 2, "learning_starts": 100, "log_every": 100}
    options |= {"eval_every": 200, "gradient_steps": 0.5}
    return TrainerConfig(out=out, replay=ReplayConfig(4000), **{**options, **changes})


def trainer(out, **changes) -> Trainer:
    c = config(out, **changes)
    return Trainer(
        c,
        lambda n: SyncVectorEnv([Dot] * n),
        lambda shape, act: DrQ(shape, act.size, SMALL, c.seed),
    )


def test_a_reward_is_found_from_pixels(tmp_path):
    t = trainer(tmp_path, total_timesteps=3000, eval_every=3000, eval_episodes=4, log_every=1000)
    t.run()
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    random, last = lines[0]["train/return"], lines[-1]["eval/return"]
    # at best 8 steps to the middle at full speed, then 1 a step: 21.4
    assert random < 12 and last > 18


class Ends(RuntimeError):
    pass


def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path):
    def stop(step, total, metrics):
        if step >= 300:
            raise Ends

    broken = trainer(tmp_path, checkpoint_minutes=0.0)  # after every step
    broken._on_progress = stop
    with pytest.raises(Ends):
        broken.run()
    again = trainer(tmp_path, resume=True)
    assert 290 <= again.step <= 300
    assert len(again.replay) > 250
    again.run()
    lines = [json.loads(x)["step"] for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [100, 200, 200, 300, 400, 400]
    assert again.step == 400


def test_resume_under_other_settings_is_refused(tmp_path):
    first = trainer(tmp_path)
    first.save()
    with pytest.raises(TrainingError, match=r"gradient_steps=0.5 \(now 2.0\)"):
        trainer(tmp_path, resume=True, gradient_steps=2.0)


@pytest.mark.parametrize("content", [b"nothing of the kind", b"", {"other": 1}])
def test_a_damaged_or_foreign_checkpoint_is_named(tmp_path, content):
    trainer(tmp_path).save()
    if isinstance(content, bytes):
        (tmp_path / "state.pt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match=r"state\.pt is damaged or foreign"):
        trainer(tmp_path, resume=True)


def test_without_resume_an_old_replay_is_not_taken_over(tmp_path):
    t = trainer(tmp_path, total_timesteps=120)
    t.run()
    assert len(t.replay) > 100
    assert len(trainer(tmp_path).replay) == 0


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    t = trainer(tmp_path, total_timesteps=120)
    t.run()
    good = (tmp_path / "state.pt").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"No space left.*intact"):
        t.save()
    assert (tmp_path / "state.pt").read_bytes() == good
    (tmp_path / "state.pt").unlink()
    with pytest.raises(TrainingError, match=r"No space left.*No checkpoint was written yet"):
        t.save()


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (2,)), r"pictures.*pixels.*AddRender"),
        (
            gym.spaces.Box(0, 255, (8, 8, 1), np.uint8),
            gym.spaces.Box(-1, 1, (2,)),
            r"colour.*obs_type",
        ),
        (gym.spaces.Box(0, 255, (8, 8, 3), np.uint8), gym.spaces.MultiBinary(3), "continuous"),
    ],
)
def test_environments_that_do_not_fit_are_refused(tmp_path, observation, action, message):
    class Other(Dot):
        def __init__(self):
            self.observation_space, self.action_space = observation, action

    with pytest.raises(TrainingError, match=message):
        Trainer(config(tmp_path), lambda n: SyncVectorEnv([Other] * n), lambda *_: agent())


def test_another_autoreset_mode_is_refused(tmp_path):
    def same_step(n):
        return SyncVectorEnv([Dot] * n, autoreset_mode=AutoresetMode.SAME_STEP)

    with pytest.raises(TrainingError, match=r"got .*SAME_STEP.*gym.make_vec.*vector_kwargs"):
        Trainer(config(tmp_path), same_step, lambda *_: agent())


class ByState(Dot):
    """Shows where its dot is in numbers, and its picture when it is asked to render."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, render_mode=None):
        super().__init__()
        self.observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        self.render_mode = render_mode

    def reset(self, **kwargs):
        super().reset(**kwargs)
        return np.array([self.x], np.float32), {}

    def render(self):
        return self._picture()


def test_environments_that_are_made_as_the_errors_say_are_taken(monkeypatch):
    monkeypatch.setattr(gym.envs.registration, "registry", dict(gym.registry))
    gym.register("ByState-v0", ByState)
    bare = partial(gym.make_vec, "ByState-v0", 1, vectorization_mode="sync")
    drawn = partial(bare, render_mode="rgb_array", wrappers=[gym.wrappers.AddRenderObservation])
    same, next_step = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP
    assert frame_shape(drawn(vector_kwargs={"autoreset_mode": next_step})) == (SIZE, SIZE, 3)
    with pytest.raises(TrainingError, match="SAME_STEP"):
        frame_shape(drawn(vector_kwargs={"autoreset_mode": same}))
    with pytest.raises(TrainingError, match="AddRenderObservation"):
        frame_shape(bare())


def test_strides_must_be_as_many_as_layers():
    with pytest.raises(ValueError, match="2 layers need as many strides, got"):
        DrQ((SIZE, SIZE, 3), 1, DrQConfig(cnn_features=(4, 4), cnn_strides=(2, 1, 1)))
    finer = DrQ((SIZE, SIZE, 3), 1, DrQConfig(cnn_features=(4, 4), cnn_strides=(2, 1)))
    assert finer.encoder.width == 4 * (SIZE // 2) ** 2

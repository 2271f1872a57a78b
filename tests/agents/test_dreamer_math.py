"""The formulas of DreamerV3 against numbers done by hand, and against torch's distributions."""

import math

import numpy as np
import pytest
import torch

from viper_gym.agents.dreamer.actor_critic import Actor, Critic, Trajectory, actor_loss
from viper_gym.agents.dreamer.config import DreamerConfig
from viper_gym.agents.dreamer.distributions import (
    TwoHot,
    categorical_entropy,
    categorical_kl,
    sample_one_hot,
    symexp,
    symlog,
    unimix,
)
from viper_gym.agents.dreamer.networks import MLP, Decoder, Encoder, Norm
from viper_gym.agents.dreamer.plan2explore import LatentDisagreement
from viper_gym.agents.dreamer.returns import ReturnScale, lambda_return
from viper_gym.agents.dreamer.rssm import RSSM


def test_layers_add_a_thousandth_to_variances():
    """As the authors' Norm does; of features that hardly vary, most of the size hangs on it."""
    x = torch.tensor([[0.1, -0.1]])  # variance 0.01
    expected = 0.1 / math.sqrt(0.011)
    assert Norm(2)(x)[0].tolist() == pytest.approx([expected, -expected])
    rssm = RSSM(actions=2, embedding=8, deter=4, units=4, stoch=2, classes=2)
    parts = [*rssm.modules(), *MLP(3, 4, 2, 1).modules(), *Encoder((16, 16), 2).modules()]
    parts += Decoder(3, (16, 16), 2).modules()
    norms = [part for part in parts if isinstance(part, torch.nn.LayerNorm)]
    assert len(norms) == 4 + 2 + 2 + 1 and {norm.eps for norm in norms} == {1e-3}


def test_symlog_by_hand_and_back():
    x = torch.tensor([-1000.0, -1.0, 0.0, 0.5, math.e - 1])
    assert symlog(x)[[1, 2, 4]].tolist() == pytest.approx([-math.log(2), 0.0, 1.0])
    assert symexp(symlog(x)) == pytest.approx(x.numpy(), rel=1e-5)


def test_two_hot_by_hand():
    """Points -2 … 2 in symlog space; symexp(0.25) lies a quarter of the way from 0 to 1."""
    two_hot = TwoHot(bins=5, limit=2.0)
    weights = two_hot.encode(symexp(torch.tensor([0.25, -2.0, 2.0, 9.0])))
    assert weights[0].tolist() == pytest.approx([0, 0, 0.75, 0.25, 0], abs=1e-6)
    assert weights[1].tolist() == pytest.approx([1, 0, 0, 0, 0], abs=1e-6)
    assert weights[2].tolist() == weights[3].tolist() == pytest.approx([0, 0, 0, 0, 1], abs=1e-6)
    logits = weights[:1].clamp(min=1e-9).log()
    assert two_hot.mean(logits).item() == pytest.approx(math.expm1(0.25), abs=1e-5)
    uniform = two_hot.log_prob(torch.zeros(1, 5), torch.tensor([0.7]))
    assert uniform.item() == pytest.approx(-math.log(5))


def test_two_hot_keeps_numbers_over_many_orders():
    x = torch.tensor([-3e4, -7.3, -1e-3, 0.0, 0.4, 12.0, 5e5])
    two_hot = TwoHot()
    assert two_hot.mean(two_hot.encode(x).clamp(min=1e-30).log()) == pytest.approx(
        x.numpy(), rel=0.01, abs=1e-4
    )


def test_lambda_returns_by_hand():
    rewards = torch.tensor([[1.0], [2.0], [3.0]])
    values = torch.tensor([[10.0], [20.0], [30.0], [40.0]])
    discounts = torch.tensor([[0.5], [0.5], [0.5]])
    # R2 = 3 + .5 (.5 * 40 + .5 * 40) = 23; R1 = 2 + .5 (.5 * 30 + .5 * 23) = 15.25
    # R0 = 1 + .5 (.5 * 20 + .5 * 15.25) = 9.8125
    half = lambda_return(rewards, values, discounts, 0.5)
    assert half[:, 0].tolist() == pytest.approx([9.8125, 15.25, 23.0])
    one_step = lambda_return(rewards, values, discounts, 0.0)
    assert one_step[:, 0].tolist() == pytest.approx([11.0, 17.0, 23.0])
    over = lambda_return(rewards, values, torch.tensor([[0.5], [0.0], [0.5]]), 1.0)
    assert over[:, 0].tolist() == pytest.approx([2.0, 2.0, 23.0])  # nothing behind the end


def test_scale_is_the_slow_range_of_percentiles_and_at_least_one():
    scale = ReturnScale(decay=0.5)
    returns = torch.arange(101.0)
    assert scale.update(returns).item() == pytest.approx(45.0)  # half of 95 - 5
    assert scale.update(returns).item() == pytest.approx(67.5)
    assert ReturnScale(decay=0.5).update(torch.full((9,), 7.0)).item() == 1.0


def test_unimix_keeps_a_share_of_the_uniform():
    log_probs = unimix(torch.tensor([[100.0, 0.0, 0.0, 0.0]]), 0.04)
    assert log_probs.exp()[0].tolist() == pytest.approx([0.97, 0.01, 0.01, 0.01])


def test_divergence_and_entropy_equal_torchs():
    generator = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 6, 3, 5, generator=generator).log_softmax(-1)
    categorical = torch.distributions.Categorical
    expected = torch.distributions.kl_divergence(categorical(logits=p), categorical(logits=q))
    assert torch.allclose(categorical_kl(p, q), expected.sum(-1), atol=1e-5)
    assert torch.allclose(categorical_entropy(p), categorical(logits=p).entropy(), atol=1e-5)


def test_samples_follow_the_probabilities_and_pass_gradients_straight_through():
    logits = torch.tensor([0.5, -0.5, 1.0], requires_grad=True)
    log_probs = logits.log_softmax(-1)
    generator = torch.Generator().manual_seed(0)
    drawn = sample_one_hot(log_probs.expand(20_000, 3), generator)
    assert drawn.mean(0).tolist() == pytest.approx(log_probs.exp().tolist(), abs=0.02)
    assert set(drawn.detach().sum(-1).tolist()) == {1.0}
    weights = torch.tensor([1.0, 2.0, 4.0])
    (got,) = torch.autograd.grad((sample_one_hot(log_probs) * weights).sum(), logits)
    fresh = logits.detach().clone().requires_grad_(True)
    (expected,) = torch.autograd.grad((fresh.softmax(-1) * weights).sum(), fresh)
    assert got == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("discrete", [False, True])
def test_policies_density_entropy_and_bounds(discrete):
    actor = Actor(4, 3, discrete, units=8, layers=1)
    features = torch.randn(50, 4)
    choice = actor(features, 0.01, torch.Generator().manual_seed(0))
    log_prob = actor.log_prob(features, choice.sampled, 0.01)
    outputs = actor.network(features)
    if discrete:
        expected = torch.distributions.Categorical(logits=unimix(outputs, 0.01))
        assert torch.allclose(log_prob, expected.log_prob(choice.sampled.argmax(-1)), atol=1e-5)
        assert torch.allclose(choice.entropy, expected.entropy(), atol=1e-5)
        return
    mean, std = actor._normal(outputs)
    normal = torch.distributions.Normal(mean, std)
    assert torch.allclose(log_prob, normal.log_prob(choice.sampled).sum(-1), atol=1e-4)
    assert torch.allclose(choice.entropy, normal.entropy().sum(-1), atol=1e-5)
    assert choice.mode.abs().max() <= 1 and 0.1 <= std.min() and std.max() <= 1.0


def test_components_are_scaled_apart_and_averaged():
    """Two components with returns of very different size enter by their weights alone."""
    config = DreamerConfig(size="tiny", entropy_scale=0.0, return_lambda=1.0)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 200, 5, generator=generator)
    trajectory = Trajectory(features, torch.zeros(4, 200, 2), torch.ones(4, 200))
    actor = Actor(5, 2, False, 8, 1)
    rewards = torch.randn(3, 200, generator=generator).requires_grad_(True)

    def gradient(scales: dict[str, float], sizes: dict[str, float]) -> np.ndarray:
        critics = {k: Critic(5, 8, 1, config) for k in scales}  # values are 0 at first
        for critic in critics.values():
            critic.scale = ReturnScale(decay=0.0)
        parts = {k: rewards * sizes[k] for k in scales}
        loss, _, _, _ = actor_loss(actor, critics, scales, trajectory, parts, config)
        return torch.autograd.grad(loss, rewards)[0].numpy()

    alone = gradient({"reward": 1.0}, {"reward": 1e4})
    both = gradient({"reward": 1.0, "bonus": 3.0}, {"reward": 1e4, "bonus": 1e6})
    against = gradient({"reward": 1.0, "bonus": 3.0}, {"reward": 1e4, "bonus": -1e6})
    assert both == pytest.approx(alone, rel=1e-3)
    assert against == pytest.approx(-0.5 * alone, rel=1e-3)  # (1 - 3) / (1 + 3)


def test_states_behind_an_end_do_not_count():
    config = DreamerConfig(size="tiny", entropy_scale=0.0)
    continues = torch.ones(4, 2)
    continues[1, 1] = 0.0
    trajectory = Trajectory(torch.zeros(4, 2, 5), torch.zeros(4, 2, 2), continues)
    rewards = {"reward": torch.ones(3, 2)}
    critics = {"reward": Critic(5, 8, 1, config)}
    actor = Actor(5, 2, False, 8, 1)
    _, returns, reached, _ = actor_loss(
        actor, critics, {"reward": 1.0}, trajectory, rewards, config
    )
    g = config.discount
    assert reached[:, 0].tolist() == pytest.approx([1.0, g, g * g])
    assert reached[:, 1].tolist() == [1.0, 0.0, 0.0]
    assert returns["reward"][0, 1].item() == pytest.approx(1.0)


def test_disagreement_fades_where_it_learned_and_not_elsewhere():
    torch.manual_seed(0)
    bonus = LatentDisagreement(features=3, actions=1, latents=4, members=5, units=32)
    optimizer = torch.optim.Adam(bonus.parameters(), 1e-3)
    features = torch.randn(16, 9, 3)
    features[..., 0] = features[..., 0].abs()  # half of the space is never seen
    latents = torch.cat([features, features[..., :1] ** 2], -1)
    actions, first = torch.zeros(16, 9, 1), torch.zeros(16, 9, dtype=torch.bool)
    for _ in range(300):
        optimizer.zero_grad()
        bonus.loss(features, actions, first, latents.roll(-1, 1)).backward()
        optimizer.step()
    seen = bonus(features[:, :-1], actions[:, 1:])
    unseen = bonus(features[:, :-1] * torch.tensor([-5.0, 1.0, 1.0]), actions[:, 1:])
    assert seen.shape == (16, 8)
    assert unseen.mean() > 2 * seen.mean()


def test_the_ensembles_error_is_summed_over_members_and_dimensions():
    bonus = LatentDisagreement(2, 1, 4, 3, 8)
    for parameter in bonus.parameters():
        parameter.data.zero_()  # every member predicts 0
    features, actions, first = torch.zeros(1, 2, 2), torch.zeros(1, 2, 1), torch.zeros(1, 2).bool()
    assert bonus.loss(features, actions, first, torch.full((1, 2, 4), 2.0)).item() == 3 * 4 * 4.0


def test_disagreement_does_not_learn_across_episodes():
    bonus = LatentDisagreement(2, 1, 2, 3, 8)
    features, actions = torch.randn(1, 3, 2), torch.zeros(1, 3, 1)
    first = torch.tensor([[False, True, False]])
    other = torch.randn(1, 3, 2)
    latents = other.clone()
    latents[:, 1] += 100.0  # what an episode begins with
    losses = [bonus.loss(features, actions, first, x) for x in (other, latents)]
    assert losses[0] == losses[1]

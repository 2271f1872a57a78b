"""Actor and critics that learn on imagined trajectories (DreamerV3, eq. 7-12)."""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from viper_gym.agents.dreamer.config import DreamerConfig
from viper_gym.agents.dreamer.distributions import (
    BINS,
    TwoHot,
    categorical_entropy,
    sample_one_hot,
    unimix,
)
from viper_gym.agents.dreamer.networks import MLP
from viper_gym.agents.dreamer.returns import ReturnScale, lambda_return

STD = (0.1, 1.0)  # of continuous policies


class Trajectory(NamedTuple):
    """Imagined from every state of a batch; gradients run from states back to actions."""

    features: Tensor  # (H + 1, N, D)
    actions: Tensor  # (H + 1, N, A), taken in the states
    continues: Tensor  # (H + 1, N), 0 where the state ends the episode


class Choice(NamedTuple):
    """What a policy does in some states."""

    sampled: Tensor  # (…, A); a one-hot row where actions are discrete
    mode: Tensor  # (…, A)
    entropy: Tensor  # (…), nats


class Actor(nn.Module):
    """Normal actions about a squashed mean, or one of A classes: features (…, D) -> actions."""

    def __init__(self, features: int, actions: int, discrete: bool, units: int, layers: int):
        super().__init__()
        self.discrete = discrete
        self.network = MLP(features, units, layers, actions * (1 if discrete else 2))

    def forward(
        self, features: Tensor, mix: float, generator: torch.Generator | None = None
    ) -> Choice:
        outputs = self.network(features)
        if self.discrete:
            log_probs = unimix(outputs, mix)
            mode = nn.functional.one_hot(log_probs.argmax(-1), log_probs.shape[-1]).float()
            return Choice(
                sample_one_hot(log_probs, generator), mode, categorical_entropy(log_probs)
            )
        mean, std = self._normal(outputs)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        entropy = (0.5 * math.log(2 * math.pi * math.e) + std.log()).sum(-1)
        return Choice(mean + std * noise, mean, entropy)

    def log_prob(self, features: Tensor, actions: Tensor, mix: float) -> Tensor:
        """Of given actions: (…), nats."""
        outputs = self.network(features)
        if self.discrete:
            return (unimix(outputs, mix) * actions).sum(-1)
        mean, std = self._normal(outputs)
        scaled = (actions - mean) / std
        return (-0.5 * scaled.square() - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    @staticmethod
    def _normal(outputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = outputs.chunk(2, -1)
        low, high = STD
        return mean.tanh(), (high - low) * torch.sigmoid(raw + 2.0) + low


class Critic(nn.Module):
    """Returns as a two-hot distribution, and a slow copy that holds it back."""

    def __init__(self, features: int, units: int, layers: int, config: DreamerConfig):
        super().__init__()
        self._config = config
        self.network = MLP(features, units, layers, BINS, scale=0.0)
        self.slow = copy.deepcopy(self.network).requires_grad_(False)
        self.scale = ReturnScale()
        self.two_hot = TwoHot()

    def values(self, features: Tensor) -> Tensor:
        """Expected returns: (…, D) -> (…)."""
        return self.two_hot.mean(self.network(features))

    def loss(self, features: Tensor, returns: Tensor, weights: Tensor) -> Tensor:
        """Cross-entropy to the returns, and to what the slow copy expects: ().

        Args:
            features: (H, N, D); returns, weights: (H, N).
        """
        logits = self.network(features)
        with torch.no_grad():
            slow = self.two_hot.mean(self.slow(features))
        nats = -self.two_hot.log_prob(logits, returns) - self.two_hot.log_prob(logits, slow)
        return (nats * weights).mean()

    @torch.no_grad()
    def follow(self) -> None:
        """Move the slow copy a little."""
        pairs = zip(self.slow.parameters(), self.network.parameters(), strict=True)
        for slow, fast in pairs:
            slow.lerp_(fast, self._config.slow_critic_fraction)


def actor_loss(
    actor: Actor,
    critics: dict[str, Critic],
    weights: dict[str, float],
    trajectory: Trajectory,
    rewards: dict[str, Tensor],
    config: DreamerConfig,
) -> tuple[Tensor, dict[str, Tensor], Tensor, dict[str, float]]:
    """What the actor minimises, and what the critics learn.

    Every component of the reward has its own critic and its own scale; the actor follows the
    weighted mean of the scaled advantages (the authors' way of adding a bonus with weight β).

    Args:
        rewards: each (H, N), of the step from state t to t + 1.

    Returns:
        The actor's loss (), returns (H, N) of each component, weights of the states (H, N), log.
    """
    discounts = config.discount * trajectory.continues  # (H + 1, N)
    reached = (discounts.cumprod(0) / config.discount).detach()[:-1]  # how likely, discounted
    log: dict[str, float] = {}
    returns: dict[str, Tensor] = {}
    advantage = torch.zeros_like(reached)
    for name, critic in critics.items():
        values = critic.values(trajectory.features)
        returns[name] = lambda_return(rewards[name], values, discounts[1:], config.return_lambda)
        scale = critic.scale.update(returns[name])
        share = weights[name] / sum(weights.values())
        advantage = advantage + share * (returns[name] - values[:-1]) / scale
        log[f"behaviour/{name}"] = float(rewards[name].detach().mean())
        log[f"behaviour/{name}_value"] = float(returns[name].detach().mean())
        log[f"behaviour/{name}_scale"] = float(scale)
    features = trajectory.features[:-1].detach()
    choice = actor(features, config.unimix)
    if actor.discrete:
        log_prob = actor.log_prob(features, trajectory.actions[:-1].detach(), config.unimix)
        objective = log_prob * advantage.detach()
    else:  # straight through the model
        objective = advantage
    loss = -((objective + config.entropy_scale * choice.entropy) * reached).mean()
    log["behaviour/entropy"] = float(choice.entropy.detach().mean())
    log["behaviour/advantage"] = float(advantage.detach().abs().mean())
    return loss, {k: v.detach() for k, v in returns.items()}, reached, log

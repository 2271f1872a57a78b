"""The world model: pictures to latent states, and what follows from them (DreamerV3, eq. 3-6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viper_gym.agents.dreamer.config import DreamerConfig, Widths
from viper_gym.agents.dreamer.distributions import BINS, TwoHot, categorical_entropy, categorical_kl
from viper_gym.agents.dreamer.networks import MLP, Decoder, Encoder
from viper_gym.agents.dreamer.rssm import RSSM, State


class Sequences(NamedTuple):
    """A batch on the device; step t holds a picture and what led to it."""

    frames: Tensor  # float (B, T, 3, H, W) in 0…1
    actions: Tensor  # float (B, T, A)
    rewards: Tensor  # float (B, T)
    terminal: Tensor  # bool (B, T)
    first: Tensor  # bool (B, T)


class WorldModel(nn.Module):
    """Encoder, RSSM, and heads for picture, reward and whether the episode goes on."""

    def __init__(self, size: tuple[int, int], actions: int, widths: Widths, config: DreamerConfig):
        super().__init__()
        w = widths
        self._config = config
        self.encoder = Encoder(size, w.cnn_depth)
        self.rssm = RSSM(
            actions, self.encoder.width, w.deter, w.units, w.stoch, w.classes, config.unimix
        )
        self.width = w.deter + w.stoch * w.classes
        """of a state's features"""
        self.decoder = Decoder(self.width, size, w.cnn_depth)
        self.reward = MLP(self.width, w.units, w.layers, BINS, scale=0.0)
        self.going_on = MLP(self.width, w.units, w.layers, 1)
        self.two_hot = TwoHot()

    def loss(
        self, batch: Sequences, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State, dict[str, float]]:
        """Loss (), states (B, T, …) and figures for the log: nats, and squared error a frame."""
        c = self._config
        B, T = batch.first.shape
        embeddings = self.encoder(batch.frames.flatten(0, 1)).unflatten(0, (B, T))
        states, posterior, prior = self.rssm.observe(
            embeddings, batch.actions, batch.first, generator
        )
        features = states.features  # (B, T, width)
        pictures = self.decoder(features.flatten(0, 1)).unflatten(0, (B, T))
        on = self.going_on(features)[..., 0]
        losses = {
            "image": (pictures - batch.frames).square().sum((2, 3, 4)),
            "reward": -self.two_hot.log_prob(self.reward(features), batch.rewards),
            "continue": F.binary_cross_entropy_with_logits(
                on, (~batch.terminal).float(), reduction="none"
            ),
            "dynamics": c.dynamics_scale
            * categorical_kl(posterior.detach(), prior).clamp(min=c.free_nats),
            "representation": c.representation_scale
            * categorical_kl(posterior, prior.detach()).clamp(min=c.free_nats),
        }  # each (B, T)
        total = torch.stack([loss.mean() for loss in losses.values()]).sum()
        log = {f"model/{name}_loss": float(loss.detach().mean()) for name, loss in losses.items()}
        with torch.no_grad():
            log["model/kl"] = float(categorical_kl(posterior, prior).mean())
            log["model/posterior_entropy"] = float(categorical_entropy(posterior).sum(-1).mean())
        return total, states, log

    def rewards(self, features: Tensor) -> Tensor:
        """Expected reward on arrival in the states: (…, width) -> (…)."""
        return self.two_hot.mean(self.reward(features))

    def continues(self, features: Tensor) -> Tensor:
        """1 where the episode is more likely to go on than not: (…, width) -> float (…)."""
        return (self.going_on(features)[..., 0] > 0).float()

    @torch.no_grad()
    def rollout(
        self, batch: Sequences, seen: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Pictures (B, T, 3, H, W): the first `seen` reconstructed, the rest imagined.

        Where an episode begins its first picture is reconstructed: nothing before tells of it.
        """
        B, T = batch.first.shape
        embeddings = self.encoder(batch.frames.flatten(0, 1)).unflatten(0, (B, T))
        states, _, _ = self.rssm.observe(
            embeddings[:, :seen], batch.actions[:, :seen], batch.first[:, :seen], generator
        )
        state = State(states.deter[:, -1], states.stoch[:, -1])
        features = [states.features]
        for t in range(seen, T):
            going_on = self.rssm.imagine(state, batch.actions[:, t], generator)
            begun = self.rssm.see(
                self.rssm.initial(B), batch.actions[:, t], embeddings[:, t], generator
            )
            begins = batch.first[:, t, None]
            state = State(
                torch.where(begins, begun.deter, going_on.deter),
                torch.where(begins, begun.stoch, going_on.stoch),
            )
            features.append(state.features[:, None])
        flat = torch.cat(features, 1).flatten(0, 1)
        return self.decoder(flat).unflatten(0, (B, T)).clamp(0, 1)

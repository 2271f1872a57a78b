"""Recurrent state-space model: a deterministic path, and categorical latents on it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from viper_gym.agents.dreamer.distributions import sample_one_hot, unimix
from viper_gym.agents.dreamer.networks import Norm, NormAct, init_weights


class State(NamedTuple):
    """Where the model is. Leading dimensions are free: (B,), (B, T) or (H, B)."""

    deter: Tensor  # (…, D)
    stoch: Tensor  # (…, S * K), S one-hot latents of K classes

    @property
    def features(self) -> Tensor:
        """What heads read: (…, D + S * K)."""
        return torch.cat([self.deter, self.stoch], -1)

    def detach(self) -> State:
        return State(self.deter.detach(), self.stoch.detach())


def bounded(actions: Tensor) -> Tensor:
    """Actions as the environment takes them: those out of -1…1 are shortened, with gradients."""
    return actions / actions.detach().abs().clamp(min=1.0)


class RSSM(nn.Module):
    """p(z_t | h_t), q(z_t | h_t, x_t) and h_t = f(h_{t-1}, z_{t-1}, a_{t-1}) (DreamerV3, eq. 3).

    Args:
        actions: A.
        embedding: width of an encoded picture.
        deter, units, stoch, classes: D, hidden width, S and K.
        mix: share of a uniform distribution in every latent.
    """

    def __init__(
        self,
        actions: int,
        embedding: int,
        deter: int,
        units: int,
        stoch: int,
        classes: int,
        mix: float = 0.01,
    ):
        super().__init__()
        self.deter, self.stoch, self.classes = deter, stoch, classes
        self._mix = mix
        latent = stoch * classes
        self.from_stoch = nn.Linear(latent, units, bias=False)
        self.from_action = nn.Linear(actions, units, bias=False)
        self.inputs_norm = NormAct(units)
        self.gates = nn.Linear(units + deter, 3 * deter, bias=False)
        self.gates_norm = Norm(3 * deter)
        self.prior_hidden = nn.Sequential(nn.Linear(deter, units, bias=False), NormAct(units))
        self.prior_logits = nn.Linear(units, latent)
        # of one linear layer on (deter, embedding): the second half is computed for all steps
        # at once, outside the recurrence
        self.posterior_deter = nn.Linear(deter, units, bias=False)
        self.posterior_embedding = nn.Linear(embedding, units, bias=False)
        self.posterior_norm = NormAct(units)
        self.posterior_logits = nn.Linear(units, latent)
        self.first_deter = nn.Parameter(torch.zeros(deter))
        self.apply(init_weights)

    def initial(self, batch: int) -> State:
        """The learned first state, its latents at their likeliest."""
        deter = self.first_deter.tanh().expand(batch, -1)
        likeliest = self.prior(deter).argmax(-1)
        one_hot = nn.functional.one_hot(likeliest, self.classes).float()
        return State(deter, one_hot.flatten(-2))

    def prior(self, deter: Tensor) -> Tensor:
        """Log-probabilities of the latents before the picture is seen: (…, S, K)."""
        logits = self.prior_logits(self.prior_hidden(deter))
        return unimix(logits.unflatten(-1, (self.stoch, self.classes)), self._mix)

    def posterior(self, deter: Tensor, seen: Tensor) -> Tensor:
        """Log-probabilities of the latents: (…, S, K).

        Args:
            seen: `posterior_embedding` of the encoded picture.
        """
        logits = self.posterior_logits(self.posterior_norm(self.posterior_deter(deter) + seen))
        return unimix(logits.unflatten(-1, (self.stoch, self.classes)), self._mix)

    def advance(self, state: State, acted: Tensor) -> Tensor:
        """The next deterministic state (B, D).

        Args:
            acted: `from_action` of the actions (B, A).
        """
        x = self.inputs_norm(self.from_stoch(state.stoch) + acted)
        parts = self.gates_norm(self.gates(torch.cat([x, state.deter], -1)))
        reset, candidate, update = parts.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)  # starts by keeping most of the past
        return update * candidate + (1 - update) * state.deter

    def act(self, actions: Tensor) -> Tensor:
        """`from_action` of actions (…, A), those out of -1…1 shortened to it."""
        return self.from_action(bounded(actions))

    def observe(
        self,
        embeddings: Tensor,
        actions: Tensor,
        first: Tensor,
        generator: torch.Generator | None = None,
    ) -> tuple[State, Tensor, Tensor]:
        """Filter sequences.

        Args:
            embeddings: encoded pictures (B, T, E).
            actions: (B, T, A), the ones that led to each picture.
            first: bool (B, T), where an episode begins: its past and action do not count.

        Returns:
            States (B, T, …), and log-probabilities (B, T, S, K) of posterior and prior.
        """
        seen = self.posterior_embedding(embeddings)
        acted = self.act(actions * ~first[..., None])
        start = self.initial(len(embeddings))
        state, deters, stochs, posteriors = start, [], [], []
        for t in range(embeddings.shape[1]):
            begins = first[:, t, None]
            state = State(
                torch.where(begins, start.deter, state.deter),
                torch.where(begins, start.stoch, state.stoch),
            )
            deter = self.advance(state, acted[:, t])
            posterior = self.posterior(deter, seen[:, t])
            state = State(deter, sample_one_hot(posterior, generator).flatten(-2))
            deters.append(deter)
            stochs.append(state.stoch)
            posteriors.append(posterior)
        states = State(torch.stack(deters, 1), torch.stack(stochs, 1))
        return states, torch.stack(posteriors, 1), self.prior(states.deter)

    def see(
        self,
        state: State,
        actions: Tensor,
        embeddings: Tensor,
        generator: torch.Generator | None = None,
    ) -> State:
        """One step with a picture: actions (B, A) that led to it, its encoding (B, E)."""
        deter = self.advance(state, self.act(actions))
        posterior = self.posterior(deter, self.posterior_embedding(embeddings))
        return State(deter, sample_one_hot(posterior, generator).flatten(-2))

    def imagine(
        self, state: State, actions: Tensor, generator: torch.Generator | None = None
    ) -> State:
        """One step without a picture: actions (B, A)."""
        deter = self.advance(state, self.act(actions))
        return State(deter, sample_one_hot(self.prior(deter), generator).flatten(-2))

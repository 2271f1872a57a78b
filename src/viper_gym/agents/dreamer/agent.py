"""DreamerV3: one update of world model, bonus, actor and critics, and how it plays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from viper_gym.agents.dreamer.actor_critic import Actor, Critic, Trajectory, actor_loss
from viper_gym.agents.dreamer.config import SIZES, DreamerConfig
from viper_gym.agents.dreamer.plan2explore import LatentDisagreement
from viper_gym.agents.dreamer.rssm import State, bounded
from viper_gym.agents.dreamer.world_model import Sequences, WorldModel
from viper_gym.agents.replay import FrameReplay, SequenceBatch
from viper_gym.agents.torch_agent import TorchAgent
from viper_gym.bonus.random_state import own_random_state


class Dreamer(TorchAgent):
    """The networks and one update of them.

    Args:
        frame_shape: (H, W, 3).
        action_size: A; continuous actions are in -1…1, discrete ones are one-hot rows.
        discrete: whether actions are classes.
        precision: "bf16" or "fp32", of convolutions and linear layers.

    Raises:
        ValueError: pictures that cannot be halved down to four pixels a side.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        action_size: int,
        discrete: bool = False,
        config: DreamerConfig | None = None,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "fp32",
    ):
        self.config = c = config or DreamerConfig()
        self.updates_per_step = c.updates_per_step
        self.least_steps = c.batch_length + 1  # and the one before, whose action leads in
        self.device = torch.device(device)
        self.action_size = action_size
        self._bf16 = precision == "bf16"
        w = SIZES[c.size]
        with own_random_state(seed):
            self.model = WorldModel(frame_shape[:2], action_size, w, c)
            width = self.model.width
            self.actor = Actor(width, action_size, discrete, w.units, w.layers)
            self.weights = {"reward": 1.0}
            self.bonus: LatentDisagreement | None = None
            if c.bonus == "disagreement" and c.beta:
                self.weights["bonus"] = c.beta
                self.bonus = LatentDisagreement(
                    width, action_size, w.stoch * w.classes, c.ensemble, w.units
                )
            self.critics = nn.ModuleDict(
                {name: Critic(width, w.units, w.layers, c) for name in self.weights}
            )
        for part in self._parts().values():
            part.to(self.device)
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._optimizers = {
            name: torch.optim.Adam(
                [p for p in part.parameters() if p.requires_grad], c.learning_rate, eps=c.adam_eps
            )
            for name, part in self._parts().items()
        }

    def _parts(self) -> dict[str, nn.Module]:
        parts = {"model": self.model, "actor": self.actor, "critics": self.critics}
        return parts if self.bonus is None else {**parts, "bonus": self.bonus}

    def player(self, num_envs: int, deterministic: bool = False) -> Player:
        """Plays in `num_envs` environments, each with a state of its own."""
        return Player(self, num_envs, deterministic)

    def sample(self, replay: FrameReplay, rng: np.random.Generator) -> SequenceBatch:
        """What one update learns from.

        Raises:
            ReplayError: the replay is still too short.
        """
        return replay.sample_sequences(self.config.batch_size, self.config.batch_length, rng)

    def update(self, batch: SequenceBatch) -> dict[str, float]:
        """One step of every network; returns losses and means for the log."""
        data = self._to_device(batch)
        with self._autocast():
            loss, states, log = self.model.loss(data, self._generator)
        self._step("model", loss)
        states = states.detach()
        if self.bonus is not None:
            with self._autocast():
                bonus_loss = self.bonus.loss(
                    states.features, data.actions, data.first, states.stoch
                )
            self._step("bonus", bonus_loss)
            log["behaviour/bonus_loss"] = float(bonus_loss.detach())
        critics: dict[str, Any] = dict(self.critics.items())
        with _frozen(self.model, self.critics, self.bonus):
            # the policy gradient of discrete actions needs none through the model
            with self._autocast(), torch.set_grad_enabled(not self.actor.discrete):
                trajectory = self._imagine(states, data.terminal)
            # a block of its own: casts of weights are kept to the end of one, and in older PyTorch
            # those that were made without gradients have none later on, either (pytorch#158232)
            with self._autocast():
                rewards = self._rewards(trajectory)
                actor, returns, reached, extra = actor_loss(
                    self.actor, critics, self.weights, trajectory, rewards, self.config
                )
        self._step("actor", actor)
        features = trajectory.features[:-1].detach()
        with self._autocast():
            losses = [critics[k].loss(features, returns[k], reached) for k in critics]
        critic_loss = torch.stack(losses).sum()
        self._step("critics", critic_loss)
        for critic in critics.values():
            critic.follow()
        extra["behaviour/actor_loss"] = float(actor.detach())
        extra["behaviour/critic_loss"] = float(critic_loss.detach())
        return {**log, **extra}

    def _imagine(self, states: State, terminal: Tensor) -> Trajectory:
        """From every state of the batch, `imag_horizon` steps ahead."""
        c, rssm = self.config, self.model.rssm
        state = State(states.deter.flatten(0, 1), states.stoch.flatten(0, 1))  # (B * T, …)
        features, actions = [state.features], []
        for step in range(c.imag_horizon + 1):
            action = self.actor(state.features.detach(), c.unimix, self._generator).sampled
            actions.append(action)
            if step < c.imag_horizon:
                state = rssm.imagine(state, action, self._generator)
                features.append(state.features)
        stacked = torch.stack(features)  # (H + 1, N, D)
        continues = self.model.continues(stacked.detach())
        continues[0] = (~terminal.flatten()).float()  # known, not guessed
        return Trajectory(stacked, torch.stack(actions), continues)

    def _rewards(self, trajectory: Trajectory) -> dict[str, Tensor]:
        """(H, N) of every component, of the step from state t to t + 1."""
        rewards = {"reward": self.model.rewards(trajectory.features[1:])}
        if self.bonus is not None:
            rewards["bonus"] = self.bonus(
                trajectory.features[:-1], bounded(trajectory.actions[:-1])
            )
        return rewards

    def _step(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_gradient)
        optimizer.step()

    def _to_device(self, batch: SequenceBatch) -> Sequences:
        frames = self.images(batch.frames.reshape(-1, *batch.frames.shape[2:]))
        rest = (torch.from_numpy(x).to(self.device) for x in batch[1:])
        return Sequences(frames.unflatten(0, batch.first.shape), *rest)

    def images(self, frames: np.ndarray) -> Tensor:
        """uint8 (N, H, W, 3) -> (N, 3, H, W) in 0…1; the bytes are shipped, not floats."""
        return torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2).float() / 255.0

    @torch.no_grad()
    def imagined(self, replay: FrameReplay, rng: np.random.Generator) -> np.ndarray:
        """Four open-loop rollouts from five frames: uint8 (T, 2H, 4W, 3).

        What happened is above; below are five reconstructed frames and what the world model
        makes of the actions alone from there on.
        """
        batch = replay.sample_sequences(4, self.config.batch_length, rng)
        data = self._to_device(batch)
        with self._autocast():
            below = self.model.rollout(data, min(5, self.config.batch_length), self._generator)
        both = torch.cat([data.frames, below], 3)  # (4, T, 3, 2H, W)
        pictures = (both * 255).round().byte().permute(1, 3, 0, 4, 2)  # (T, 2H, 4, W, 3)
        return pictures.flatten(2, 3).cpu().numpy()


class Player:
    """Filters what it sees, and acts on it."""

    def __init__(self, agent: Dreamer, num_envs: int, deterministic: bool):
        self._agent, self._deterministic = agent, deterministic
        self._actions = torch.zeros(num_envs, agent.action_size, device=agent.device)
        with torch.no_grad():
            self._state = agent.model.rssm.initial(num_envs)

    @torch.no_grad()
    def __call__(self, frames: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Actions float32 (n, A).

        Args:
            frames: uint8 (n, H, W, 3).
            first: bool (n,), where an episode begins.
        """
        agent, rssm = self._agent, self._agent.model.rssm
        begins = torch.from_numpy(first).to(agent.device)[:, None]
        start = rssm.initial(len(frames))
        before = State(
            torch.where(begins, start.deter, self._state.deter),
            torch.where(begins, start.stoch, self._state.stoch),
        )
        with agent._autocast():
            embedding = agent.model.encoder(agent.images(frames))
            self._state = rssm.see(before, self._actions * ~begins, embedding, agent._generator)
            choice = agent.actor(self._state.features, agent.config.unimix, agent._generator)
        self._actions = choice.mode if self._deterministic else choice.sampled
        if not agent.actor.discrete:
            self._actions = self._actions.clamp(-1, 1)
        return self._actions.float().cpu().numpy()


@contextmanager
def _frozen(*parts: nn.Module | None) -> Iterator[None]:
    """Gradients pass through these, and none is kept for them."""
    parameters = [p for part in parts if part is not None for p in part.parameters()]
    kept = [p for p in parameters if p.requires_grad]
    for parameter in kept:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in kept:
            parameter.requires_grad_(True)

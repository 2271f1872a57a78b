"""DrQ: soft actor-critic on shifted pictures (Yarats et al. 2021; settings of paper Table 4)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from viper_gym.agents.drq.networks import Actor, Critic, Encoder, as_images, random_shift
from viper_gym.agents.replay import Batch, FrameReplay
from viper_gym.agents.torch_agent import TorchAgent
from viper_gym.bonus.random_state import own_random_state
from viper_gym.errors import require_between, require_not_negative, require_positive


@dataclass(frozen=True)
class DrQConfig:
    """Paper Table 4; what it leaves open is as in DrQ, but for `target_entropy` (there one nat a
    dimension) and `augmentations` (there two, at twice the cost).

    Raises:
        TrainingError: a setting that trains nothing.
    """

    hidden: tuple[int, ...] = (256, 256)
    cnn_features: tuple[int, ...] = (32, 64, 128, 256)
    cnn_strides: tuple[int, ...] = (2, 2, 2, 2)
    """one for each of `cnn_features`"""
    latent_dim: int = 50
    learning_rate: float = 3e-4
    gamma: float = 0.99
    num_critics: int = 2
    tau: float = 0.005
    """share of the online critic that enters the target critic at each update"""
    init_temperature: float = 0.1
    target_entropy: float | None = None
    """nats; None is half a nat for every dimension of the action, below zero"""
    shift: int = 4
    """pixels that pictures are moved by, at most"""
    augmentations: int = 1
    """shifts of every picture: values are learned at all of them, towards the mean of their targets
    (DrQ's K and M)"""
    batch_size: int = 128
    """transitions an update"""
    frame_stack: int = 3
    """newest frames, which the networks see at once"""
    updates_per_step: float = 1.0
    """updates for every environment step"""

    def __post_init__(self) -> None:
        require_positive(
            latent_dim=self.latent_dim,
            learning_rate=self.learning_rate,
            num_critics=self.num_critics,
            tau=self.tau,
            init_temperature=self.init_temperature,
            augmentations=self.augmentations,
            batch_size=self.batch_size,
            frame_stack=self.frame_stack,
        )
        require_not_negative(shift=self.shift, updates_per_step=self.updates_per_step)
        require_between(0, 1, gamma=self.gamma, tau=self.tau)


class DrQ(TorchAgent):
    """The networks and one update of them.

    Args:
        frame_shape: (H, W, 3).
        action_size: A; actions are in -1…1.
        precision: "bf16" or "fp32", of the convolutions.

    Raises:
        ValueError: settings that make no networks.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int, int],
        action_size: int,
        config: DrQConfig | None = None,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "fp32",
    ):
        self.config = c = config or DrQConfig()
        self.updates_per_step = c.updates_per_step
        self.least_steps = 2  # a frame and the next
        self.device = torch.device(device)
        self._bf16 = precision == "bf16"
        H, W, channels = frame_shape
        channels *= c.frame_stack
        with own_random_state(seed):
            encoder = Encoder(channels, (H, W), c.cnn_features, c.cnn_strides)
            critic = Critic(encoder.width, c.latent_dim, c.hidden, action_size, c.num_critics)
            actor = Actor(encoder.width, c.latent_dim, c.hidden, action_size)
        self.encoder = encoder.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.critic = critic.to(self.device)
        self.actor = actor.to(self.device)
        self.target = nn.ModuleList([copy.deepcopy(self.encoder), copy.deepcopy(self.critic)])
        self.target.requires_grad_(False)
        start = torch.tensor(float(np.log(c.init_temperature)), device=self.device)
        self.log_temperature = nn.Parameter(start)
        self._target_entropy = c.target_entropy
        if self._target_entropy is None:
            self._target_entropy = -0.5 * action_size
        self._generator = torch.Generator(self.device).manual_seed(seed)
        online = [*self.encoder.parameters(), *self.critic.parameters()]
        self._optimizers = {
            # fused steps are a third of the time on a CPU, a tenth of an update with wide layers
            "critic": torch.optim.Adam(online, c.learning_rate, fused=True),
            "actor": torch.optim.Adam(self.actor.parameters(), c.learning_rate, fused=True),
            "temperature": torch.optim.Adam([self.log_temperature], c.learning_rate),
        }

    def player(self, num_envs: int, deterministic: bool = False) -> Player:
        """Plays in `num_envs` environments, and keeps the newest frames of each."""
        return Player(self, deterministic)

    def sample(self, replay: FrameReplay, rng: np.random.Generator) -> Batch:
        """What one update learns from.

        Raises:
            ReplayError: the replay is empty.
        """
        return replay.sample(self.config.batch_size, self.config.frame_stack, rng)

    def imagined(self, replay: FrameReplay, rng: np.random.Generator) -> None:
        """Nothing: there is no world model."""

    @torch.no_grad()
    def act(self, observations: np.ndarray, deterministic: bool = False) -> np.ndarray:
        """uint8 (B, H, W, C) -> actions float32 (B, A) in -1…1."""
        features = self._features(self._images(self._bytes(observations)))
        sampled, _, mean = self.actor(features, self._generator)
        return (mean if deterministic else sampled).cpu().numpy()

    def update(self, batch: Batch) -> dict[str, float]:
        """One step of critics, actor and temperature; returns losses and means for the log."""
        shift, K, B = self.config.shift, self.config.augmentations, len(batch.actions)
        observations, following = (  # (K * B, C, H, W)
            self._images(random_shift(self._bytes(x).repeat(K, 1, 1, 1), shift, self._generator))
            for x in (batch.observations, batch.next_observations)
        )
        actions, rewards, discounts = (
            torch.from_numpy(x).to(self.device)
            for x in (batch.actions, batch.rewards, batch.discounts)
        )
        targets = self._target(following, rewards.repeat(K), discounts.repeat(K))
        target = targets.view(K, B).mean(0).repeat(K)
        features = self._features(observations)
        values = self.critic(features, actions.repeat(K, 1))  # (M, K * B)
        critic_loss = F.mse_loss(values, target.expand_as(values))
        self._step("critic", critic_loss)
        # the actor learns on the critics' features of one shift, and does not move them
        features = features[:B].detach()
        chosen, log_prob, _ = self.actor(features, self._generator)
        best = self.critic(features, chosen).min(0).values
        actor_loss = (self.log_temperature.exp().detach() * log_prob - best).mean()
        self._step("actor", actor_loss)
        entropy = -log_prob.detach().mean()
        self._step("temperature", self.log_temperature.exp() * (entropy - self._target_entropy))
        self._follow()
        return {
            "critic_loss": float(critic_loss.detach()),
            "actor_loss": float(actor_loss.detach()),
            "q": float(values.detach().mean()),
            "entropy": float(entropy),
            "temperature": float(self.log_temperature.detach().exp()),
        }

    @torch.no_grad()
    def _target(self, following: Tensor, rewards: Tensor, discounts: Tensor) -> Tensor:
        """r + γ (min Q' - α ln π): (B,). The policy reads the online features, Q' the target's."""
        action, log_prob, _ = self.actor(self._features(following), self._generator)
        encoder, critic = self.target
        values = critic(self._features(following, encoder), action).min(0).values
        values = values - self.log_temperature.exp() * log_prob
        return rewards + self.config.gamma * discounts * values

    def _step(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        # the actor's loss runs through the critics; their own gradients would not be used
        loss.backward(inputs=[p for group in optimizer.param_groups for p in group["params"]])
        optimizer.step()

    @torch.no_grad()
    def _follow(self) -> None:
        online = [*self.encoder.parameters(), *self.critic.parameters()]
        for target, parameter in zip(self.target.parameters(), online, strict=True):
            target.lerp_(parameter, self.config.tau)

    def _bytes(self, observations: np.ndarray) -> Tensor:
        return torch.from_numpy(observations).to(self.device)  # a quarter of what floats would be

    def _features(self, images: Tensor, encoder: nn.Module | None = None) -> Tensor:
        """fp32 (B, D). Only convolutions are worth bf16: it has steps of 0.5 at values of 100."""
        with self._autocast():
            return (encoder or self.encoder)(images).float()

    def _images(self, frames: Tensor) -> Tensor:
        return as_images(frames, torch.bfloat16 if self._bf16 else torch.float32)

    def _parts(self) -> dict[str, nn.Module]:
        parts = {"encoder": self.encoder, "critic": self.critic, "actor": self.actor}
        temperature = nn.ParameterList([self.log_temperature])
        return {**parts, "target": self.target, "temperature": temperature}


class Player:
    """Stacks the newest frames of every environment, and acts on them."""

    def __init__(self, agent: DrQ, deterministic: bool):
        self._agent, self._deterministic = agent, deterministic
        self._stack: np.ndarray | None = None

    def __call__(self, frames: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Actions float32 (n, A).

        Args:
            frames: uint8 (n, H, W, 3).
            first: bool (n,), where an episode begins.
        """
        repeated = np.concatenate([frames] * self._agent.config.frame_stack, axis=-1)
        if self._stack is None:
            self._stack = repeated
        moved = np.concatenate([self._stack[..., 3:], frames], axis=-1)
        self._stack = np.where(first[:, None, None, None], repeated, moved)
        return self._agent.act(self._stack, self._deterministic)

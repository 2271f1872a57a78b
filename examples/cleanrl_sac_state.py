"""SAC in one file, from state observations, rewarded by video alone.

    python examples/cleanrl_sac_state.py --task cup_catch --out runs/cleanrl_sac

Soft actor-critic (Haarnoja et al. 2018) with a learned temperature, on a gymnasium 1.x vector
environment. Both returns of every episode go to the console and to TensorBoard.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from viper_gym import ViperVectorRewardWrapper


@dataclass
class Args:
    task: str = "cup_catch"
    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    total_timesteps: int = 50_000
    num_envs: int = 4
    learning_starts: int = 1_000
    updates: int = 2
    """gradient steps for one step of all environments"""
    batch_size: int = 256
    gamma: float = 0.99
    tau: float = 0.005
    """share of the online critics that enters the target critics at each update"""
    learning_rate: float = 5e-4
    beta: float = 0.5
    """weight of the RND bonus"""
    seed: int = 0
    out: Path = Path("runs/cleanrl_sac")


def mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, outputs)
    )


class Actor(nn.Module):
    """Gaussian squashed by tanh."""

    def __init__(self, observation: int, action: int):
        super().__init__()
        self.network = mlp(observation, 2 * action)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Actions (B, A) and their log-density (B,)."""
        mean, log_std = self.network(observations).chunk(2, -1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
        raw = normal.rsample()
        # the tanh's Jacobian, in the form that does not overflow
        jacobian = 2 * (np.log(2.0) - raw - nn.functional.softplus(-2 * raw))
        return raw.tanh(), (normal.log_prob(raw) - jacobian).sum(-1)


class Replay:
    """A ring of transitions."""

    def __init__(self, size: int, observation: int, action: int, seed: int):
        self.rng = np.random.default_rng(seed)
        width = 2 * observation + action + 2
        self.rows = np.zeros((size, width), np.float32)
        self.split = (observation, observation + action, 2 * observation + action)
        self.count = 0

    def add(self, *columns: np.ndarray) -> None:
        for row in np.column_stack(columns):
            self.rows[self.count % len(self.rows)] = row
            self.count += 1

    def sample(self, size: int) -> tuple[Tensor, ...]:
        """Observations, actions, next observations, rewards, terminations."""
        pick = self.rng.integers(min(self.count, len(self.rows)), size=size)
        rows = torch.from_numpy(self.rows[pick])
        a, b, c = self.split
        return rows[:, :a], rows[:, a:b], rows[:, b:c], rows[:, c], rows[:, c + 1]


def main(args: Args) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    envs = gym.make_vec(
        f"viper_gym:viper/dmc-{args.task}-v0", args.num_envs, checkpoint=None, observation="state"
    )
    envs = ViperVectorRewardWrapper(
        envs, args.checkpoint, task=args.task, bonus="rnd", beta=args.beta, reward_clip="calibrated"
    )
    D, A = envs.single_observation_space.shape[0], envs.single_action_space.shape[0]
    actor = Actor(D, A)
    critics = nn.ModuleList([mlp(D + A, 1), mlp(D + A, 1)])
    targets = nn.ModuleList([mlp(D + A, 1), mlp(D + A, 1)])
    targets.load_state_dict(critics.state_dict())
    log_alpha = torch.zeros((), requires_grad=True)
    actor_optimizer = torch.optim.Adam(actor.parameters(), args.learning_rate)
    critic_optimizer = torch.optim.Adam(critics.parameters(), args.learning_rate)
    alpha_optimizer = torch.optim.Adam([log_alpha], args.learning_rate)
    replay = Replay(args.total_timesteps, D, A, args.seed)
    writer = SummaryWriter(str(args.out))
    start = time.time()

    def values(networks: nn.ModuleList, observations: Tensor, actions: Tensor) -> Tensor:
        """(2, B)."""
        inputs = torch.cat([observations, actions], -1)
        return torch.stack([network(inputs)[:, 0] for network in networks])

    def update() -> None:
        observations, actions, following, rewards, terminated = replay.sample(args.batch_size)
        alpha = log_alpha.exp().detach()
        with torch.no_grad():
            next_actions, next_log_pi = actor(following)
            soft = values(targets, following, next_actions).min(0).values - alpha * next_log_pi
            target = rewards + args.gamma * (1 - terminated) * soft
        critic_loss = (values(critics, observations, actions) - target).pow(2).mean()
        critic_optimizer.zero_grad()
        critic_loss.backward()
        critic_optimizer.step()
        chosen, log_pi = actor(observations)
        actor_loss = (alpha * log_pi - values(critics, observations, chosen).min(0).values).mean()
        actor_optimizer.zero_grad()
        actor_loss.backward()
        actor_optimizer.step()
        alpha_loss = -(log_alpha.exp() * (log_pi.detach() - A)).mean()
        alpha_optimizer.zero_grad()
        alpha_loss.backward()
        alpha_optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(targets.parameters(), critics.parameters(), strict=True):
                slow.lerp_(fast, args.tau)

    observations, _ = envs.reset(seed=args.seed)
    envs.action_space.seed(args.seed)
    over = np.zeros(args.num_envs, bool)
    for step in range(0, args.total_timesteps, args.num_envs):
        if step < args.learning_starts:
            actions = envs.action_space.sample()
        else:
            with torch.no_grad():
                actions = actor(torch.from_numpy(observations))[0].numpy()
        following, rewards, terminated, truncated, infos = envs.step(actions)
        real = ~over  # the step after an episode's end only resets
        if real.any():
            replay.add(
                observations[real], actions[real], following[real], rewards[real], terminated[real]
            )
        observations, over = following, terminated | truncated
        for i in np.flatnonzero(infos.get("_viper/task_return", [])):
            task, video = infos["viper/task_return"][i], infos["viper/return"][i]
            speed = (step + args.num_envs) / (time.time() - start)
            print(f"step {step}  task return {task:.1f}  video return {video:.1f}  {speed:.0f}/s")
            writer.add_scalar("charts/task_return", task, step)
            writer.add_scalar("charts/viper_return", video, step)
        if step >= args.learning_starts:
            for _ in range(args.updates):
                update()
    torch.save(actor.state_dict(), args.out / "actor.pt")
    envs.close()
    writer.close()


if __name__ == "__main__":
    main(tyro.cli(Args))

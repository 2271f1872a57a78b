"""PPO in one file, from pixels, rewarded by video alone.

    python examples/cleanrl_ppo_pixels.py --task cup_catch --out runs/cleanrl_ppo

Proximal policy optimisation (Schulman et al. 2017) on a gymnasium 1.x vector environment, with
the last three frames as observation. Both returns go to the console and to TensorBoard.
PPO from pixels takes millions of steps.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
import tyro
from gymnasium.wrappers.vector import NormalizeReward
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from viper_gym import ViperVectorRewardWrapper


@dataclass
class Args:
    task: str = "cup_catch"
    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    total_timesteps: int = 1_000_000
    num_envs: int = 8
    num_steps: int = 128
    """steps an environment between updates"""
    stack: int = 3
    """frames the policy sees"""
    epochs: int = 4
    batch_size: int = 256
    learning_rate: float = 3e-4
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.001
    beta: float = 0.1
    """weight of the RND bonus"""
    seed: int = 0
    out: Path = Path("runs/cleanrl_ppo")


class Agent(nn.Module):
    """Convolutions shared by a Gaussian policy and a value."""

    def __init__(self, channels: int, actions: int):
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 32, 8, stride=4), nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2), nn.ReLU(),
            nn.Conv2d(64, 64, 3), nn.ReLU(),
            nn.Flatten(), nn.LazyLinear(512), nn.ReLU(),
        )  # fmt: skip
        self.mean = nn.Linear(512, actions)
        self.value = nn.Linear(512, 1)
        self.log_std = nn.Parameter(torch.zeros(actions))
        nn.init.orthogonal_(self.mean.weight, 0.01)

    def forward(self, frames: Tensor) -> tuple[torch.distributions.Normal, Tensor]:
        """uint8 (B, C, H, W) -> policy over (B, A), values (B,)."""
        features = self.trunk(frames.float() / 255.0)
        policy = torch.distributions.Normal(self.mean(features), self.log_std.exp())
        return policy, self.value(features)[:, 0]


class Frames:
    """The last k frames of every environment as channels: uint8 (n, 3k, H, W)."""

    def __init__(self, k: int):
        self.k, self.stack = k, np.zeros(0, np.uint8)

    def push(self, frames: np.ndarray, began: np.ndarray) -> Tensor:
        frames = frames.transpose(0, 3, 1, 2)
        if not len(self.stack):
            self.stack = np.tile(frames, (1, self.k, 1, 1))
        self.stack = np.concatenate([self.stack[:, 3:], frames], 1)
        self.stack[began] = np.tile(frames[began], (1, self.k, 1, 1))
        return torch.from_numpy(self.stack.copy())


def main(args: Args) -> None:
    torch.manual_seed(args.seed)
    envs = gym.make_vec(f"viper_gym:viper/dmc-{args.task}-v0", args.num_envs, checkpoint=None)
    envs = ViperVectorRewardWrapper(
        envs, args.checkpoint, task=args.task, bonus="rnd", beta=args.beta, reward_clip="calibrated"
    )
    envs = NormalizeReward(envs, gamma=args.gamma)
    T, N, A = args.num_steps, args.num_envs, envs.single_action_space.shape[0]
    agent, frames = Agent(3 * args.stack, A), Frames(args.stack)
    writer = SummaryWriter(str(args.out))
    first, _ = envs.reset(seed=args.seed)
    observation = frames.push(first, np.ones(N, bool))
    agent(observation)  # gives the lazy layer its size
    optimizer = torch.optim.Adam(agent.parameters(), args.learning_rate, eps=1e-5)
    over, step, start = np.zeros(N, bool), 0, time.time()
    size = envs.single_observation_space.shape[0]
    observations = torch.zeros((T, N, 3 * args.stack, size, size), dtype=torch.uint8)
    actions = torch.zeros((T, N, A))
    log_probs, rewards, values = torch.zeros((3, T, N))
    following = torch.zeros((T, N))  # value of what came next, 0 where the task ended
    last, real = torch.zeros((2, T, N), dtype=torch.bool)

    while step < args.total_timesteps:
        for t in range(T):
            with torch.no_grad():
                policy, values[t] = agent(observation)
                actions[t] = policy.sample()
                log_probs[t] = policy.log_prob(actions[t]).sum(-1)
            observations[t], real[t] = observation, torch.from_numpy(~over)
            seen, reward, terminated, truncated, infos = envs.step(actions[t].clamp(-1, 1).numpy())
            observation = frames.push(seen, over)  # the step after an episode's end only resets
            over = terminated | truncated
            rewards[t], last[t] = torch.from_numpy(reward), torch.from_numpy(over)
            with torch.no_grad():
                following[t] = agent(observation)[1] * torch.from_numpy(~terminated)
            step += N
            for i in np.flatnonzero(infos.get("_viper/task_return", [])):
                task, video = infos["viper/task_return"][i], infos["viper/return"][i]
                speed = step / (time.time() - start)
                print(f"step {step}  task return {task:.1f}  video {video:.1f}  {speed:.0f}/s")
                writer.add_scalar("charts/task_return", task, step)
                writer.add_scalar("charts/viper_return", video, step)
        advantages, running = torch.zeros((T, N)), torch.zeros(N)
        for t in reversed(range(T)):
            error = rewards[t] + args.gamma * following[t] - values[t]
            running = error + args.gamma * args.gae_lambda * ~last[t] * running
            advantages[t] = running
        returns = advantages + values
        index = real.flatten().nonzero()[:, 0]  # steps that only reset taught nothing
        flat = [x.flatten(0, 1) for x in (observations, actions, log_probs, advantages, returns)]
        for _ in range(args.epochs):
            for pick in index[torch.randperm(len(index))].split(args.batch_size):
                o, a, old, advantage, target = (x[pick] for x in flat)
                if len(pick) > 1:  # one has no deviation
                    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                policy, value = agent(o)
                ratio = (policy.log_prob(a).sum(-1) - old).exp()
                clipped = ratio.clamp(1 - args.clip, 1 + args.clip)
                gain = torch.minimum(ratio * advantage, clipped * advantage).mean()
                entropy = policy.entropy().sum(-1).mean()
                loss = -gain + 0.5 * (value - target).pow(2).mean() - args.entropy * entropy
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
        writer.add_scalar("losses/value", (values - returns).pow(2).mean().item(), step)
        writer.add_scalar(
            "charts/video_reward", infos.get("viper/reward", np.zeros(N)).mean(), step
        )
    torch.save(agent.state_dict(), args.out / "agent.pt")
    envs.close()
    writer.close()


if __name__ == "__main__":
    main(tyro.cli(Args))

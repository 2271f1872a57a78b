"""Whole games by an agent of `examples/sb3_ppo_game.py`, beside random actions.

Its training episodes are 500 steps; a game of pong that is even takes some 8000. No video model
is loaded: only the score counts here.

    python tools/play_game_agent.py --game pong --policy runs/pong/policy.zip --games 10
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3 import PPO

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from sb3_ppo_game import Places


@dataclass
class Args:
    policy: Path
    game: Literal["boxing", "pong"] = "pong"
    games: int = 10
    seed: int = 30_000
    """of the first game"""


def score(args: Args, seed: int, model: PPO | None, deterministic: bool) -> tuple[int, int]:
    """Points (own minus the other's) and agent steps of one whole game."""
    env = gym.make(
        f"viper/atari-{args.game}-v0",
        checkpoint=None,
        observation="state",
    )
    env = Places(env, args.game)
    env.action_space.seed(seed)
    torch.manual_seed(seed)  # of the policy's own noise
    (observation, _), points, steps, done = env.reset(seed=seed), 0.0, 0, False
    while not done:
        action = env.action_space.sample()
        if model is not None:
            action = int(model.predict(observation, deterministic=deterministic)[0])
        observation, reward, terminated, truncated, _ = env.step(action)
        points, steps, done = points + float(reward), steps + 1, terminated or truncated
    env.close()
    return round(points), steps


def main(args: Args) -> None:
    policy = PPO.load(args.policy, device="cpu")
    for name, model, deterministic in (
        ("likeliest action", policy, True),
        ("as trained", policy, False),
        ("random", None, False),
    ):
        games = [score(args, args.seed + i, model, deterministic) for i in range(args.games)]
        points = [p for p, _ in games]
        print(
            f"{name}: {np.mean(points):.1f} points, lowest {min(points)}, "
            f"{np.mean([s for _, s in games]):.0f} steps a game {points}",
            flush=True,
        )


if __name__ == "__main__":
    main(tyro.cli(Args))

"""Stable-Baselines3 PPO on an Atari game, rewarded by video alone, seeing where things are in it.

Observations are a few bytes of the machine's memory (places of ball and paddles, of two boxers)
and how they move; the reward is the likelihood of the pictures. The score is only logged. In
pong the ball is returned so after some 400k steps; boxing is not learned (docs/results).

    python examples/sb3_ppo_game.py --game pong --out runs/pong

Writes metrics.jsonl (both returns of every episode), policy.zip, behaviour.gif and the final
episodes to --out.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import viper_gym  # noqa: F401  (registers the viper/… ids)
from viper_gym.benchmark.figures import video_gif
from viper_gym.data.episodes import Episode
from viper_gym.envs.game_policy import GAME_BYTES, seen
from viper_gym.files import set_aside
from viper_gym.wrappers.sb3 import FrameInInfo, ViperVecEnvWrapper


@dataclass
class Args:
    game: Literal["boxing", "pong"] = "pong"
    checkpoint: str = "atari"
    """suite alias, bundle folder or Hub repository"""
    steps: int = 400_000
    episode: int = 500
    """steps after which an episode is cut off, so that a game that ends early costs no reward"""
    envs: int = 8
    rollout: int = 128
    """steps an environment between updates"""
    learning_rate: float = 1e-3
    anneal: bool = False
    """let the learning rate fall linearly to 0"""
    discount: float = 0.97
    entropy: float = 0.01
    """weight of the policy's entropy"""
    seed: int = 0
    out: Path = Path("runs/sb3_ppo_game")
    beta: float = 0.0
    """weight of the RND exploration bonus; 0 does without"""
    clip_low: float | None = -2.0
    """lower bound of the scaled reward (0: best cheap behaviour, 1: expert); the upper one is 1.5.
    Doing nothing is at -0.5 there, single frames far below; None: the checkpoint's two bounds"""
    final_episodes: int = 10


class Places(gym.ObservationWrapper):
    """The memory (128,) seen as places and velocities of what matters in a game."""

    def __init__(self, env: gym.Env, game: str):
        super().__init__(env)
        self.game, self.before = game, None
        size = 2 * len(GAME_BYTES[game])
        self.observation_space = gym.spaces.Box(-2, 2, (size,), np.float32)

    def reset(self, **kwargs):
        self.before = None
        return super().reset(**kwargs)

    def observation(self, memory):
        before, self.before = memory if self.before is None else self.before, memory
        return seen(self.game, memory, before)


def make(args: Args, envs: int, seed: int, beta: float) -> ViperVecEnvWrapper:
    venv = make_vec_env(
        f"viper/atari-{args.game}-v0",
        envs,
        seed,
        wrapper_class=lambda env: Places(FrameInInfo(env), args.game),
        env_kwargs={
            "checkpoint": None,
            "observation": "state",
            "max_episode_steps": args.episode,
        },
    )
    return ViperVecEnvWrapper(
        venv,
        args.checkpoint,
        task=args.game,
        reward_clip="calibrated" if args.clip_low is None else (args.clip_low, 1.5),
        bonus="rnd" if beta else None,
        beta=beta,
    )


class LogReturns(BaseCallback):
    """Both returns of every finished episode; the policy so far, so that a killed run has one."""

    def __init__(self, args: Args):
        super().__init__()
        self.out, self.start = args.out, time.time()
        self.path = args.out / "metrics.jsonl"

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "viper/task_return" in info:
                self.log("train", info)
        return True

    def _on_rollout_end(self) -> None:
        self.model.save(self.out / "policy.zip")

    def log(self, phase: str, info: dict) -> None:
        line = {
            "phase": phase,
            "step": self.num_timesteps,
            "task_return": round(info["viper/task_return"], 1),
            "viper_return": round(info["viper/return"], 1),
            "seconds": round(time.time() - self.start),
            "reward_time_share": round(info["viper/time_share"], 2),
        }
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


def play(model: PPO, venv: ViperVecEnvWrapper) -> tuple[list[dict], list[Episode]]:
    """One episode in every environment, by the policy as it was trained."""
    observations, last = venv.reset(), {}
    frames: list[list] = [[] for _ in range(venv.num_envs)]
    rewards: list[list] = [[] for _ in range(venv.num_envs)]
    while len(last) < venv.num_envs:
        images = venv.get_images()
        actions, _ = model.predict(observations, deterministic=False)
        observations, _, dones, infos = venv.step(actions)
        for i in set(range(venv.num_envs)) - last.keys():
            frames[i].append(images[i])
            rewards[i].append(infos[i]["viper/task_reward"])
            if dones[i]:
                last[i] = infos[i]
    episodes = [
        Episode(np.stack(f), np.array(r[:-1], np.float32))
        for f, r in zip(frames, rewards, strict=True)
    ]
    return [last[i] for i in range(venv.num_envs)], episodes


def main(args: Args) -> None:
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    set_aside(args.out / "metrics.jsonl", "policy.zip", "behaviour.gif", "episodes")
    model = PPO(
        "MlpPolicy",
        make(args, args.envs, args.seed, args.beta),
        n_steps=args.rollout,
        batch_size=256,
        n_epochs=4,
        learning_rate=lambda left: args.learning_rate * (left if args.anneal else 1.0),
        gamma=args.discount,
        ent_coef=args.entropy,
        seed=args.seed,
        device="cpu",
    )
    callback = LogReturns(args)
    model.learn(args.steps, callback=callback)
    model.save(args.out / "policy.zip")
    infos, episodes = play(model, make(args, args.final_episodes, 20_000, beta=0.0))
    for info in infos:
        callback.log("final", info)
    video_gif(episodes[0].frames, args.out / "behaviour.gif")
    # for `viper-gym evaluate --agents`: does the reward pay for what this agent found?
    for i, episode in enumerate(episodes):
        episode.save(args.out / "episodes" / args.game / f"{i}.npz")


if __name__ == "__main__":
    main(tyro.cli(Args))

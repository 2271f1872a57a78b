"""Stable-Baselines3 SAC on state observations, rewarded by video alone.

The agent sees the state vector; the reward is the likelihood of the rendered frames (plus an
RND bonus that fades). The task reward is only logged, never learned from.

    python examples/sb3_sac_state.py --env viper/dmc-cartpole_swingup-v0 --out runs/cartpole

Writes metrics.jsonl (both returns of every episode), policy.zip and behaviour.gif to --out.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import torch
import tyro
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

import viper_gym  # noqa: F401  (registers the viper/… ids)


@dataclass
class Args:
    env: str = "viper/dmc-cartpole_swingup-v0"
    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    steps: int = 50_000
    """environment steps (each is two control steps of the simulator)"""
    seed: int = 0
    out: Path = Path("runs/sb3_sac_state")
    bonus: str | None = "rnd"
    beta: float = 0.5
    """weight of the exploration bonus"""
    clip_low: float = -1.0
    """lower bound of the scaled reward: -1 is as far below the best cheap behaviour as the
    expert is above it"""
    eval_every: int = 10_000
    """steps between deterministic evaluation episodes"""
    threads: int = 1


class LogReturns(BaseCallback):
    """Both returns of every finished episode, and deterministic evaluations now and then."""

    def __init__(self, args: Args, eval_env: gym.Env):
        super().__init__()
        self.args, self.eval_env, self.start = args, eval_env, time.time()
        self.file = (args.out / "metrics.jsonl").open("w", buffering=1)

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "viper/task_return" in info:
                self.log("train", info)
        if self.num_timesteps % self.args.eval_every == 0:
            self.log("eval", play(self.model, self.eval_env, 1)[0])
            self.model.save(self.args.out / "policy.zip")
        return True

    def log(self, phase: str, info: dict) -> None:
        line = {
            "phase": phase,
            "step": self.num_timesteps,
            "task_return": round(info["viper/task_return"], 1),
            "viper_return": round(info["viper/return"], 1),
            "seconds": round(time.time() - self.start),
        }
        self.file.write(json.dumps(line) + "\n")
        print(line, flush=True)


def play(model: SAC, env: gym.Env, episodes: int) -> list[dict]:
    """Deterministic episodes; returns their last info, with the frames under "frames"."""
    results = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=10_000 + episode)
        frames, done = [env.render()], False
        while not done:
            action, _ = model.predict(observation, deterministic=True)
            observation, _, terminated, truncated, info = env.step(action)
            frames.append(env.render())
            done = terminated or truncated
        results.append({**info, "frames": frames})
    return results


def main(args: Args) -> None:
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    options = dict(
        checkpoint=args.checkpoint, observation="state", reward_clip=(args.clip_low, 1.5)
    )
    env = gym.make(args.env, bonus=args.bonus, beta=args.beta, **options)
    eval_env = gym.make(args.env, **options)
    model = SAC(
        "MlpPolicy", env, learning_starts=1000, batch_size=256, seed=args.seed, device="cpu"
    )
    callback = LogReturns(args, eval_env)
    model.learn(args.steps, callback=callback)
    model.save(args.out / "policy.zip")
    final = play(model, eval_env, 5)
    for info in final:
        callback.log("final", info)
    import numpy as np

    from viper_gym.benchmark.figures import video_gif

    video_gif(np.stack(final[0]["frames"]), args.out / "behaviour.gif")


if __name__ == "__main__":
    main(tyro.cli(Args))

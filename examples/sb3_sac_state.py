"""Stable-Baselines3 SAC on state observations, rewarded by video alone.

The agents see state vectors; the reward is the likelihood of the rendered frames (plus an
RND bonus). The task reward is only logged, never learned from.

    python examples/sb3_sac_state.py --env viper/dmc-cartpole_swingup-v0 --out runs/cartpole

Writes metrics.jsonl (both returns of every episode), policy.zip, behaviour.gif and the final
episodes to --out; what an earlier run left there is moved to --out/previous.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

import viper_gym  # noqa: F401  (registers the viper/… ids)
from viper_gym.benchmark.figures import video_gif
from viper_gym.data.episodes import Episode
from viper_gym.files import set_aside
from viper_gym.wrappers.sb3 import FrameInInfo, ViperVecEnvWrapper


@dataclass
class Args:
    env: str = "viper/dmc-cartpole_swingup-v0"
    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    steps: int = 100_000
    """environment steps (each is two control steps of the simulator)"""
    envs: int = 4
    """environments; the video model scores their frames in one call"""
    updates: float = 0.5
    """gradient steps an environment step; times `envs` a whole number"""
    learning_rate: float = 5e-4
    seed: int = 0
    out: Path = Path("runs/sb3_sac_state")
    beta: float = 0.5
    """weight of the RND exploration bonus; 0 does without"""
    fade: int = 0
    """steps over which that weight falls to zero, for tasks once learned and left again out of
    curiosity; 0 keeps it"""
    clip_low: float | None = None
    """lower bound of the scaled reward (0: best cheap behaviour, 1: expert), so that agents do not
    settle on the calmest way to fail; the upper one is 1.5; the checkpoint's two if left out"""
    eval_every: int = 10_000
    """steps between deterministic evaluation episodes"""
    final_episodes: int = 10
    """episodes after training of the policy's mean, and as many of the policy as it was trained"""
    threads: int = 1

    @property
    def task(self) -> str:
        return self.env.rsplit("/", 1)[1].split("-")[1]  # viper/dmc-TASK-v0


def make(args: Args, envs: int, seed: int, beta: float) -> ViperVecEnvWrapper:
    venv = make_vec_env(
        args.env,
        envs,
        seed,
        wrapper_class=FrameInInfo,
        env_kwargs={"checkpoint": None, "observation": "state"},
    )
    return ViperVecEnvWrapper(
        venv,
        args.checkpoint,
        task=args.task,
        reward_clip="calibrated" if args.clip_low is None else (args.clip_low, 1.5),
        bonus="rnd" if beta else None,
        beta=beta,
    )


class LogReturns(BaseCallback):
    """Both returns of every finished episode, and deterministic evaluations now and then."""

    def __init__(self, args: Args, rewards: ViperVecEnvWrapper, eval_env: VecEnv):
        super().__init__()
        self.rewards = rewards
        self.args, self.eval_env, self.start = args, eval_env, time.time()
        self.next_eval = args.eval_every
        self.solved = [False] * args.envs  # at any step of the episode, where the task tells

    def _on_step(self) -> bool:
        if self.args.fade:
            left = max(0.0, 1 - self.num_timesteps / self.args.fade)
            self.rewards.beta = self.args.beta * left
        for i, info in enumerate(self.locals["infos"]):
            self.solved[i] |= bool(info.get("success"))
            if "viper/task_return" in info:
                self.log("train", with_success(info, self.solved[i]))
                self.solved[i] = False
        if self.num_timesteps >= self.next_eval:
            self.next_eval += self.args.eval_every
            for info in play(self.model, self.eval_env)[0]:
                self.log("eval", info)
            self.model.save(self.args.out / "policy.zip")
        return True

    def log(self, phase: str, info: dict) -> None:
        line = {
            "phase": phase,
            "step": self.num_timesteps,
            "task_return": round(info["viper/task_return"], 1),
            "viper_return": round(info["viper/return"], 1),
            **({"success": info["success"]} if "success" in info else {}),
            "seconds": round(time.time() - self.start),
            "reward_time_share": round(info["viper/time_share"], 2),
        }
        with (self.args.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)


def with_success(info: dict, solved: bool) -> dict:
    """An episode's last info, with "success" said of the whole episode."""
    return {**info, "success": solved} if "success" in info else info


def play(model: SAC, venv: VecEnv, deterministic: bool = True) -> tuple[list[dict], list[Episode]]:
    """One episode in every environment: last infos, and what was seen but for the last frame."""
    venv.seed(10_000)
    observations, last = venv.reset(), {}
    frames: list[list] = [[] for _ in range(venv.num_envs)]
    rewards: list[list] = [[] for _ in range(venv.num_envs)]
    solved = np.zeros(venv.num_envs, bool)
    while len(last) < venv.num_envs:
        for i, image in enumerate(venv.get_images()):
            if i not in last:
                frames[i].append(image)
        actions, _ = model.predict(observations, deterministic=deterministic)
        observations, _, dones, infos = venv.step(actions)
        for i, info in enumerate(infos):
            if i not in last:
                rewards[i].append(info["viper/task_reward"])
        solved |= [bool(info.get("success")) for info in infos]
        ended = [i for i in np.flatnonzero(dones) if i not in last]
        last.update({i: with_success(infos[i], bool(solved[i])) for i in ended})
    episodes = [
        Episode(
            np.stack(frames[i]),
            np.array(rewards[i][:-1], np.float32),
            {k: v for k, v in last[i].items() if k == "success"},
        )
        for i in range(venv.num_envs)
    ]
    return [last[i] for i in range(venv.num_envs)], episodes


def main(args: Args) -> None:
    torch.set_num_threads(args.threads)
    updates = args.envs * args.updates
    if updates < 1 or updates != round(updates):
        raise SystemExit(f"--envs times --updates: expected a whole number, got {updates:g}")
    args.out.mkdir(parents=True, exist_ok=True)
    set_aside(args.out / "metrics.jsonl", "policy.zip", "behaviour.gif", "episodes")
    venv = make(args, args.envs, args.seed, args.beta)
    eval_env = make(args, 2, 10_000, beta=0.0)
    model = SAC(
        "MlpPolicy",
        venv,
        learning_starts=1000,
        learning_rate=args.learning_rate,
        train_freq=1,
        gradient_steps=round(updates),
        seed=args.seed,
        device="cpu",
    )
    callback = LogReturns(args, venv, eval_env)
    model.learn(args.steps, callback=callback)
    model.save(args.out / "policy.zip")
    final = make(args, args.final_episodes, 10_000, beta=0.0)
    infos, episodes = play(model, final)
    for info in infos:
        callback.log("final", info)
    for info in play(model, final, deterministic=False)[0]:
        callback.log("final as trained", info)
    video_gif(episodes[0].frames, args.out / "behaviour.gif")
    # for `viper-gym evaluate --agents`: does the reward pay for what this agent found?
    for i, episode in enumerate(episodes):
        episode.save(args.out / "episodes" / args.task / f"{i}.npz")


if __name__ == "__main__":
    main(tyro.cli(Args))

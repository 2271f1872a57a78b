"""Train the state oracle of a dmc task with SAC and write its actor as safetensors.

A tool with an environment of its own, because it is faster on JAX:

    python -m venv oracle-env
    oracle-env/bin/pip install sbx-rl dm_control "mujoco>=3.17,<4" imageio tyro safetensors
    oracle-env/bin/python tools/train_oracle.py \
        --domain cheetah --task run --out run.safetensors

Episodes begin after random pushes in `--push` of the cases, so that the oracle can recover
from where learners go. The actor with the best mean return over `--eval-episodes` unpushed
episodes is kept; a lucky small evaluation once hid a reacher that failed one start in ten.
"""

import os

# Before JAX is imported: one thread a run, so that runs can share a machine.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)
os.environ.setdefault("MUJOCO_GL", "disable")

import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro
from dm_control import suite
from safetensors.numpy import save_file
from sbx import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv


@dataclass
class Args:
    domain: str
    task: str
    out: Path
    minutes: float = 15.0
    stop_at: float = float("inf")
    """stop when an evaluation reaches this mean return"""
    eval_episodes: int = 20
    eval_seconds: float = 60.0
    """seconds between evaluations"""
    push: float = 0.3
    """share of training episodes that begin after random actions"""
    action_cost: float = 0.0
    """taken from the training reward for every step, times the mean squared action: an expert
    that has arrived then holds still instead of trembling, which no video model can predict"""
    envs: int = 4
    gradient_steps: int = 4
    """a step of all environments"""
    learning_rate: float = 5e-4
    seed: int = 0
    warm_start: Path | None = None
    """go on from a .zip of an earlier run"""
    refill: int = 24_000
    """with --warm-start: steps of the old policy before the first update. Its replay buffer is
    not kept, and updates on a nearly empty one make it forget (cheetah: 857 to 50)"""


class StateEnv(gym.Env):
    """dm_control task with flat state observations, action repeat 2, random pushes at reset."""

    def __init__(self, domain: str, task: str, seed: int, push: float, action_cost: float = 0.0):
        self.env = suite.load(domain, task, task_kwargs={"random": seed})
        self.push, self.rng = push, np.random.default_rng(seed)
        self.action_cost = action_cost
        spec = self.env.action_spec()
        self.low, self.high = spec.minimum, spec.maximum
        self.action_space = gym.spaces.Box(-1, 1, spec.shape, np.float32)
        width = sum(int(np.prod(s.shape)) for s in self.env.observation_spec().values())
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)

    def reset(self, *, seed=None, options=None):
        timestep = self.env.reset()
        self.task_return = 0.0
        if self.rng.random() < self.push:
            hold = self.rng.choice([1, 6, 20])
            for step in range(int(self.rng.integers(5, 80))):
                if step % hold == 0:
                    amplitude = min(1.0, self.rng.uniform(0.3, 1.5))
                    action = self.rng.uniform(self.low, self.high) * amplitude
                timestep = self.env.step(action)
        return self._flat(timestep), {}

    def step(self, action):
        action = np.clip(action, -1, 1)
        cost = self.action_cost * float(np.mean(action**2))
        action = self.low + (action + 1) * 0.5 * (self.high - self.low)
        reward = 0.0
        for _ in range(2):
            timestep = self.env.step(action)
            reward += timestep.reward or 0.0
            if timestep.last():
                break
        self.task_return += reward
        return self._flat(timestep), float(reward) - cost, False, timestep.last(), {}

    def _flat(self, timestep):
        return np.concatenate([np.ravel(v) for v in timestep.observation.values()]).astype(
            np.float32
        )


class KeepBest(BaseCallback):
    """Evaluate now and then; keep the best actor."""

    def __init__(self, args: Args):
        super().__init__()
        self.args, self.start, self.last, self.best = args, time.time(), 0.0, -np.inf
        self.eval_env = StateEnv(args.domain, args.task, 10**6, push=0.0)

    def _on_step(self) -> bool:
        elapsed = time.time() - self.start
        if time.time() - self.last > self.args.eval_seconds and self.num_timesteps > 3000:
            returns = [self._episode() for _ in range(self.args.eval_episodes)]
            mean = float(np.mean(returns))
            print(
                f"{elapsed:.0f} s, {self.num_timesteps} steps: return {mean:.0f}, "
                f"lowest {min(returns):.0f}",
                flush=True,
            )
            if mean >= self.best:
                self.best = mean
                export(self.model, self.args.out)
                self.model.save(self.args.out.with_suffix(".zip"))
            self.last = time.time()
        return elapsed < 60 * self.args.minutes and self.best < self.args.stop_at

    def _episode(self) -> float:
        observation, _ = self.eval_env.reset()
        done = False
        while not done:
            action, _ = self.model.predict(observation, deterministic=True)
            observation, _, _, done, _ = self.eval_env.step(action)
        return self.eval_env.task_return


def export(model: SAC, path: Path) -> None:
    """Actor as `Dense_i.weight (out, in)` and `Dense_i.bias (out,)`."""
    weights = {}
    for name, layer in model.policy.actor_state.params["params"].items():
        weights[f"{name}.weight"] = np.ascontiguousarray(np.asarray(layer["kernel"]).T)
        weights[f"{name}.bias"] = np.asarray(layer["bias"])
    save_file(weights, str(path))


def main(args: Args) -> None:
    args.out.parent.mkdir(parents=True, exist_ok=True)
    envs = DummyVecEnv(
        [
            lambda i=i: StateEnv(
                args.domain, args.task, 100 * args.seed + i, args.push, args.action_cost
            )
            for i in range(args.envs)
        ]
    )
    if args.warm_start is not None:
        model = SAC.load(args.warm_start, env=envs)
        model.learning_starts = 0  # before it, SAC acts at random
        update = model.train
        model.train = lambda *a, **k: update(*a, **k) if model.num_timesteps > args.refill else None
    else:
        model = SAC(
            "MlpPolicy",
            envs,
            learning_starts=2000,
            train_freq=1,
            gradient_steps=args.gradient_steps,
            learning_rate=args.learning_rate,
            seed=args.seed,
        )
    callback = KeepBest(args)
    model.learn(10**9, callback=callback)
    print(f"best mean return {callback.best:.1f}: {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args))

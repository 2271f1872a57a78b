"""Train the expert of an Atari game from a few bytes of its memory with PPO (safetensors).

    .venv/bin/python tools/train_game_oracle.py --game pong \
        --out src/viper_gym/envs/oracles/pong.safetensors

It sees what `viper_gym.envs.game_policy.seen` makes of the memory now and one step ago, and learns
from the game's score (its sign). The policy with the best mean score over `--eval-games` is kept,
whose actions are the likeliest ones.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import ale_py
import gymnasium as gym
import numpy as np
import torch
import tyro
from safetensors.numpy import save_file
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv

from viper_gym.envs.atari import STICKY, atari_game
from viper_gym.envs.game_policy import GAME_BYTES, GamePolicy, seen

gym.register_envs(ale_py)


@dataclass
class Args:
    game: str
    out: Path
    minutes: float = 30.0
    envs: int = 16
    eval_games: int = 5
    eval_minutes: float = 3.0
    """minutes of training between evaluations"""
    learning_rate: float = 1e-3
    entropy: float = 0.01
    seed: int = 0


class MemoryEnv(gym.Env):
    """A game whose observations are what a `GamePolicy` sees; rewards are signs of scores."""

    def __init__(self, game: str, signs: bool = True):
        spec = atari_game(game)
        self._game = gym.make(  # not `AtariEnv`, which draws every frame
            f"ALE/{spec.name}-v5",
            obs_type="ram",
            frameskip=spec.action_repeat,
            repeat_action_probability=STICKY,
        )
        self._name, self._signs = game, signs
        self.action_space = self._game.action_space
        self.observation_space = gym.spaces.Box(-2, 2, (2 * len(GAME_BYTES[game]),), np.float32)

    def _see(self, memory):
        before, self._before = self._before, memory
        return seen(self._name, memory, before)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        memory, info = self._game.reset(seed=seed)
        for _ in range(self.np_random.integers(8)):  # of the seed, in later episodes, too
            memory, *_ = self._game.step(0)
        self._before = memory
        return self._see(memory), info

    def step(self, action):
        memory, reward, terminated, truncated, info = self._game.step(int(action))
        reward = float(np.sign(reward) if self._signs else reward)
        return self._see(memory), reward, terminated, truncated, info


def weights_of(policy) -> dict[str, np.ndarray]:
    """The actor's layers under the names that `GamePolicy` reads."""
    linear = [m for m in policy.mlp_extractor.policy_net if isinstance(m, torch.nn.Linear)]
    arrays = {}
    for i, layer in enumerate([*linear, policy.action_net]):
        arrays[f"Dense_{i}.weight"] = layer.weight.detach().numpy().copy()
        arrays[f"Dense_{i}.bias"] = layer.bias.detach().numpy().copy()
    return arrays


class KeepBest(BaseCallback):
    """Play whole games now and then; write the best policy; stop when time is up."""

    def __init__(self, args: Args):
        super().__init__()
        self.args, self.started = args, time.time()
        self.next, self.best = self.started + 60 * args.eval_minutes, -np.inf
        self.env = MemoryEnv(args.game, signs=False)

    def _on_step(self) -> bool:
        return time.time() < self.started + 60 * self.args.minutes

    def _on_rollout_end(self) -> None:
        if time.time() > self.next:
            self.evaluate()
            self.next = time.time() + 60 * self.args.eval_minutes

    def evaluate(self) -> None:
        arrays = weights_of(self.model.policy)
        policy = GamePolicy(self.args.game, arrays)
        scores = []
        for seed in range(self.args.eval_games):
            observation, _ = self.env.reset(seed=seed)
            total, over = 0.0, False
            while not over:
                action = int(policy.scores(observation).argmax())
                observation, reward, terminated, truncated, _ = self.env.step(action)
                total, over = total + reward, terminated or truncated
            scores.append(total)
        minutes = (time.time() - self.started) / 60
        print(
            f"{minutes:.1f} min, {self.num_timesteps} steps: {np.mean(scores):.1f} {scores}",
            flush=True,
        )
        if np.mean(scores) > self.best:
            self.best = float(np.mean(scores))
            save_file(arrays, self.args.out, {"score": f"{self.best:.2f}"})


def main(args: Args) -> None:
    torch.set_num_threads(1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    envs = DummyVecEnv([lambda: MemoryEnv(args.game)] * args.envs)
    model = PPO(
        "MlpPolicy",
        envs,
        n_steps=128,
        batch_size=256,
        n_epochs=4,
        learning_rate=args.learning_rate,
        ent_coef=args.entropy,
        gamma=0.99,
        seed=args.seed,
        policy_kwargs={"net_arch": [64, 64]},
    )
    keep = KeepBest(args)
    model.learn(10**9, callback=keep)
    keep.evaluate()


if __name__ == "__main__":
    main(tyro.cli(Args))

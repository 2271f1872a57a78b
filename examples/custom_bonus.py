"""An exploration bonus of your own: counts of hashed pictures (Tang et al. 2017).

    python examples/custom_bonus.py

Anything with `compute`, `update` and `state_dict` is a bonus; it sees the previous frame, the
action and the frame of every step, and the tokenizer's features of both frames.
"""

from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np

from viper_gym import ViperVectorRewardWrapper
from viper_gym.types import Transition


class HashCounts:
    """1 / sqrt(n) for the n-th visit of a picture's hash: new pictures pay 1, known ones less.

    The hash is the signs of a few random projections of the frozen tokenizer's features.
    """

    def __init__(self, bits: int = 32, seed: int = 0):
        self.counts: Counter[bytes] = Counter()
        self.bits, self.seed = bits, seed
        self.projection: np.ndarray | None = None  # (D, bits), once D is known

    def hashes(self, features: np.ndarray) -> list[bytes]:
        """float32 (m, D) -> m keys."""
        if self.projection is None:
            rng = np.random.default_rng(self.seed)
            self.projection = rng.standard_normal((features.shape[1], self.bits))
        return [row.tobytes() for row in np.packbits(features @ self.projection > 0, axis=1)]

    def compute(self, transition: Transition) -> np.ndarray:
        """float32 (m,)."""
        keys = self.hashes(transition.features)
        return np.array([1 / np.sqrt(1 + self.counts[key]) for key in keys], np.float32)

    def update(self, transition: Transition) -> None:
        self.counts.update(self.hashes(transition.features))

    def state_dict(self) -> dict[str, Any]:
        return {"counts": dict(self.counts), "bits": self.bits, "seed": self.seed}


def main(steps: int = 200) -> None:
    bonus = HashCounts()
    envs = gym.make_vec("viper/dmc-cup_catch-v0", 4, checkpoint=None)
    envs = ViperVectorRewardWrapper(envs, "dmc", task="cup_catch", bonus=bonus, beta=0.5)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for step in range(steps):
        *_, infos = envs.step(envs.action_space.sample())
        if step % 50 == 0:
            paid, video = infos["viper/bonus"].mean(), infos["viper/reward"].mean()
            print(f"step {step:3}  bonus {paid:.2f}  video reward {video:.2f}")
    print(f"{len(bonus.counts)} different pictures in {4 * steps} steps")
    envs.close()


if __name__ == "__main__":
    main()

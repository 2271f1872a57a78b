"""Experts of games that were trained from a few bytes of the machine's memory.

The files are safetensors of `Dense_i.weight (out, in)` and `Dense_i.bias (out,)`, tanh between
them. `tools/train_game_oracle.py` makes them (PPO; Schulman et al. 2017).
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from viper_gym.errors import UnknownTask

GAME_BYTES: dict[str, tuple[int, ...]] = {
    "boxing": (32, 34, 33, 35),  # our column and row, the other's
    "pong": (49, 54, 51, 50),  # ball's column and row, our paddle's row, the other's
}
"""addresses of the bytes (of 128) that say where things are in a game (Anand et al. 2019)"""


def seen(game: str, memory: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Memory (128,) now and a step ago -> places and velocities, float32 (2 n,), about -1 to 1."""
    look = list(GAME_BYTES[game])
    now, then = memory[look].astype(np.float32), before[look].astype(np.float32)
    # some bytes of a step at most, but for what jumps (a ball served anew)
    return np.concatenate([now / 128 - 1, ((now - then) / 8).clip(-2, 2)])


def _file(game: str) -> Path:
    return Path(str(resources.files("viper_gym.envs"))) / "oracles" / f"{game}.safetensors"


def has_policy(game: str) -> bool:
    """Whether a policy of this game is bundled."""
    return _file(game).is_file()


class GamePolicy:
    """Deterministic expert of a game: memory now and a step ago -> its likeliest action.

    Acts as other policies of games do, by a vector (actions,) with 1 at the chosen one.

    Args:
        game: its name in ids ("pong").
        weights: layers as in the bundled file; that file if left out.

    Raises:
        UnknownTask: no policy is bundled for this game.
    """

    def __init__(self, game: str, weights: dict[str, np.ndarray] | None = None):
        if weights is None:
            if not has_policy(game):
                raise UnknownTask(f"no policy is bundled for atari game '{game}'")
            weights = load(_file(game).read_bytes())
        self._game = game
        self._before: np.ndarray | None = None
        self._layers = [
            (weights[f"Dense_{i}.weight"], weights[f"Dense_{i}.bias"])
            for i in range(len(weights) // 2)
        ]

    def reset(self, rng: np.random.Generator) -> None:
        """A new episode: nothing was seen before."""
        self._before = None

    def scores(self, x: np.ndarray) -> np.ndarray:
        """What `seen` gives, (2 n,) -> logits (actions,)."""
        for weight, bias in self._layers[:-1]:
            x = np.tanh(weight @ x + bias)
        weight, bias = self._layers[-1]
        return weight @ x + bias

    def __call__(self, state: np.ndarray) -> np.ndarray:
        before = state if self._before is None else self._before
        self._before = state
        scores = self.scores(seen(self._game, state, before))
        return np.eye(len(scores), dtype=np.float32)[scores.argmax()]

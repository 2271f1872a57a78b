"""An expert for games: it tries futures in copies of the emulator, and takes the best one.

No learning, and (but for what `PLANS` says) no knowledge of the game: the score of a few dozen
futures, played from a saved state, decides the next few actions. That the real future is sticky,
and the saved state does not say how, keeps it from cheating on luck.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from viper_gym.envs.atari import AtariEnv


@dataclass(frozen=True)
class LookaheadConfig:
    """How far and how widely an expert looks; the rest of the last best future is always tried."""

    single: int = 8
    """futures of one action, held all along"""
    drawn: int = 7
    """futures of random actions"""
    horizon: int = 40
    """environment steps of a future"""
    committed: int = 6
    """environment steps that are played before it looks again"""
    held: int = 5
    """environment steps an action of a random future is held"""
    discount: float = 0.98
    """a step, of the score"""
    life: float = 50.0
    """score that a lost life is worth"""
    progress: Callable[[np.ndarray], float] | None = None
    """the machine's memory, uint8 (128,), at the end of a future -> points that being there is
    worth, for games whose points are further away than a future reaches; None: the score alone"""


def _hen(memory: np.ndarray) -> float:
    """Freeway: how far up the hen is (6 to about 180, 43 steps)."""
    return float(memory[14]) / 256


def _reach(memory: np.ndarray) -> float:
    """Boxing: how near we are to where a punch lands: beside the other, an arm away."""
    x, other_x, y, other_y = memory[32:36].astype(float)
    return -(abs(abs(other_x - x) - 28) + abs(other_y - y)) / 100


PLANS: dict[str, LookaheadConfig] = {
    "freeway": LookaheadConfig(3, 2, horizon=12, committed=2, held=4, progress=_hen),
    "boxing": LookaheadConfig(18, 0, horizon=3, committed=1, progress=_reach),
    "kangaroo": LookaheadConfig(life=1000.0),  # 4212 in eight games; with 50 it had 4800 and 800
}
"""by game, where the default plays badly or slowly"""


class Lookahead:
    """Policy of one environment; it plays futures in a copy of its emulator.

    Futures: what is left of the last best one; single actions, held all along; random ones. Acts as
    other policies do, by a vector (actions,) with 1 at the chosen one.

    Args:
        env: the environment it will be played in.
        config: how far and how widely it looks; the game's own (`PLANS`) if left out.
    """

    def __init__(self, env: AtariEnv, config: LookaheadConfig | None = None):
        self._env, self._config = env, config or PLANS.get(env.task, LookaheadConfig())
        self._number = int(env.action_space.n)

    def reset(self, rng: np.random.Generator) -> None:
        # a new copy, so that an episode's seed decides how actions stick in it, too
        self._rng, self._copy = rng, self._env.copy_of_emulator()
        self._plan, self._played = np.zeros(0, int), 0

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """State is not looked at -> float32 (actions,)."""
        c = self._config
        if self._played == min(c.committed, len(self._plan)):
            self._plan, self._played = self._best(self._plan[self._played :]), 0
        self._played += 1
        return np.eye(self._number, dtype=np.float32)[self._plan[self._played - 1]]

    def _best(self, rest: np.ndarray) -> np.ndarray:
        """The plan whose future scores most, int (horizon,); of equal ones any."""
        c, rng, n = self._config, self._rng, self._number
        some = rng.permutation(n)[: c.single]
        plans = [np.full(c.horizon, action) for action in some]
        if len(rest):
            plans.append(np.concatenate([rest, np.full(c.horizon - len(rest), rng.integers(n))]))
        for _ in range(c.drawn):
            drawn = rng.integers(n, size=c.horizon // c.held + 1)
            plans.append(drawn.repeat(c.held)[: c.horizon])
        # a copy, because a restored emulator still knows the action it was last given, to which
        # the next one may stick
        saved, scores = self._env.emulator.cloneState(), np.zeros(len(plans))
        for i, plan in enumerate(plans):
            self._copy.restoreState(saved)
            scores[i] = self._play(self._copy, plan)
        return plans[rng.choice(np.flatnonzero(scores == scores.max()))]

    def _play(self, emulator: Any, plan: np.ndarray) -> float:
        """Discounted score of a plan, and where it ends; a lost life ends it."""
        c, actions = self._config, self._env.emulator_actions
        score, weight, lives = 0.0, 1.0, emulator.lives()
        for action in plan:
            for _ in range(self._env.action_repeat):
                score += weight * emulator.act(actions[action])
            if emulator.game_over() or emulator.lives() < lives:
                return score - weight * c.life
            weight *= c.discount
        if c.progress is not None:
            score += weight * c.progress(emulator.getRAM())
        return score

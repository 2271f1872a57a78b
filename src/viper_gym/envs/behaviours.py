"""Scripted behaviours: experts made diverse, cheap tricks, and a ladder between them.

The reward audit asks whether a video model pays any of the cheap ones (section 7 of the
design: two prototypes did, and every agent found it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from viper_gym.types import Policy

EMPTY = "empty"  # nothing in view: zero actions, the bodies hidden


@dataclass(frozen=True)
class EpisodeRecipe:
    """How episodes of a suite are played; lengths in environment steps."""

    episode: int = 500  # dm_control: 1000 control steps at action repeat 2
    skipped: int = 50  # of nominal expert episodes
    pushed_episode: int = 200
    push: tuple[int, int] = (30, 120)  # shortest, and longest plus one
    holds: tuple[int, ...] = (5, 10, 25)  # of a push's actions
    segment: int = 15  # of who acts by turns
    noise: tuple[float, ...] = (0.0, 0.0, 0.0, 0.1, 0.2, 0.4, 0.7)  # on training actions

    def scaled(self, factor: float) -> EpisodeRecipe:
        """The same time in `factor` as many steps."""

        def steps(number: int) -> int:
            return round(factor * number)

        shortest = steps(self.push[0])
        return replace(
            self,
            episode=max(1, steps(self.episode)),
            skipped=steps(self.skipped),
            pushed_episode=max(1, steps(self.pushed_episode)),
            push=(shortest, max(shortest + 1, steps(self.push[1]))),
            holds=tuple(max(1, steps(hold)) for hold in self.holds),
            segment=max(1, steps(self.segment)),
        )


DMC_RECIPE = EpisodeRecipe()


class Held:
    """Uniform actions of a fixed amplitude, each held for `hold` steps."""

    def __init__(self, size: int, amplitude: float = 1.0, hold: int = 1):
        self._size, self._amplitude, self._hold = size, amplitude, hold

    def reset(self, rng: np.random.Generator) -> None:
        self._rng, self._steps = rng, 0

    def __call__(self, state: np.ndarray) -> np.ndarray:
        if self._steps % self._hold == 0:
            self._action = self._rng.uniform(-self._amplitude, self._amplitude, self._size)
        self._steps += 1
        return self._action


class Noisy:
    """A policy with white Gaussian action noise of standard deviation `sigma`.

    Not clipped, which environments do themselves: of a game's buttons, chosen by the largest
    entry, all that were cut to 1 would be the first of them.
    """

    def __init__(self, policy: Policy, sigma: float):
        self._policy, self._sigma = policy, sigma

    def reset(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._policy.reset(rng)

    def __call__(self, state: np.ndarray) -> np.ndarray:
        action = self._policy(state)
        return action + self._sigma * self._rng.standard_normal(action.shape)


class Mixed:
    """Every `segment` steps, acts by `other` with the given probability, else by `policy`."""

    def __init__(self, policy: Policy, other: Policy, probability: float, segment: int):
        self._policies = (policy, other)
        self._probability, self._segment = probability, segment

    def reset(self, rng: np.random.Generator) -> None:
        self._rng, self._steps = rng, 0
        for policy in self._policies:
            policy.reset(rng)

    def __call__(self, state: np.ndarray) -> np.ndarray:
        if self._steps % self._segment == 0:
            self._active = self._policies[int(self._rng.random() < self._probability)]
        self._steps += 1
        return self._active(state)


class Switch:
    """`first` for `steps` steps, then `second`."""

    def __init__(self, first: Policy, steps: int, second: Policy):
        self._first, self._at, self._second = first, steps, second

    def reset(self, rng: np.random.Generator) -> None:
        self._steps = 0
        self._first.reset(rng)
        self._second.reset(rng)

    def __call__(self, state: np.ndarray) -> np.ndarray:
        self._steps += 1
        return self._first(state) if self._steps <= self._at else self._second(state)


@dataclass
class EpisodePlan:
    """How one episode is played: who acts, from where, for how long."""

    policy: Policy
    length: int  # environment steps
    warmup: Policy | None = None
    warmup_steps: int = 0
    note: str = ""
    expert_from: int | None = None
    """step from which on nobody but an expert acts, who stops where he is done (`Suite.settle`)"""


_Plan = Callable[[Policy, int, EpisodeRecipe, np.random.Generator], EpisodePlan]


def _diverse(
    oracle: Policy, size: int, recipe: EpisodeRecipe, rng: np.random.Generator
) -> EpisodePlan:
    """Expert from states that learners visit, at several noise levels.

    What is recorded starts when the expert takes over. A pose that every episode starts from
    (a pole hanging still) must not be in it: it would be among the likeliest frames there
    are, and an agent would stay there. So the first steps of nominal episodes are left out,
    as the authors do, and pushes are long and strong enough to leave that pose.
    """
    sigma = float(rng.choice(recipe.noise))
    policy = Noisy(oracle, sigma)
    if rng.random() < 0.25:
        note = f"first {recipe.skipped} steps left out, noise {sigma}"
        return EpisodePlan(policy, recipe.episode - recipe.skipped, oracle, recipe.skipped, note, 0)
    hold = int(rng.choice(recipe.holds))
    warmup: Policy = Held(size, amplitude=float(rng.uniform(0.6, 1.0)), hold=hold)
    if rng.random() < 0.5:  # a learner that half knows the task
        warmup = Mixed(oracle, warmup, float(rng.uniform(0.3, 0.8)), recipe.segment)
    steps = int(rng.integers(*recipe.push))
    note = f"pushed {steps} steps, noise {sigma}"
    return EpisodePlan(policy, recipe.pushed_episode, warmup, steps, note, 0)


def _graded(
    oracle: Policy, size: int, recipe: EpisodeRecipe, rng: np.random.Generator
) -> EpisodePlan:
    """One rung of the ladder from useless to expert."""
    random = Held(size)
    n = recipe.episode
    at = int(rng.integers(n // 20, n - n // 20))
    kind = int(rng.integers(5))
    if kind == 0:
        sigma = float(rng.uniform(0.0, 2.0))
        return EpisodePlan(Noisy(oracle, sigma), n, note=f"noise {sigma:.2f}")
    if kind == 1:
        p = float(rng.uniform())
        return EpisodePlan(
            Mixed(oracle, random, p, recipe.segment), n, note=f"random segments {p:.2f}"
        )
    if kind == 2:
        return EpisodePlan(Switch(oracle, at, random), n, note=f"expert, random after {at}")
    first, name = (random, "random") if kind == 3 else (Held(size, 0.0), "still")
    note = f"{name}, expert after {at}"
    return EpisodePlan(Switch(first, at, oracle), n, note=note, expert_from=at)


def _held(
    oracle: Policy, size: int, recipe: EpisodeRecipe, rng: np.random.Generator
) -> EpisodePlan:
    """Random actions, each held for a 25th to a quarter of an episode: poses that agents come to.

    An agent that is paid for a pose needs no more than the action that leads there; quick random
    play comes by few of them, and full constant actions only by the furthest.
    """
    n = recipe.episode
    hold = max(1, int(rng.choice([n // 25, n // 8, n // 4])))
    amplitude = float(rng.choice([0.3, 1.0]))
    return EpisodePlan(Held(size, amplitude, hold), n, note=f"up to {amplitude}, {hold} steps each")


def _rest(
    oracle: Policy, size: int, recipe: EpisodeRecipe, rng: np.random.Generator
) -> EpisodePlan:
    """Zero actions where an expert stopped, recorded once what he moved has had time to stop."""
    n, still = recipe.episode, Held(size, 0.0)
    at = int(rng.integers(n // 25, max(n // 25 + 1, 3 * n // 10)))
    steps = at + n // 12
    return EpisodePlan(still, n - steps, Switch(oracle, at, still), steps, f"stopped at {at}")


def _plain(make: Callable[[Policy, int, np.random.Generator], Policy]) -> _Plan:
    """A policy for a whole episode."""
    return lambda oracle, size, recipe, rng: EpisodePlan(make(oracle, size, rng), recipe.episode)


_PLANS: dict[str, _Plan] = {
    "expert": lambda oracle, size, recipe, rng: EpisodePlan(oracle, recipe.episode, expert_from=0),
    "diverse": _diverse,
    "graded": _graded,
    "zero": _plain(lambda oracle, size, rng: Held(size, 0.0)),
    "small": _plain(lambda oracle, size, rng: Held(size, 0.1)),
    "constant": _plain(lambda oracle, size, rng: Held(size, 1.0, hold=10**6)),
    "random": _plain(lambda oracle, size, rng: Held(size)),
    "held": _held,
    "rest": _rest,
    EMPTY: _plain(lambda oracle, size, rng: Held(size, 0.0)),  # and the bodies hidden
    "stop": lambda oracle, size, recipe, rng: EpisodePlan(
        Switch(
            oracle,
            int(rng.integers(recipe.episode // 25, max(1, 3 * recipe.episode // 10))),
            Held(size, 0.0),
        ),
        recipe.episode,
    ),
}
BEHAVIOURS = tuple(_PLANS)
BY_EXPERT = ("expert", "diverse", "graded", "stop", "rest")
"""in which an expert acts"""


def plan_episode(
    behaviour: str,
    oracle: Policy | None,
    action_size: int,
    seed: int,
    recipe: EpisodeRecipe = DMC_RECIPE,
) -> EpisodePlan:
    """The plan of episode `seed` of a behaviour; the same seed gives the same plan.

    Args:
        oracle: the expert; None will do where none acts (`BY_EXPERT`).

    Raises:
        ValueError: unknown behaviour, or no expert for one that needs it.
    """
    if behaviour not in _PLANS:
        raise ValueError(f"unknown behaviour '{behaviour}'; known: {', '.join(BEHAVIOURS)}")
    if oracle is None:
        if behaviour in BY_EXPERT:
            raise ValueError(f"'{behaviour}' episodes need an expert")
        oracle = Held(action_size, 0.0)
    return _PLANS[behaviour](oracle, action_size, recipe, np.random.default_rng((seed, 1)))

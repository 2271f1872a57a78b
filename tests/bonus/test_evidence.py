"""Do the bonuses tell what was seen from what was not, on real dm_control frames?

Two regions of cartpole_swingup that share no pose: the pole hangs while the cart is pushed
gently, or the oracle has swung it up. Both enter the running statistics, only one is learned
from, and then the roles are swapped. An untrained network orders the two in one direction, so
it fails in the other: only learning passes both.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import pytest

from viper_gym import RND, Disagreement, VideoRewardModel
from viper_gym.bonus.disagreement import DisagreementConfig
from viper_gym.bonus.rnd import RNDConfig
from viper_gym.envs.behaviours import Held
from viper_gym.envs.dmc import DMCEnv
from viper_gym.envs.oracle import Oracle
from viper_gym.types import Transition

STEPS = 64
UPDATES = 300


def record(seed: int, swing_up: bool) -> Transition:
    """STEPS steps of one episode, all in one region."""
    env, oracle = DMCEnv("cartpole_swingup", observation="state"), Oracle("cartpole_swingup")
    policy = oracle if swing_up else Held(1, amplitude=0.3, hold=5)
    env.reset(seed=seed)
    policy.reset(np.random.default_rng(seed))
    for _ in range(60 if swing_up else 0):
        env.step(oracle(env.state()))
    frames, actions = [env.render()], []
    for _ in range(STEPS):
        actions.append(np.float32(policy(env.state())))
        env.step(actions[-1])
        frames.append(env.render())
        cosine = env.physics.named.data.xmat["pole_1", "zz"]
        assert (cosine > 0) == swing_up  # the regions do not touch
    return Transition(np.stack(frames[:-1]), np.stack(actions), np.stack(frames[1:]))


class Region(NamedTuple):
    known: Transition  # of four episodes; one region's is learned from
    held_out: Transition  # of two more episodes, never learned from


def together(*parts: Transition) -> Transition:
    return Transition(*(np.concatenate([part[i] for part in parts]) for i in range(3)))


@pytest.fixture(scope="module")
def regions() -> dict[str, Region]:
    found = {}
    for name, swing_up in (("hanging", False), ("upright", True)):
        episodes = [record(seed, swing_up) for seed in range(6)]
        found[name] = Region(together(*episodes[:4]), together(*episodes[4:]))
    return found


def share_above(unseen: np.ndarray, seen: np.ndarray) -> float:
    """Share of (unseen, seen) pairs in which the unseen one is higher."""
    return float((unseen[:, None] > seen[None]).mean())


ROLES = [("hanging", "upright"), ("upright", "hanging")]


def test_an_untrained_bonus_would_fail(regions):
    """Of the two roles one is below one half, whatever the weights."""
    rnd, disagreement = RND(64), Disagreement()
    everything = together(*(region.known for region in regions.values()))
    rnd.compute(everything)
    disagreement.compute(everything)
    for error in (lambda t: rnd.error(t.frame), disagreement.error):
        shares = [share_above(error(regions[u].known), error(regions[s].known)) for s, u in ROLES]
        assert min(shares) <= 0.5


@pytest.mark.parametrize(("seen", "unseen"), ROLES)
def test_rnd(regions, seen, unseen):
    rnd = RND(64, RNDConfig(update_every=1))
    rnd.compute(together(regions[seen].known, regions[unseen].known))
    before = rnd.error(regions[seen].known.frame).mean()
    for _ in range(UPDATES):
        rnd.update(regions[seen].known)
    after = rnd.error(regions[seen].known.frame)
    assert before / after.mean() >= 10
    new = rnd.error(regions[unseen].known.frame)
    assert share_above(new, after) >= 0.95
    # other episodes of the region that was seen are partly new (the cart is elsewhere)
    assert new.mean() > rnd.error(regions[seen].held_out.frame).mean() > after.mean()


@pytest.mark.parametrize("features", ["tokenizer", "random network"])
@pytest.mark.parametrize(("seen", "unseen"), ROLES)
def test_disagreement(regions, seen, unseen, features):
    function = None
    if features == "tokenizer":
        model = VideoRewardModel.from_pretrained("dmc", device="cpu")
        function = partial(model.features, task="cartpole_swingup")
    bonus = Disagreement(function, DisagreementConfig(update_every=1))
    bonus.compute(together(regions[seen].known, regions[unseen].known))
    for _ in range(UPDATES):
        bonus.update(regions[seen].known)
    new = bonus.error(regions[unseen].known)
    after = bonus.error(regions[seen].known)
    assert share_above(new, after) >= 0.95
    assert new.mean() > bonus.error(regions[seen].held_out).mean() > after.mean()

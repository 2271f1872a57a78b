"""Where the time of an agent's step goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from viper_gym.agents.actions import ActionCodec
from viper_gym.agents.frame_shape import frame_shape
from viper_gym.agents.replay import FrameReplay, ReplayConfig
from viper_gym.agents.trainer import MakeAgent, MakeEnvs

CHUNK = 32  # steps before the other environments have their turn


@dataclass(frozen=True)
class StepCost:
    """Milliseconds for one step of one environment, with the learning that goes with it."""

    physics: float
    rendering: float
    reward: float
    acting: float
    learning: float
    update: float
    """one update, of which there are `updates_per_step` a step"""
    updates_per_step: float

    @property
    def total(self) -> float:
        return self.physics + self.rendering + self.reward + self.acting + self.learning

    @property
    def reward_share(self) -> float:
        """Of a step, learning included: 0…1."""
        return self.reward / self.total


def measure_step(
    make_envs: Mapping[str, MakeEnvs],
    make_agent: MakeAgent,
    num_envs: int,
    seconds: float = 3.0,
    on_part: Callable[[], None] = lambda: None,
) -> StepCost:
    """Time every part in one run; the three kinds of environment alternate.

    Args:
        make_envs: "physics" draws nothing, "pixels" has pictures as observations, "reward" the
            reward in question too.
        make_agent: (frame shape, actions) -> agent.
        num_envs: stepped together.
        seconds: each part takes at least this long.
        on_part: called after each of the three parts, for progress.

    Raises:
        TrainingError: the environments' actions do not fit the agent.
    """
    envs = {name: make(num_envs) for name, make in make_envs.items()}
    actions = ActionCodec(envs["pixels"].single_action_space)
    shape = frame_shape(envs["pixels"])
    agent = make_agent(shape, actions)
    rng = np.random.default_rng(0)
    # sequences of 64 steps want some room, whatever the number of environments
    replay = FrameReplay(ReplayConfig(512 * num_envs), num_envs, shape, actions.size)

    spent, steps = dict.fromkeys(envs, 0.0), 0
    for env in envs.values():
        env.reset(seed=0)
    while min(spent.values()) < seconds:
        for name, env in envs.items():
            began = time.perf_counter()
            for _ in range(CHUNK):
                env.step(actions.to_env(actions.random(num_envs, rng)))
            if steps:  # the first chunk warms up
                spent[name] += time.perf_counter() - began
        steps += CHUNK
    step = {name: 1000 * total / (steps - CHUNK) / num_envs for name, total in spent.items()}
    on_part()

    player = agent.player(num_envs)
    frames, _ = envs["pixels"].reset(seed=1)
    first, over, acting = np.ones(num_envs, bool), np.zeros(num_envs, bool), 0.0
    for t in range(2 * 64 + CHUNK):
        began = time.perf_counter()
        chosen = player(frames, first)
        if t >= CHUNK:
            acting += time.perf_counter() - began
        following, rewards, terminated, truncated, _ = envs["pixels"].step(actions.to_env(chosen))
        replay.add(frames, first, chosen, rewards, terminated)
        first, frames, over = over, following, (terminated | truncated) & ~over
    acting *= 1000 / (2 * 64) / num_envs
    on_part()

    agent.update(agent.sample(replay, rng))
    began, updates = time.perf_counter(), 0
    while updates < 3 or time.perf_counter() - began < seconds:
        agent.update(agent.sample(replay, rng))
        updates += 1
    update = 1000 * (time.perf_counter() - began) / updates
    on_part()
    for env in envs.values():
        env.close()
    return StepCost(
        step["physics"],
        max(0.0, step["pixels"] - step["physics"]),  # differences of what a busy machine may sway
        max(0.0, step["reward"] - step["pixels"]),
        acting,
        update * agent.updates_per_step,
        update,
        agent.updates_per_step,
    )

"""Run a policy in an environment and record what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from viper_gym.data.episodes import Episode
from viper_gym.types import Policy


def record_episode(
    env: gym.Env[Any, Any],
    policy: Policy,
    *,
    seed: int,
    length: int,
    warmup: Policy | None = None,
    warmup_steps: int = 0,
    settle: int | None = None,
    settle_from: int = 0,
    rest: Callable[[Any, np.ndarray, int], np.ndarray] | None = None,
    rest_steps: int = 0,
) -> Episode:
    """Record up to `length` environment steps (`length + 1` frames).

    Args:
        env: renders uint8 frames; `env.unwrapped.state()` gives what the policy acts on.
        policy: acts from the state vector.
        seed: of the environment's reset and of the policy's noise.
        length: steps to record, at most.
        warmup: acts for `warmup_steps` steps before the recording begins, so that it
            starts where a learner may be (docs/decisions.md, "diverse experts").
        settle: steps behind the first `info["success"]` after which the policy is stopped.
        settle_from: step before which a success stops nobody.
        rest: from the environment, the action before and the steps at rest so far to the
            action that holds the pose.
        rest_steps: steps of it, recorded behind those of the policy where it was stopped; without
            `rest` the episode ends there.

    Returns:
        The episode; its `meta` says whether there was "success" at any step, and at how many
        ("success_steps"), where the environment tells.
    """
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    reader: Any = env.unwrapped
    if warmup is not None:
        warmup.reset(rng)
        for _ in range(warmup_steps):
            env.step(warmup(reader.state()))
    policy.reset(rng)
    frames, rewards, meta = [_frame(env)], [], dict[str, Any](seed=seed)
    left, resting = length, 0
    while left + resting > 0:
        if left > 0:
            action = policy(reader.state())
        elif rest is not None:
            action = rest(reader, action, rest_steps - resting)
        _, reward, terminated, truncated, info = env.step(action)
        rewards.append(float(reward))
        frames.append(_frame(env))
        left, resting = (left - 1, resting) if left > 0 else (0, resting - 1)
        if "success" in info:
            meta["success_steps"] = meta.get("success_steps", 0) + bool(info["success"])
            meta["success"] = meta["success_steps"] > 0
            done = info["success"] and len(rewards) > settle_from
            if settle is not None and done and left > settle:
                left, resting = settle, rest_steps if rest is not None else 0
        if terminated or truncated:
            break
    return Episode(np.stack(frames), np.array(rewards, np.float32), meta)


def _frame(env: gym.Env[Any, Any]) -> np.ndarray:
    return np.array(env.render(), np.uint8)

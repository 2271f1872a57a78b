"""Register `viper/<suite>-<task>-v0` for every task of `checkpoints.json`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym


def register_all() -> None:
    """Register the ids; importing the package twice, or in a worker, is harmless."""
    from viper_gym.checkpoints.index import read_index

    for suite, entry in read_index().items():
        for task in entry.tasks:
            env_id = f"viper/{suite}-{task}-v0"
            if env_id not in gym.registry:
                gym.register(
                    id=env_id,
                    entry_point=f"viper_gym.registration:make_{suite}",
                    kwargs={"task": task},
                )


def make_dmc(
    task: str,
    checkpoint: str | None = "dmc",
    revision: str | None = None,
    device: str = "auto",
    observation: str = "pixels",
    render_quality: str | None = None,
    render_mode: str | None = "rgb_array",
    **reward: Any,
) -> gym.Env[Any, Any]:
    """A DeepMind Control task with VIPER reward: what `gym.make("viper/dmc-…")` returns.

    Args:
        checkpoint: None gives the bare environment with its task reward, seen as the bundle's
            videos were: what the vector wrappers are put around.
        observation: "pixels" or "state"; the reward comes from pixels either way.
        reward: arguments of `ViperRewardWrapper` (bonus, beta, reward_scale, …).
    """
    from viper_gym.envs.dmc import DMCEnv
    from viper_gym.wrappers.single import ViperRewardWrapper

    env = DMCEnv(task, observation, render_quality=render_quality, render_mode=render_mode)  # type: ignore[arg-type]
    if checkpoint is None:
        return env
    return ViperRewardWrapper(env, checkpoint, task, revision=revision, device=device, **reward)


make_dmc.metadata = {"render_modes": ["rgb_array"]}  # type: ignore[attr-defined]

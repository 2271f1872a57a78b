"""Register `viper/<suite>-<task>-v0` for every task of every suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym

OWN = "auto"  # stands for the suite's own bundles in `checkpoints.json`


def register_all() -> None:
    """Register the ids; importing the package twice, or in a worker, is harmless.

    Tasks that no published checkpoint serves have theirs, too: for a checkpoint of one's own, or
    the bare environment.
    """
    from viper_gym.envs.suite import SUITES

    for suite in SUITES.values():
        for task in suite.tasks:
            env_id = f"viper/{suite.name}-{task}-v0"
            if env_id not in gym.registry:
                gym.register(
                    id=env_id,
                    entry_point="viper_gym.registration:make",
                    vector_entry_point="viper_gym.registration:make_vec",
                    kwargs={"suite": suite.name, "task": task},
                )


def make(
    suite: str,
    task: str,
    checkpoint: str | None = OWN,
    revision: str | None = None,
    device: str = "auto",
    observation: str = "pixels",
    render_quality: str | None = None,
    action_repeat: int | None = None,
    hold: int = 1,
    view: dict[str, Any] | None = None,
    env_kwargs: dict[str, Any] | None = None,
    render_mode: str | None = "rgb_array",
    reward_task: str | None = None,
    **reward: Any,
) -> gym.Env[Any, Any]:
    """A task of a suite with VIPER reward: what `gym.make("viper/dmc-…")` returns.

    Args:
        checkpoint: "auto" is the suite's own, if there is one for the task; None gives the bare
            environment with its task reward, seen as the bundle's videos were: what the vector
            wrappers are put around.
        revision: of a Hub repository.
        device: of the networks: "auto", "cpu", "cuda", …
        observation: "pixels" or "state"; the reward comes from pixels either way.
        render_quality: "fast" or "full"; None is the task's own.
        action_repeat: control steps between frames; a checkpoint knows its own only.
        hold: steps (frames) for which the agent's action is held; every frame is scored, and the
            rewards are summed.
        view: what of the task's own view to draw otherwise (fields of `envs.tasks.View`: camera,
            fovy, image_size, …; games have their size only), for a checkpoint whose videos were.
        env_kwargs: what else the suite's environment takes (RLBench: robot="sawyer").
        render_mode: "rgb_array" or None.
        reward_task: the task whose videos pay, where it is another one of the same pictures
            (cartpole_swingup's pay for balancing, too); "auto" is the suite's own for that one.
        reward: arguments of `ViperRewardWrapper` (bonus, beta, reward_scale, dtype, …).

    Raises:
        TypeError: arguments of a reward without a checkpoint, or unknown ones.
        ValueError: a view that cannot be drawn, or another value that does not fit.
        CheckpointError, UnknownTask, PreprocessingMismatch: see `ViperRewardWrapper`; the first
            also where "auto" finds none.
        DependencyNotInstalled, RenderingUnavailable: the simulator, or its drawing, is missing.
    """
    from viper_gym.envs.drawing import chosen_view
    from viper_gym.envs.suite import find_suite
    from viper_gym.wrappers.hold import HoldAction, checked_hold
    from viper_gym.wrappers.single import ViperRewardWrapper

    _refuse_without(checkpoint, {**_given(revision=revision, reward_task=reward_task), **reward})
    checked_hold(hold)  # before a simulator is open
    found = find_suite(suite)
    paid = reward_task or task
    checkpoint = own_of(suite, paid) if checkpoint == OWN else checkpoint
    env: Any = found.make(
        task,
        observation,
        view=chosen_view(found, task, view) if view else None,
        render_quality=render_quality,
        action_repeat=action_repeat,
        render_mode=render_mode,
        **(env_kwargs or {}),
    )
    if checkpoint is None:
        return env if hold == 1 else HoldAction(env, hold)
    try:
        wrapped = ViperRewardWrapper(
            env, checkpoint, paid, revision=revision, device=device, **reward
        )
    except BaseException:
        env.close()  # nobody holds it; RLBench allows one at a time
        raise
    recorded = wrapped._saved_kwargs
    told = {"checkpoint", *({"bonus"} & reward.keys())}
    if not isinstance(device, str):  # a torch.device is no JSON
        told |= {"device"}
    if not isinstance(checkpoint, (str, Path)):  # a model brings these along
        told |= {"revision", "device", "dtype"}
    env.spec_kwargs = {name: recorded[name] for name in told}
    return wrapped if hold == 1 else HoldAction(wrapped, hold)


def make_vec(
    suite: str,
    task: str,
    num_envs: int = 1,
    checkpoint: str | None = OWN,
    revision: str | None = None,
    device: str = "auto",
    observation: str = "pixels",
    render_quality: str | None = None,
    action_repeat: int | None = None,
    hold: int = 1,
    view: dict[str, Any] | None = None,
    env_kwargs: dict[str, Any] | None = None,
    render_mode: str | None = "rgb_array",
    asynchronous: bool = False,
    autoreset_mode: str | gym.vector.AutoresetMode = gym.vector.AutoresetMode.NEXT_STEP,
    max_episode_steps: int | None = None,
    reward_task: str | None = None,
    **reward: Any,
) -> gym.vector.VectorEnv:
    """What `gym.make_vec("viper/dmc-…", n)` returns: one model call a step for all environments.

    Arguments are those of `make`, and:

    Args:
        asynchronous: simulate in a spawned process each (rendering does not survive a fork).
        autoreset_mode: when an environment that is over begins anew; see Gymnasium's.
        max_episode_steps: after so many of the agent's steps (of `hold` of the environment's
            each, as `gym.make` counts them) an episode is cut, if it has not ended before.
    """
    from functools import partial

    from viper_gym.wrappers.frames import FrameInInfo
    from viper_gym.wrappers.hold import HoldActionVector, checked_hold
    from viper_gym.wrappers.vector import ViperVectorRewardWrapper

    bare = partial(
        make,
        suite,
        task,
        None,
        observation=observation,
        render_quality=render_quality,
        action_repeat=action_repeat,
        view=view,
        env_kwargs=env_kwargs,
        render_mode=render_mode,
    )
    _refuse_without(checkpoint, {**_given(revision=revision, reward_task=reward_task), **reward})
    checked_hold(hold)  # before a simulator is open
    paid = reward_task or task
    checkpoint = own_of(suite, paid) if checkpoint == OWN else checkpoint
    maker: Any = bare
    if max_episode_steps is not None:
        maker = partial(_with, gym.wrappers.TimeLimit, maker, max_episode_steps * hold)
    mode = gym.vector.AutoresetMode(autoreset_mode)
    if mode == gym.vector.AutoresetMode.SAME_STEP and observation != "pixels":
        maker = partial(_with, FrameInInfo, maker)  # render() would show the next episode
    makers = [maker] * num_envs
    envs: gym.vector.VectorEnv = (
        gym.vector.AsyncVectorEnv(makers, context="spawn", autoreset_mode=mode)
        if asynchronous
        else gym.vector.SyncVectorEnv(makers, autoreset_mode=mode)
    )
    if checkpoint is not None:
        try:
            envs = ViperVectorRewardWrapper(
                envs, checkpoint, paid, revision=revision, device=device, **reward
            )
        except BaseException:
            envs.close()
            raise
    return envs if hold == 1 else HoldActionVector(envs, hold)


def own_of(suite: str, task: str) -> str:
    """What "auto" stands for.

    Raises:
        CheckpointError: no published checkpoint serves the task.
    """
    from viper_gym.checkpoints.index import entry_of
    from viper_gym.errors import CheckpointError

    if entry_of(suite, task) is None:
        raise CheckpointError(
            f"no published checkpoint serves {suite} {task}: give your own, of `viper-gym train` "
            "(checkpoint='FOLDER'), or checkpoint=None for the bare environment"
        )
    return suite


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse_without(checkpoint: str | None, reward: dict[str, Any]) -> None:
    if checkpoint is not None or not reward:
        return
    from inspect import signature

    from viper_gym.wrappers.single import ViperRewardWrapper

    known = {*signature(ViperRewardWrapper).parameters, "reward_task"}
    unknown = sorted(reward.keys() - known)
    if unknown:
        raise TypeError(f"there is no argument {', '.join(unknown)}")
    raise TypeError(f"without a checkpoint there is no use for {', '.join(sorted(reward))}")


def _with(
    wrapper: Callable[..., gym.Env[Any, Any]], make: Callable[[], gym.Env[Any, Any]], *args: Any
) -> gym.Env[Any, Any]:
    return wrapper(make(), *args)


make.metadata = {"render_modes": ["rgb_array"]}  # type: ignore[attr-defined]

"""`viper-gym train agent`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import gymnasium as gym
import numpy as np
import tyro
from gymnasium.vector import VectorEnv, VectorWrapper

from viper_gym.agents.dreamer.config import DreamerConfig
from viper_gym.agents.drq.agent import DrQConfig
from viper_gym.agents.replay import FrameReplay
from viper_gym.agents.trainer import TrainerConfig
from viper_gym.cli.progress import console
from viper_gym.cli.values import decode_values
from viper_gym.errors import TrainingError, ViperGymError

IDS, MODULE = "viper/", "viper_gym:"
ALONE = IDS + "rlbench-"  # one simulator a process, and evaluations need another
OF_VECTORS = ("asynchronous", "autoreset_mode")  # arguments of `gym.make_vec` alone

if TYPE_CHECKING:
    from viper_gym.agents.actions import ActionCodec
    from viper_gym.agents.dreamer.agent import Dreamer
    from viper_gym.agents.drq.agent import DrQ
    from viper_gym.agents.labels import Relabel
    from viper_gym.agents.trainer import Agent, MakeEnvs


@dataclass(frozen=True)
class AgentTraining:
    """Settings of `viper-gym train agent`."""

    agent: Literal["drq", "dreamer"] = "drq"
    env: str = "viper/dmc-cartpole_swingup-v0"
    """any registered environment with uint8 colour pictures and bounded continuous actions (or,
    for dreamer, discrete ones)"""
    env_kwargs: dict[str, str] = field(default_factory=dict)
    """arguments for the environment, names and values (JSON or plain words), for instance
    bonus rnd beta 0.5 reward_clip calibrated"""
    relabel: bool = False
    """score whole episodes in the replay when they end, with the batch engine (the authors' way),
    instead of every step in the environment: the same rewards, later; for viper/ ids. A bonus is
    computed at every step all the same"""
    trainer: tyro.conf.OmitArgPrefixes[TrainerConfig] = field(default_factory=TrainerConfig)
    drq: DrQConfig = field(default_factory=DrQConfig)
    dreamer: DreamerConfig = field(default_factory=DreamerConfig)
    device: str = "auto"
    """auto, cpu, cuda or mps; of the reward of viper/ ids, too"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """of the agent's networks; auto is bf16 where its products are faster"""


def train_agent(config: AgentTraining) -> Path:
    """Train with a progress bar; returns the folder.

    Raises:
        TrainingError, ReplayError: see `viper_gym.agents.trainer.Trainer`.
    """
    import torch

    import viper_gym  # noqa: F401  (registers the viper/… ids)
    from viper_gym.agents.trainer import Trainer
    from viper_gym.benchmark.curves import read_metrics, training_returns
    from viper_gym.benchmark.figures import learning_curves, video_gif
    from viper_gym.likelihood.precision import resolve_device, resolve_dtype
    from viper_gym.progress import progress_bar

    config = replace(config, env=config.env.removeprefix(MODULE))  # which is imported already
    device = resolve_device(config.device)
    bf16 = resolve_dtype(config.precision, device) == torch.bfloat16

    def announced(shape: tuple[int, int, int], actions: ActionCodec) -> Agent:
        needed = FrameReplay.bytes_needed(config.trainer.replay, shape)
        console.print(
            f"replay: {needed / 1e9:.1f} GB on disk in {config.trainer.out / 'replay'}",
            markup=False,
            soft_wrap=True,
        )
        return make_agent(config, shape, actions, str(device), "bf16" if bf16 else "fp32")

    bar = progress_bar(console)
    job = bar.add_task(config.agent, total=config.trainer.total_timesteps, note="")

    begun = False

    def on_progress(step: int, total: int, metrics: dict[str, float]) -> None:
        nonlocal begun
        if not begun:  # what a resumed run has behind it says nothing of its speed
            begun = True
            bar.reset(job, completed=step, note=f"step {step}")
        if not metrics:
            bar.update(job, completed=step)
            return
        returns = {k: v for k, v in metrics.items() if k.endswith("return")}
        note = f"step {step} " + " ".join(f"{k} {v:.4g}" for k, v in returns.items())
        bar.update(job, completed=step, note=note)

    def film(frames: np.ndarray, stem: Path) -> None:
        video_gif(frames, stem.with_suffix(".gif"))

    kwargs, relabel, negative = decode_values(config.env_kwargs), None, False
    bonus: dict[str, Any] = {}
    if config.env.startswith(IDS) and config.device != "auto":
        kwargs.setdefault("device", config.device)
    if config.env.startswith(ALONE):
        kwargs.setdefault("asynchronous", True)
    if config.relabel:
        bonus = _apart(kwargs)
        relabel, kwargs, negative = _relabeller(config.env, kwargs)
    envs = partial(make_envs, config.env, kwargs)
    plain = {k: v for k, v in kwargs.items() if k not in ("bonus", "beta")}
    evaluated = partial(make_envs, config.env, plain) if config.env.startswith(IDS) else envs
    played = partial(_played, envs, bonus, negative)
    with bar:
        trainer = Trainer(
            config.trainer,
            played,
            announced,
            on_progress,
            film,
            relabel,
            add_rewards=bool(bonus),
            make_eval_envs=evaluated,
            made_of=_made_of(config),
        )
        folder = trainer.run()
    curves = training_returns(read_metrics(folder))
    learning_curves({config.agent: curves}, config.env, None, folder / "curves.png")
    return folder


def _made_of(config: AgentTraining) -> dict[str, Any]:
    """What a resumed run must share, beside the loop's own settings."""
    settings = asdict(config.drq if config.agent == "drq" else config.dreamer)
    return {
        "agent": config.agent,
        "env": config.env,
        "env_kwargs": config.env_kwargs,
        "relabel": config.relabel,
        **{f"{config.agent}.{name}": value for name, value in settings.items()},
    }


def make_agent(
    config: AgentTraining,
    shape: tuple[int, int, int],
    actions: ActionCodec,
    device: str,
    precision: str,
) -> Dreamer | DrQ:
    from viper_gym.agents.dreamer.agent import Dreamer
    from viper_gym.agents.drq.agent import DrQ

    seed, size, discrete = config.trainer.seed, actions.size, actions.discrete
    if config.agent == "drq" and discrete:
        raise TrainingError(
            f"DrQ needs continuous actions, {config.env} has {size} discrete ones: use "
            "--agent dreamer"
        )
    try:
        if config.agent == "dreamer":
            return Dreamer(shape, size, discrete, config.dreamer, seed, device, precision)
        return DrQ(shape, size, config.drq, seed, device, precision)
    except ValueError as error:
        raise TrainingError(f"no {config.agent} can be made for {config.env}: {error}") from error


class TellsOfEnds(VectorWrapper):
    """Warns once where an episode is terminated, as live rewards do by themselves."""

    _told = False

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        from viper_gym.wrappers.scoring import warn_of_termination

        result = self.env.step(actions)
        if not self._told and result[2].any():
            self._told = True
            warn_of_termination()
        return result


def _relabeller(env: str, kwargs: dict[str, Any]) -> tuple[Relabel, dict[str, Any], bool]:
    """The reward of whole episodes, what is left to make the bare environment with, and whether
    such rewards can be negative.

    Raises:
        TrainingError: no id of this package, or options that belong to a live reward.
        PreprocessingMismatch: pictures unlike those the model was trained on.
    """
    from viper_gym.checkpoints.resolve import resolve
    from viper_gym.likelihood.shared import shared_reward_model
    from viper_gym.pictures import resize_all
    from viper_gym.registration import OWN, own_of
    from viper_gym.types import RESIZED
    from viper_gym.wrappers.preprocessing import check_preprocessing, warn_of_frames

    spec = gym.registry.get(env)
    if spec is None or not env.startswith(IDS):
        raise TrainingError(f"--relabel knows the task of viper/ ids only, got {env}")
    live = sorted(kwargs.keys() & {"task_reward_weight", "hold"})
    if live:
        raise TrainingError(
            f"--relabel rewards finished episodes; {', '.join(live)} belong to a live reward: "
            "leave them out"
        )
    suite, task = spec.kwargs["suite"], kwargs.pop("reward_task", None) or spec.kwargs["task"]
    checkpoint, revision = kwargs.pop("checkpoint", OWN), kwargs.pop("revision", None)
    checkpoint = own_of(suite, task) if checkpoint == OWN else checkpoint
    device, dtype = kwargs.pop("device", "auto"), kwargs.pop("dtype", "auto")
    if checkpoint is None:
        raise TrainingError("--relabel needs a video reward; leave out `checkpoint null`")
    scale = kwargs.pop("reward_scale", "calibrated"), kwargs.pop("reward_clip", None)
    try:  # what does not fit is said before anything is played
        model = shared_reward_model(str(resolve(checkpoint, revision, task=task)), device, dtype)
        paid = model.scale(task, *scale)
        alone = {k: v for k, v in kwargs.items() if k not in OF_VECTORS}
        bare: Any = gym.make(env, checkpoint=None, **alone).unwrapped  # a live reward looks, too
    except (TypeError, ValueError) as error:
        if isinstance(error, ViperGymError):
            raise
        raise TrainingError(f"cannot make {env} with {kwargs}: {error}") from error
    try:
        check_preprocessing(bare.preprocessing, model.config.preprocessing.get(task, {}), task)
    finally:
        bare.close()

    recorded, seen = model.config.preprocessing.get(task, {}), False

    def relabel(frames: np.ndarray) -> np.ndarray:
        nonlocal seen
        if not seen:
            seen = True
            warn_of_frames(frames[:1], recorded, model.image_size, task)
        if list(frames.shape[1:3]) == recorded.get(RESIZED):  # as the wrappers of live rewards do
            frames = resize_all(frames, model.image_size)
        return model.scaled(model.log_prob(frames[None], task)[0], task, *scale)

    return relabel, {**kwargs, "checkpoint": None}, paid.can_be_negative


def _apart(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take the bonus out of an environment's arguments; empty without one.

    Raises:
        TrainingError: a bonus that rests on the tokenizer, which relabelling asks at ends only, or
            a weight without a bonus.
    """
    bonus: dict[str, Any] = {k: kwargs.pop(k) for k in ("bonus", "beta") if k in kwargs}
    if "beta" in bonus and bonus.get("bonus") is None:
        raise TrainingError("beta is the weight of a bonus: give one (bonus rnd), or leave it out")
    if bonus.get("bonus") == "disagreement":
        raise TrainingError(
            "with --relabel the tokenizer, which bonus disagreement rests on, sees finished "
            "episodes only: use rnd, dreamer's own --dreamer.bonus, or leave --relabel out"
        )
    return bonus if bonus.get("bonus") is not None else {}


def _played(envs: MakeEnvs, bonus: dict[str, Any], negative: bool, number: int) -> VectorEnv:
    """The environments of training under relabelled rewards: their own are the bonus alone.

    Raises:
        TrainingError: not a bonus.
    """
    from viper_gym.wrappers.vector_bonus import BonusVectorRewardWrapper

    made = envs(number)
    if negative:
        made = TellsOfEnds(made)
    if not bonus:
        return made
    try:
        return BonusVectorRewardWrapper(made, **bonus, task_reward_weight=0.0)
    except (TypeError, ValueError) as error:
        raise TrainingError(str(error)) from error


def make_envs(env: str, kwargs: dict[str, Any], number: int) -> VectorEnv:
    try:
        return gym.make_vec(env, number, **kwargs)
    except (gym.error.Error, TypeError, ValueError) as error:  # no such id, argument, value
        if isinstance(error, ViperGymError):
            raise
        raise TrainingError(f"cannot make {number} x {env} with {kwargs}: {error}") from error

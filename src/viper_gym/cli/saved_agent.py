"""What `viper-gym train agent` left: its settings, its agent, and its environment, unpaid."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from viper_gym.agents.dreamer.config import DreamerConfig
from viper_gym.agents.drq.agent import DrQConfig
from viper_gym.agents.trainer import TrainerConfig
from viper_gym.cli.train_agent import IDS, OF_VECTORS, AgentTraining, make_agent
from viper_gym.cli.values import decode_values
from viper_gym.errors import TrainingError, ViperGymError

if TYPE_CHECKING:
    from viper_gym.agents.actions import ActionCodec
    from viper_gym.agents.dreamer.agent import Dreamer
    from viper_gym.agents.drq.agent import DrQ

SETTINGS = "settings.json"
NEEDED = ("agent", "env", "env_kwargs", "seed")
ABOUT_VECTORS = (*OF_VECTORS, "vectorization_mode", "vector_kwargs")


@dataclass(frozen=True)
class SavedAgent:
    """A run's folder, read."""

    folder: Path
    config: AgentTraining
    """of what is told there: agent, environment, seed"""
    state: dict[str, Any]
    """the checkpoint"""

    @property
    def kwargs(self) -> dict[str, Any]:
        """The environment's arguments, as it was trained in."""
        return decode_values(self.config.env_kwargs)

    @property
    def hold(self) -> int:
        """Environment steps between two decisions."""
        from viper_gym.wrappers.hold import checked_hold

        return checked_hold(self.kwargs.get("hold", 1)) if self.served else 1

    @property
    def served(self) -> bool:
        """Whether the environment is one of this package's ids."""
        return self.config.env.startswith(IDS)

    def env(self) -> gym.Env[Any, Any]:
        """One environment with its own task reward; a step of it is one frame, held or not.

        Raises:
            TrainingError: it cannot be made.
        """
        name = self.config.env
        kwargs = {k: v for k, v in self.kwargs.items() if k not in ABOUT_VECTORS}
        if self.served:
            kwargs = unpaid(kwargs)
            if kwargs.get("max_episode_steps") is not None:  # which were the agent's
                kwargs["max_episode_steps"] *= self.hold
        try:
            return gym.make(name, **kwargs)
        except (gym.error.Error, TypeError, ValueError) as error:
            if isinstance(error, ViperGymError):
                raise
            raise TrainingError(f"cannot make {name} with {kwargs}: {error}") from error

    def agent(
        self, shape: tuple[int, int, int], actions: ActionCodec, device: str, precision: str
    ) -> Dreamer | DrQ:
        """With what it had learned at the checkpoint.

        Args:
            shape: of the frames, (H, W, 3).

        Raises:
            TrainingError: the checkpoint is of other networks, or of another environment.
        """
        agent = make_agent(self.config, shape, actions, device, precision)
        try:
            with warnings.catch_warnings():  # random numbers begin anew: whoever plays seeds them
                warnings.filterwarnings("ignore", ".*another kind of device")
                agent.load_state_dict(self.state["agent"])
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise TrainingError(
                f"{self.folder}: the checkpoint does not fit {self.config.agent} for pictures "
                f"{shape} and {actions.size} actions of {self.config.env}: {error}"
            ) from error
        return agent


def unpaid(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a viper/ id without all that belongs to its reward, or to the agent."""
    from viper_gym.wrappers.single import ViperRewardWrapper

    paid = {"hold", "reward_task", *signature(ViperRewardWrapper).parameters} - {"env", "task"}
    return {k: v for k, v in kwargs.items() if k not in paid} | {"checkpoint": None}


def read_agent(folder: Path) -> SavedAgent:
    """What a run left.

    Raises:
        TrainingError: no run, none of an agent, one without a checkpoint, or a checkpoint that is
            damaged or of other settings than the run's.
    """
    from viper_gym.agents.checkpoint import NAME, Checkpoint

    expected = f"{folder}: expected a folder of `viper-gym train agent`"
    try:
        text = (folder / SETTINGS).read_text("utf-8")
        saved = json.loads(text)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TrainingError(f"{expected}, found no {SETTINGS} in it") from error
    except ValueError as error:
        raise TrainingError(f"{expected}, its {SETTINGS} cannot be read: {error}") from error
    lacking = [k for k in NEEDED if k not in saved] if isinstance(saved, dict) else [*NEEDED]
    if lacking:
        raise TrainingError(f"{expected}, its {SETTINGS} does not tell {', '.join(lacking)}")
    config = _config(saved, expected)
    state = Checkpoint(folder, text).load()
    if state is None:
        raise TrainingError(
            f"{folder}: no {NAME} yet; training writes one every few minutes "
            "(--checkpoint-minutes), before each evaluation and at its end"
        )
    return SavedAgent(folder, config, state)


def _config(saved: dict[str, Any], expected: str) -> AgentTraining:
    kinds: dict[Any, Any] = {"drq": DrQConfig, "dreamer": DreamerConfig}
    name, start = saved["agent"], f"{saved['agent']}."
    if name not in kinds:
        raise TrainingError(f"{expected}, its agent is {name!r}: not {' or '.join(kinds)}")
    own = {k.removeprefix(start): v for k, v in saved.items() if k.startswith(start)}
    own = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}  # JSON has no tuples
    try:
        settings = {name: kinds[name](**own)}
        trainer = TrainerConfig(seed=saved["seed"])
        env_kwargs = {str(k): str(v) for k, v in saved["env_kwargs"].items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"{expected} of this version: {error}") from error
    return AgentTraining(name, str(saved["env"]), env_kwargs, trainer=trainer, **settings)

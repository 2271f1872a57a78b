"""`viper-gym train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import tyro


def train(arguments: list[str]) -> None:
    # torch is imported for this command's options only, so that the others start fast
    from viper_gym.cli.train_agent import AgentTraining, train_agent
    from viper_gym.training.tokenizer import TokenizerTraining, train_tokenizer
    from viper_gym.training.video_model import VideoModelTraining, train_video_model

    subcommand = tyro.conf.subcommand
    kind: Any = (
        Annotated[
            tyro.conf.OmitArgPrefixes[TokenizerTraining],
            subcommand("tokenizer", description="Train a tokenizer on a folder of videos."),
        ]
        | Annotated[
            tyro.conf.OmitArgPrefixes[VideoModelTraining],
            subcommand("video-model", description="Train a video model; writes a bundle."),
        ]
        | Annotated[
            AgentTraining,
            subcommand("agent", description="Train an agent on an environment's reward."),
        ]
    )
    config: TokenizerTraining | VideoModelTraining | AgentTraining = tyro.cli(
        kind,
        prog="viper-gym train",
        description="Train a tokenizer on videos (one sub-folder a task), then a video model, then "
        "an agent on its reward.",
        args=arguments,
    )
    if isinstance(config, TokenizerTraining):
        print(f"tokenizer: {train_tokenizer(config)}")
        return
    if isinstance(config, AgentTraining):
        run = train_agent(config)
        print(f"agent, films, curves.png and metrics.jsonl: {run}")
        print(f"next: viper-gym play {shlex.quote(str(run))}")  # what the films show is no record
        return
    folder = train_video_model(config)
    print(f"bundle: {folder}")
    print(f"next: {next_step(folder)}")


def next_step(bundle: Path) -> str:
    """The command that calibrates a new bundle: by a suite's episodes if it knows all tasks."""
    from viper_gym.checkpoints.bundle import read_config
    from viper_gym.envs.suite import suite_of
    from viper_gym.types import RESIZED

    config = read_config(bundle)
    # a suite's own episodes may not look like videos of which nothing is known
    told = any(known.keys() - {RESIZED} for known in config.preprocessing.values())
    suite = suite_of(config.tasks) if told else None
    source = "--episodes FOLDER" if suite is None else f"--suite {suite}"
    return (
        f"viper-gym evaluate --checkpoint {shlex.quote(str(bundle))} {source} --calibrate --write"
    )


def train_help() -> None:
    """Train a tokenizer, a video model or an agent (train --help)."""

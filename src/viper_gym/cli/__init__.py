"""`viper-gym`: the only place that parses arguments, prints and exits."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Any

import tyro

from viper_gym.cli.bench import Bench
from viper_gym.cli.collect import Collect
from viper_gym.cli.convert import Convert
from viper_gym.cli.cross_embodiment import CrossEmbodimentCommand
from viper_gym.cli.demo import Demo
from viper_gym.cli.doctor import Doctor
from viper_gym.cli.evaluate import Evaluate
from viper_gym.cli.play import Play
from viper_gym.cli.progress import console
from viper_gym.cli.push import Push
from viper_gym.cli.rebuild import Rebuild
from viper_gym.cli.sample import Sample
from viper_gym.cli.score import Score
from viper_gym.cli.tasks import Tasks
from viper_gym.cli.train import train, train_help
from viper_gym.errors import ViperGymError

_COMMANDS: dict[str, Any] = {
    "demo": Demo,
    "tasks": Tasks,
    "collect": Collect,
    "train": train_help,
    "play": Play,
    "evaluate": Evaluate,
    "score": Score,
    "sample": Sample,
    "convert": Convert,
    "push": Push,
    "rebuild": Rebuild,
    "bench": Bench,
    "cross-embodiment": CrossEmbodimentCommand,
    "doctor": Doctor,
}
_DESCRIPTION = "Learning from video: the likelihoods of a video model as reward (VIPER)."


def main() -> None:
    """Entry point: named errors become one line and exit status 2."""
    arguments = sys.argv[1:]
    try:
        if arguments == ["--version"]:
            print(f"viper-gym {version('viper-gym')}")
            return
        if arguments[:1] == ["train"]:
            train(arguments[1:])
            sys.stdout.flush()
            return
        command = tyro.extras.subcommand_cli_from_dict(
            _COMMANDS, prog="viper-gym", description=_DESCRIPTION, args=arguments or ["--help"]
        )
        command.run()
        sys.stdout.flush()  # here, where a reader who has gone is noticed
    except ViperGymError as error:
        _say(f"{type(error).__name__}: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `viper-gym … | head`: who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what the exit flushes
        sys.exit(141)  # as for programs that the signal ends
    except OSError as error:  # a file where a folder is to be, no room, no permission
        if error.filename is None:
            raise
        _say(f"{error.filename}: {error.strerror}")
        sys.exit(2)


def _say(message: str) -> None:
    """One line, however long: paths in it are to be copied."""
    console.print(message, style="red", markup=False, highlight=False, soft_wrap=True)

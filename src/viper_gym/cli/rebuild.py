"""`viper-gym rebuild`."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from viper_gym.checkpoints.index import read_index
from viper_gym.cli.progress import console
from viper_gym.errors import CheckpointError, TrainingError, require_positive

BOTH = "both"  # folder of the experts' videos and of play


@dataclass(frozen=True)
class Rebuild:
    """Make bundled checkpoints again: collect, train, calibrate and audit, as theirs were made.

    Runs the package's own commands with the settings of `recipes.json`; run again, it goes on where
    it was stopped. What could not be calibrated is told at the end. The weights that are shipped
    came of earlier versions of the code and of other machines, so new ones resemble them and are
    not equal (docs/decisions.md).
    """

    bundles: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """aliases: dmc-5, metaworld-3, …"""
    suite: Literal["dmc", "metaworld", "atari"] | None = None
    """all of this suite's"""
    out: Path = Path("runs/rebuild")
    """a folder for each bundle is made in it"""
    share: float = 1.0
    """of the training videos, steps and minutes: a small one tries it out (what is calibrated and
    audited on is always the whole of it)"""
    workers: int = 2
    """processes that play"""
    show: bool = False
    """print the commands, and run none"""

    def __post_init__(self) -> None:
        require_positive(share=self.share)

    def run(self) -> None:
        found = read_recipes()
        names = [*self.bundles, *(a for a, e in read_index().items() if e.suite == self.suite)]
        if not names or (unknown := sorted(set(names) - found.keys())):
            raise CheckpointError(
                f"expected one or more of {', '.join(found)} or --suite, got {names and unknown}"
            )
        if not self.show:  # a training that went on alone would meet the one of the next `rebuild`
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        refused: list[str] = []
        for alias in dict.fromkeys(names):
            out = self.out / alias
            for command in commands(alias, found[alias], out, self.share, self.workers):
                self._do(command, out, refused)
            if not self.show:
                print(f"{alias}: {_model(out, len(found[alias]['video_model']) - 1) / 'bundle'}")
        if refused:
            raise CheckpointError("not calibrated or audited, see above:\n" + "\n".join(refused))

    def _do(self, command: list[str], out: Path, refused: list[str]) -> None:
        line = f"viper-gym {shlex.join(command)}"
        if str(out / BOTH) in command:
            if self.show:
                print(_linking(out))
            else:
                link_together(out)
        if self.show:
            print(line)
            return
        console.print(line, style="bold", highlight=False, markup=False, soft_wrap=True)
        code = subprocess.run([sys.executable, "-m", "viper_gym", *command]).returncode
        if code == 2 and command[0] == "evaluate":  # a named error; the next one may fare better
            refused.append(line)
        elif code:
            raise TrainingError(f"ended with {code}: {line}. Run again to go on there")


def read_recipes() -> dict[str, dict[str, Any]]:
    """By alias: episodes a task, unskilled play, options of training and of calibration."""
    found: dict[str, dict[str, Any]] = json.loads(
        (resources.files("viper_gym") / "recipes.json").read_text("utf-8")
    )
    return found


def commands(
    alias: str, recipe: dict[str, Any], out: Path, share: float = 1.0, workers: int = 2
) -> list[list[str]]:
    """Arguments of the commands that make a bundle, in their order.

    Args:
        share: of episodes, steps and minutes.
    """
    suite, tasks = read_index()[alias].suite, list(recipe["episodes"])
    play = recipe.get("play", {})

    def collect(which: list[str], number: int, folder: str, *more: str) -> list[str]:
        count = str(max(2, round(share * number)))
        return [
            "collect", "--suite", suite, "--tasks", *which, "--episodes", count, *more,
            "--out", str(out / folder), "--workers", str(workers),
        ]  # fmt: skip

    made = [collect([task], n, "train") for task, n in recipe["episodes"].items()]
    made += [collect(tasks, n, "play", "--behaviour", name) for name, n in play.items()]
    together = play and recipe.get("tokenizer_sees_play", True)
    videos, tokenizer = str(out / (BOTH if together else "train")), str(out / "tokenizer")
    made.append([
        "train", "tokenizer", "--data", videos, "--out", tokenizer, "--resume",
        *_scaled(recipe["tokenizer"], share),
    ])  # fmt: skip
    against = ["--play", str(out / "play")] if play else []
    for i, options in enumerate(recipe["video_model"]):
        begun = ["--init", str(_model(out, i - 1) / "bundle")] if i else []
        made.append([
            "train", "video-model", "--data", str(out / "train"), "--tokenizer", tokenizer,
            *against, *begun, "--out", str(_model(out, i)), "--resume", *_scaled(options, share),
        ])  # fmt: skip
    bundle = str(_model(out, len(recipe["video_model"]) - 1) / "bundle")
    for options, which in recipe["calibrate"].items():
        made.append([
            "evaluate", "--checkpoint", bundle, "--suite", suite, "--tasks", *which,
            "--calibrate", *shlex.split(options), "--write", "--out", str(out / "evaluate"),
            "--workers", str(workers),
        ])  # fmt: skip
    return made


def link_together(out: Path) -> None:
    """One folder of the experts' videos and of play, which a tokenizer is to draw both."""
    for kind in ("train", "play"):
        for found in (out / kind).glob("*/*"):  # behaviours, and a mask
            target = out / BOTH / found.parent.name
            target.mkdir(parents=True, exist_ok=True)
            link = target / (f"{kind}_{found.name}" if found.is_dir() else found.name)
            aim = os.path.relpath(found.resolve(), target.resolve())  # the folder may be moved
            if link.is_symlink() and os.readlink(link) != aim:
                link.unlink()
            if not link.exists():
                os.symlink(aim, link)


def _linking(out: Path) -> str:
    """The same by a shell, without masks."""
    both, train, play = (shlex.quote(str(out / kind)) for kind in (BOTH, "train", "play"))
    return f"cp -al {train}/. {both} && cp -al {play}/. {both}"


def _model(out: Path, number: int) -> Path:
    return out / f"video-model-{number + 1}"


def _scaled(options: str, share: float) -> list[str]:
    words = shlex.split(options)
    for i, word in enumerate(words[:-1]):
        if word == "--steps":
            words[i + 1] = str(max(1, round(share * int(words[i + 1]))))
        elif word == "--max-minutes":
            words[i + 1] = f"{share * float(words[i + 1]):g}"
    return words

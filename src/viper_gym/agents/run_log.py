"""What a training run writes down: JSON lines, TensorBoard, Weights & Biases if asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from viper_gym.errors import TrainingError
from viper_gym.files import replace_text
from viper_gym.optional import require


class RunLog:
    """Appends figures to `metrics.jsonl` and to TensorBoard's files.

    Args:
        folder: of the run.
        step: where the run goes on; lines behind it are of work that will be done again, and go.
        wandb_project: also sends them to this project of Weights & Biases; "" does not.

    Raises:
        DependencyNotInstalled: a project is given and wandb is not installed.
    """

    def __init__(self, folder: Path, step: int = 0, wandb_project: str = ""):
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "metrics.jsonl"
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        kept = [x for x in lines if _step(x) <= step] if step else []
        replace_text(self._path, "".join(x + "\n" for x in kept))
        self._wandb: Any = None
        if wandb_project:
            wandb = require("wandb", "wandb")
            # a resumed run goes on there; another folder of the same name is another run
            kept_id = folder / "wandb_id"
            if not step:
                kept_id.write_text(uuid4().hex[:12])
            elif not kept_id.exists():  # a run from before there were such files
                kept_id.write_text(folder.resolve().name)
            self._wandb = wandb.init(
                project=wandb_project,
                dir=folder,
                name=folder.resolve().name,
                id=kept_id.read_text(),
                resume="allow",
            )
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + bool(step))

    def write(self, step: int, seconds: float, values: dict[str, float]) -> None:
        """One line.

        Raises:
            TrainingError: a value is not finite.
        """
        bad = [k for k, v in values.items() if not np.isfinite(v)]
        if bad:
            raise TrainingError(f"{', '.join(bad)} is not finite at step {step}")
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(values, step=step)
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, "seconds": round(seconds, 1), **values}) + "\n")

    def close(self) -> None:
        self._writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def _step(line: str) -> float:
    """Of a line of `metrics.jsonl`; endless for one that a kill or a full disk tore."""
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return np.inf


class Means:
    """Collects figures between two lines of the log."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(float(value))

    def take(self, phase: str) -> dict[str, float]:
        """Means since the last call, their names behind "phase/"."""
        means = {f"{phase}/{k}": float(np.mean(v)) for k, v in self._values.items()}
        self._values = {}
        return means


def at_end(infos: dict[str, Any], env: int) -> dict[str, float]:
    """What an environment of a vector reports of its finished episode: returns, time shares."""
    found = {}
    for name, values in infos.items():
        if not name.endswith(("return", "time_share")) or name.startswith("_"):
            continue
        said = infos.get(f"_{name}")
        try:
            value = float(values[env]) if said is None or said[env] else np.nan
        except (TypeError, ValueError, IndexError, KeyError):
            continue  # something else by that name
        if np.isfinite(value):  # nothing is learned from it: it must not end a run
            found[name] = value
    return found

"""The returns of a training run, as its `metrics.jsonl` has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from viper_gym.errors import TrainingError

TASK = ("task_return", "train/viper/task_return", "train/task_return", "train/return")
VIDEO = ("viper_return", "train/viper/return", "train/return")


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Lines of a run's `metrics.jsonl`; a torn last one is dropped.

    Raises:
        TrainingError: there is no such file.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise TrainingError(f"expected the folder of a run, got {run}: no {path.name} in it")
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def training_returns(lines: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps, task returns and VIPER returns (n,) of training episodes.

    The examples write a line an episode, `viper-gym train agent` one of means. Who learns from the
    task reward has no VIPER return: NaN.
    """
    trained = [line for line in lines if line.get("phase", "train") == "train"]
    known = set().union(*trained)
    # "train/return" is what is learned from: the task's own where no other is ever told
    task = next((name for name in TASK if name in known), "")
    video = next((name for name in VIDEO if name in known and name != task), "")
    rows, ended = [], None
    for line in trained:
        ended = line.get(task, ended)  # rewards of relabelled episodes may stand in the next line
        if ended is not None and (line.keys() & {video or task}):
            rows.append((line["step"], ended, line.get(video, np.nan)))
            ended = None
    steps, task_returns, viper = np.array(rows, float).reshape(-1, 3).T
    return steps, task_returns, viper

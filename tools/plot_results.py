"""Curves of both returns from the metrics.jsonl files of the examples and of `train agent`.

    python tools/plot_results.py --runs runs/cartpole_0 runs/cartpole_1 --title cartpole_swingup \
        --oracle 855 --out docs/results/cartpole_swingup.png
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from viper_gym.benchmark.curves import read_metrics, training_returns
from viper_gym.benchmark.figures import learning_curves
from viper_gym.benchmark.names import distinct_names


@dataclass
class Args:
    runs: tuple[Path, ...]
    title: str
    out: Path
    oracle: float | None = None
    """task return of the oracle, drawn as a dashed line"""


def main(args: Args) -> None:
    curves = {}
    for run, name in zip(args.runs, distinct_names(args.runs), strict=True):
        lines = read_metrics(run)
        curves[name] = training_returns(lines)
        for phase in ("final", "final as trained"):
            returns = [line["task_return"] for line in lines if line.get("phase") == phase]
            if returns:
                print(f"{name}: {phase}, task return {np.mean(returns):.1f} {returns}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    learning_curves(curves, args.title, args.oracle, args.out)


if __name__ == "__main__":
    main(tyro.cli(Args))

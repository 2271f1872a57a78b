"""`viper-gym cross-embodiment`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from viper_gym.cli.progress import console

if TYPE_CHECKING:
    from viper_gym.benchmark.cross_embodiment import CellScore


@dataclass(frozen=True)
class CrossEmbodimentCommand:
    """Score an arm at a task that no video showed it at (paper section 4.3), on robosuite.

    Collects the six cells (two arms, three tasks), trains a model without one of them, one without
    any video of its task (lower bound) and one with all (upper bound), for every seed, and ranks
    episodes of the cell. Resumable. Needs the extra robosuite, in an environment of its own.
    """

    cells: tuple[str, ...] = ("panda_door", "sawyer_lift")
    """folds: each is held out in turn"""
    seeds: tuple[int, ...] = (0, 1, 2)
    preset: Literal["small", "small-fine"] = "small-fine"
    """of the tokenizer: 8x8 codes a frame, or the paper's 16x16, which take four times as long"""
    tokenizer_minutes: float = 8.0
    """training, a model"""
    video_model_minutes: float = 12.0
    episodes: int = 50
    """a cell, to train on"""
    play: int = 0
    """episodes of unskilled play a cell that is shown; if any, frames are scored by how much
    likelier than in play they are among experts"""
    data: Path = Path("data/robosuite")
    out: Path = Path("runs/cross-embodiment")
    workers: int = 2
    json: bool = False

    def run(self) -> None:
        from viper_gym.benchmark.cross_embodiment import CrossEmbodiment, conditions, run
        from viper_gym.benchmark.figures import cross_embodiment_figure
        from viper_gym.envs.gl import configure_headless_gl
        from viper_gym.optional import require

        for cell in self.cells:
            conditions(cell)  # an unknown name fails before the long work
        configure_headless_gl()  # before robosuite, which imports MuJoCo
        require("robosuite", extra="robosuite", apart=True)

        first = CrossEmbodiment(
            preset=self.preset,
            tokenizer_minutes=self.tokenizer_minutes,
            video_model_minutes=self.video_model_minutes,
            episodes=self.episodes,
            play=self.play,
            data=self.data,
            out=self.out,
        )
        results: dict[str, dict[int, dict[str, CellScore]]] = {}
        for cell in self.cells:
            for seed in self.seeds:
                settings = replace(first, cell=cell, seed=seed)
                found = run(settings, self.workers, tick=console.print)
                results.setdefault(cell, {})[seed] = found
        figure = self.out / "cross_embodiment.png"
        cross_embodiment_figure(results, figure)
        if self.json:
            plain = {
                cell: {seed: {c: asdict(s) for c, s in row.items()} for seed, row in rows.items()}
                for cell, rows in results.items()
            }
            print(json.dumps(plain, indent=2))
        else:
            _print(results)
            console.print(f"picture: {figure}")


def _print(results: dict[str, dict[int, dict[str, CellScore]]]) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    table = Table(title="share of pairs in which the expert's likelihood is higher: mean (range)")
    for column in ("cell", "model", "above random", "above failed", "seeds"):
        table.add_column(column)
    for cell, seeds in results.items():
        for condition in next(iter(seeds.values())):
            scores = [row[condition] for row in seeds.values()]
            shares = ("expert_over_random", "expert_over_failed")
            found = (np.array([getattr(s, share) for s in scores]) for share in shares)
            cells = (f"{x.mean():.2f} ({x.min():.2f}-{x.max():.2f})" for x in found)
            table.add_row(cell, condition, *cells, str(len(scores)))
    Console().print(table)

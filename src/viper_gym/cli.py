"""`viper-gym`: the only place that parses arguments, prints and exits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import Progress

from viper_gym.errors import ViperGymError

console = Console(stderr=True)


@dataclass(frozen=True)
class Demo:
    """Judge the bundled video model on held-out episodes: pictures, rollouts, audit table."""

    out: Path = Path("viper_demo")
    tasks: tuple[str, ...] = ()
    """all tasks of the bundle if left out"""
    workers: int = 2
    device: str = "auto"

    def run(self) -> None:
        from viper_gym.benchmark.suite_episodes import AUDIT_SEED, QUICK_AUDIT

        _audit(
            "dmc", self.tasks, QUICK_AUDIT, AUDIT_SEED + 50_000, self.out, self.workers, self.device
        )
        print(f"pictures and audit.json are in {self.out.resolve()}")


@dataclass(frozen=True)
class Tasks:
    """List every registered task, its oracle and its checkpoint."""

    measure: int = 0
    """play the oracles this many episodes and print their returns"""
    json: bool = False

    def run(self) -> None:
        from viper_gym.checkpoints.index import read_index
        from viper_gym.envs.tasks import DMC_TASKS

        rows = [
            {
                "id": f"viper/{suite}-{task}-v0",
                "checkpoint": entry.repo_id or f"bundled {entry.bundled}",
                "oracle_return": DMC_TASKS[task].oracle_return,
                "paper_expert_return": DMC_TASKS[task].expert_return,
            }
            for suite, entry in read_index().items()
            for task in entry.tasks
        ]
        if self.measure:
            self._measure()
            return
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        for row in rows:
            print(
                f"{row['id']:40s} {row['checkpoint']:20s} oracle {row['oracle_return']:.0f} "
                f"(paper's expert {row['paper_expert_return']:.0f})"
            )

    def _measure(self) -> None:
        import numpy as np

        from viper_gym.envs.collect import oracle_returns
        from viper_gym.envs.tasks import DMC_TASKS

        for task, spec in DMC_TASKS.items():
            returns = np.array(oracle_returns(task, self.measure))
            print(
                f"{task:20s} {returns.mean():.0f} ± {returns.std():.0f}, lowest "
                f"{returns.min():.0f} ({len(returns)} episodes; the paper's expert "
                f"{spec.expert_return:.0f})"
            )


@dataclass(frozen=True)
class Collect:
    """Record episodes of a built-in suite from the committed oracles (lossless, resumable)."""

    tasks: tuple[str, ...] = ()
    """all tasks of the suite if left out"""
    suite: Literal["dmc"] = "dmc"
    behaviour: str = "diverse"
    """diverse (training data), expert, graded, zero, small, constant, random, stop"""
    episodes: int = 130
    """a task; for 'diverse', episodes that reach the return threshold"""
    out: Path = Path("data")
    seed: int = 100_000
    """first seed; training uses 100000…, calibration 200000…, the audit 300000…"""
    workers: int = 2

    def run(self) -> None:
        from viper_gym.envs.collect import collect
        from viper_gym.envs.tasks import DMC_TASKS

        # training reads one folder a task, audits one a behaviour below it
        for task in self.tasks or tuple(DMC_TASKS):
            with _progress(f"{task} {self.behaviour}", self.episodes) as tick:
                paths = collect(
                    task,
                    self.behaviour,
                    self.episodes,
                    self.out,
                    first_seed=self.seed,
                    workers=self.workers,
                    on_episode=partial(_tick_if_kept, tick),
                )
            print(f"{task}: {len(paths)} episodes in {paths[0].parent}")


@dataclass(frozen=True)
class Evaluate:
    """Audit a checkpoint: would an agent that maximises its reward do the task?"""

    checkpoint: str = "dmc"
    """suite alias, bundle folder or Hub repository"""
    suite: Literal["dmc"] | None = "dmc"
    """collect the episodes from this suite …"""
    episodes: Path | None = None
    """… or read them from this folder: <task>/<behaviour>/<videos>, 'expert' at least"""
    tasks: tuple[str, ...] = ()
    calibrate: bool = False
    """set the reward scale from these episodes (other seeds than the audit's) first"""
    write: bool = False
    """store the figures in the bundle and its model card (a local folder)"""
    out: Path = Path("runs/evaluate")
    workers: int = 2
    device: str = "auto"
    json: bool = False
    """print the figures as JSON"""

    def run(self) -> None:
        from viper_gym.benchmark.suite_episodes import (
            AUDIT_SEED,
            CALIBRATION,
            CALIBRATION_SEED,
            FULL_AUDIT,
        )
        from viper_gym.checkpoints.bundle import CARD, read_config, write_config
        from viper_gym.checkpoints.index import resolve

        folder = resolve(self.checkpoint)
        if self.calibrate:
            _calibrate(self, CALIBRATION, CALIBRATION_SEED)
        audits = _audit(
            self.checkpoint, self.tasks, FULL_AUDIT, AUDIT_SEED, self.out, self.workers,
            self.device, self.episodes, quiet=self.json,
        )  # fmt: skip
        if self.write:
            from viper_gym.benchmark.report import model_card, with_evaluation

            command = f"viper-gym evaluate --suite {self.suite} --write"
            config = with_evaluation(read_config(folder), audits, command)
            write_config(config, folder)
            (folder / CARD).write_text(model_card(config))
        if self.json:
            from viper_gym.benchmark.report import to_json

            print(to_json(audits))


@dataclass(frozen=True)
class Score:
    """Score a video of yours: reward curve and picture."""

    video: Annotated[Path, tyro.conf.Positional]
    """mp4, gif, npz, or a folder of pictures"""
    task: str | None = None
    checkpoint: str = "dmc"
    out: Path = Path("score.png")
    device: str = "auto"
    json: bool = False

    def run(self) -> None:
        from viper_gym.benchmark.figures import score_figure
        from viper_gym.data.videos import read_video
        from viper_gym.errors import VideoDataError
        from viper_gym.likelihood.reward_model import VideoRewardModel

        model = VideoRewardModel.from_pretrained(self.checkpoint, device=self.device)
        episode = read_video(self.video, model.image_size)
        if len(episode.frames) < 2:
            raise VideoDataError(f"{self.video}: one frame only; a reward needs two")
        task = model.tasks[model.task_index(self.task)]
        kind: Any = "calibrated" if task in model.config.calibration else "per_token"
        rewards = model.compute_reward(episode.frames[None], task, kind)[0]
        unit = "reward (0 cheap, 1 expert)" if kind == "calibrated" else "nats a token"
        score_figure(rewards, episode, f"{self.video.name} as {task}", unit, self.out)
        figures = {
            "task": task,
            "frames": len(episode.frames),
            "mean_reward": float(rewards.mean()),
        }
        if self.json:
            print(json.dumps({**figures, "rewards": rewards.round(4).tolist()}))
        else:
            print(f"mean reward {rewards.mean():.3f} over {len(rewards)} steps; see {self.out}")


@dataclass(frozen=True)
class Sample:
    """Let the video model imagine: an open-loop rollout from the start of a video, as a GIF."""

    video: Annotated[Path, tyro.conf.Positional]
    task: str | None = None
    checkpoint: str = "dmc"
    frames: int = 40
    """model frames to imagine"""
    out: Path = Path("sample.gif")
    device: str = "auto"

    def run(self) -> None:
        from viper_gym.benchmark.figures import rollout_gif
        from viper_gym.data.videos import read_video
        from viper_gym.likelihood.reward_model import VideoRewardModel

        model = VideoRewardModel.from_pretrained(self.checkpoint, device=self.device)
        task = model.tasks[model.task_index(self.task)]
        episode = read_video(self.video, model.image_size)
        rollout_gif(model, task, episode, self.out, self.frames)
        print(f"real video and rollout side by side: {self.out}")


@dataclass(frozen=True)
class Convert:
    """Turn a checkpoint of the VIPER authors (viper_rl, flax) into a bundle; needs no JAX.

    Their archives are on archive.org as tar parts (items `dmc_checkpoint_aa` and
    `atari_checkpoint_aa`, files `dmc.tar.partaa`, …). Join and unpack them with
    `cat dmc.tar.part* | tar x`; each model is then a folder with `args` and `checkpoints/`.
    """

    source: Annotated[Literal["viper-rl"], tyro.conf.Positional]
    tokenizer: Path
    """folder of the VQ-GAN, e.g. dmc_vqgan"""
    video_model: Path
    """folder of the VideoGPT, e.g. dmc_videogpt_l16_s1"""
    out: Path
    """folder for the bundle"""

    def run(self) -> None:
        from viper_gym.checkpoints.bundle import save_bundle
        from viper_gym.checkpoints.convert_viper_rl import convert_viper_rl

        save_bundle(convert_viper_rl(self.tokenizer, self.video_model), self.out)
        print(f"bundle: {self.out}")
        print(f"next: viper-gym evaluate --checkpoint {self.out} --calibrate --write")


def _audit(
    checkpoint: str,
    tasks: tuple[str, ...],
    counts: dict[str, int],
    seed: int,
    out: Path,
    workers: int,
    device: str,
    folder: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    from viper_gym.benchmark.report import folder_source, run_audit, table
    from viper_gym.benchmark.suite_episodes import suite_episodes
    from viper_gym.likelihood.reward_model import VideoRewardModel

    model = VideoRewardModel.from_pretrained(checkpoint, device=device)
    chosen = list(tasks or model.tasks)
    for task in chosen:
        model.task_index(task)  # an unknown name fails before the long work
    recorded = sum(counts.values()) if folder is None else 0
    with _progress("audit", 2 * recorded * len(chosen) or None) as tick:
        if folder is not None:
            source = folder_source(folder, model.image_size)
        else:
            source = lambda task: suite_episodes(  # noqa: E731
                task, counts, out / "episodes", seed, workers, tick
            )
        audits = run_audit(model, chosen, source, out, on_episode=tick)
    if not quiet:
        Console().print(table(audits))
        for task, audit in audits.items():
            for line in audit.verdict:
                print(f"{task}: {line}")
    return audits


def _calibrate(options: Evaluate, counts: dict[str, int], seed: int) -> None:
    from viper_gym.benchmark.audit import audit_task
    from viper_gym.benchmark.calibration import calibrate
    from viper_gym.benchmark.report import folder_source
    from viper_gym.benchmark.suite_episodes import suite_episodes
    from viper_gym.checkpoints.bundle import write_config
    from viper_gym.checkpoints.index import resolve
    from viper_gym.likelihood.reward_model import VideoRewardModel

    folder = resolve(options.checkpoint)
    model = VideoRewardModel.from_pretrained(folder, device=options.device)
    config = model.config
    chosen = options.tasks or model.tasks
    with _progress("calibrate", 2 * sum(counts.values()) * len(chosen)) as tick:
        for task in chosen:
            if options.episodes is not None:
                episodes = folder_source(options.episodes, model.image_size)(task)
            else:
                cache = options.out / "calibration"
                episodes = suite_episodes(task, counts, cache, seed, options.workers, tick)
            audit, _ = audit_task(model, task, episodes, on_episode=tick)
            config = calibrate(config, audit)
    write_config(config, folder)


def _tick_if_kept(tick: Callable[[], None], line: dict[str, Any]) -> None:
    if line["kept"]:
        tick()


@contextmanager
def _progress(label: str, total: int | None) -> Iterator[Any]:
    with Progress(console=console) as bar:
        job = bar.add_task(label, total=total)
        yield lambda: bar.advance(job)


def _train(arguments: list[str]) -> None:
    # torch is imported for this command's options only, so that the others start fast
    from viper_gym.training.tokenizer import TokenizerTraining, train_tokenizer
    from viper_gym.training.video_model import VideoModelTraining, train_video_model

    subcommand = tyro.conf.subcommand
    kind: Any = (
        Annotated[
            TokenizerTraining,
            subcommand("tokenizer", description="Train a tokenizer on a folder of videos."),
        ]
        | Annotated[
            VideoModelTraining,
            subcommand("video-model", description="Train a video model; writes a bundle."),
        ]
    )
    config: TokenizerTraining | VideoModelTraining = tyro.cli(
        kind,
        prog="viper-gym train",
        description="Train a tokenizer on videos (one sub-folder a task), then a video model.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if isinstance(config, TokenizerTraining):
        print(f"tokenizer: {train_tokenizer(config)}")
        return
    folder = train_video_model(config)
    print(f"bundle: {folder}")
    print(f"next: viper-gym evaluate --checkpoint {folder} --calibrate --write")


def _train_help() -> None:
    """Train a tokenizer or a video model on a folder of videos (train --help)."""


_COMMANDS: dict[str, Any] = {
    "demo": Demo,
    "tasks": Tasks,
    "collect": Collect,
    "train": _train_help,
    "evaluate": Evaluate,
    "score": Score,
    "sample": Sample,
    "convert": Convert,
}
_DESCRIPTION = "Learning from video: the likelihoods of a video model as reward (VIPER)."


def main() -> None:
    """Entry point: named errors become one line and exit status 2."""
    arguments = sys.argv[1:]
    try:
        if arguments[:1] == ["train"]:
            _train(arguments[1:])
            return
        command = tyro.extras.subcommand_cli_from_dict(
            _COMMANDS, prog="viper-gym", description=_DESCRIPTION, args=arguments or ["--help"]
        )
        command.run()
    except ViperGymError as error:
        console.print(
            f"{type(error).__name__}: {error}", style="red", markup=False, highlight=False
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)

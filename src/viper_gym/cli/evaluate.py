"""`viper-gym evaluate`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from viper_gym.cli.progress import console, progress
from viper_gym.errors import CheckpointError, UnknownTask, VideoDataError, ViperGymError


@dataclass(frozen=True)
class Evaluate:
    """Audit a checkpoint: would an agent that maximises its reward do the task?"""

    checkpoint: str | None = None
    """suite alias, bundle folder or Hub repository; if left out, all that serve the suite (dmc), or
    its `--tasks`"""
    suite: Literal["dmc", "metaworld", "robosuite", "atari", "rlbench"] | None = None
    """collect the episodes from this suite (that of the checkpoint's tasks if left out), seen as
    the checkpoint's videos were …"""
    episodes: Path | None = None
    """… or read them from this folder: <task>/<behaviour>/<videos>, 'expert' at least"""
    agents: Path | None = None
    """also what agents did that learned from this reward: <task>/<videos>, a frame for every
    environment step. Episodes that did the task (npz with `rewards`) do not count. With
    --calibrate the likeliest of them pays nothing from then on, if no other cheap behaviour is
    likelier"""
    tasks: tuple[str, ...] = ()
    seed: int = 300_000
    """first seed of the audit's episodes: a multiple of 100000, each of which begins a range of its
    own, above those of training (100000) and calibration (200000); 400000, say, repeats the audit
    on new episodes"""
    calibrate: bool = False
    """set the reward scale first, from episodes of other seeds than the audit's (with --episodes:
    from the same ones); graded ones with known returns also set the bounds that
    `reward_clip="calibrated"` takes"""
    mode: Literal["conditional", "joint"] | None = None
    """with --calibrate: what is scored, recorded in the bundle (its own if left out); for
    the chosen tasks, or all"""
    window: int | None = None
    """with --calibrate: frames a window holds at most, recorded likewise. 1 scores a frame by
    itself, which suits tasks that end in a pose at rest: how it is held does not count"""
    context: Literal["exact", "refresh"] | None = None
    """with --calibrate: always the full window, or a cache rebuilt when it is full (cheaper
    for long windows); recorded likewise"""
    write: bool = False
    """store the figures in the bundle and its model card (a local folder); with --tasks, those of
    its other tasks stay, and so does a card that was edited by hand"""
    out: Path = Path("runs/evaluate")
    workers: int = 2
    device: str = "auto"
    json: bool = False
    """print the figures as JSON"""

    def run(self) -> None:
        from viper_gym.benchmark.report import to_json

        self._check_seed()
        audits: dict[str, Any] = {}
        failed: dict[str, ViperGymError] = {}
        for part in self._parts():
            audits |= part._audit(audits, failed)
        if self.json:
            print(to_json(audits))
        elif audits:
            print_audits(audits)
        if len(failed) == 1:
            raise next(iter(failed.values()))
        if failed:
            raise CheckpointError(". ".join(map(str, failed.values())))

    def _check_seed(self) -> None:
        from viper_gym.benchmark.suite_episodes import AUDIT_SEED, AUDIT_SEEDS

        if self.seed not in AUDIT_SEEDS:
            raise ViperGymError(
                f"--seed: expected a multiple of {AUDIT_SEEDS.step} from {AUDIT_SEEDS.start} to "
                f"{AUDIT_SEEDS[-1]}, got {self.seed}"
            )
        if self.episodes is not None and self.seed != AUDIT_SEED:
            raise ViperGymError("--seed: the episodes of --episodes are recorded already")

    def _parts(self) -> list[Evaluate]:
        """One for each checkpoint: a suite's tasks are served by several."""
        from viper_gym.checkpoints.index import entry_of, read_index

        entries = [e for e in read_index().values() if e.suite == self.name]
        if self.checkpoint is not None or not entries:  # the latter is refused where it is loaded
            return [self]
        tasks: dict[str, list[str]] = {}
        all_tasks = [t for e in entries for t in e.tasks]
        for folder in (self.episodes, self.agents):  # those that were recorded
            if folder is not None:
                all_tasks = [t for t in all_tasks if (folder / t).is_dir()] or all_tasks
        for task in self.tasks or all_tasks:
            entry = entry_of(self.name, task)
            if entry is None:  # before the others are audited
                raise UnknownTask(
                    f"no checkpoint of suite '{self.name}' serves '{task}'; expected one of "
                    f"{', '.join(all_tasks)}, or --checkpoint"
                )
            tasks.setdefault(entry.alias, []).append(task)
        if self.calibrate and len(tasks) > 1:
            raise CheckpointError(
                f"--calibrate: expected one checkpoint, the tasks are of {', '.join(tasks)}: add "
                "--checkpoint"
            )
        return [replace(self, checkpoint=c, tasks=tuple(ts)) for c, ts in tasks.items()]

    def _audit(self, earlier: dict[str, Any], failed: dict[str, ViperGymError]) -> dict[str, Any]:
        """Of one checkpoint; tasks that have no scale are added to `failed`."""
        from viper_gym.benchmark.suite_episodes import CALIBRATION, CALIBRATION_SEED, FULL_AUDIT
        from viper_gym.checkpoints.bundle import read_config
        from viper_gym.checkpoints.index import audited_tasks
        from viper_gym.checkpoints.resolve import resolve, resolve_to_write
        from viper_gym.cli.calibrate import calibrate_checkpoint, check_policy

        if not self.calibrate and (self.mode, self.window, self.context) != (None, None, None):
            raise CheckpointError(
                "--mode, --window and --context change what the scale was calibrated for: add "
                "--calibrate"
            )
        changed = self.calibrate or self.write
        folder = (resolve_to_write if changed else resolve)(self.name, task=self.tasks)
        before = read_config(folder)
        suite = self.suite_for(before.tasks)
        # what cannot be done is said before episodes are collected
        chosen = self._recorded(before.tasks)
        for known in [before.policy_of(t) for t in chosen.tasks] or [before.policy]:
            check_policy(self, known, before.video_model.sequence_length)
        if self.calibrate:
            failed |= calibrate_checkpoint(chosen, CALIBRATION, CALIBRATION_SEED)
        audits = audit_checkpoint(
            self.name, chosen.tasks, FULL_AUDIT, self.seed, self.out, self.workers,
            self.device, self.episodes, suite=suite, agents=self.agents, earlier=earlier,
            failed=failed,
        )  # fmt: skip
        if self.write and audits:
            served = audited_tasks(self.name, before.tasks)
            named = chosen.tasks or (() if audits.keys() >= set(served) else tuple(audits))
            replace(chosen, tasks=named)._store(audits, folder, suite)
        return audits

    def _recorded(self, known: tuple[str, ...]) -> Evaluate:
        """With the tasks that were asked for; if none were, those that the given folders have.

        Raises:
            VideoDataError: a folder lacks a task that was asked for, or all.
        """
        from viper_gym.checkpoints.index import audited_tasks

        folders = [folder for folder in (self.episodes, self.agents) if folder is not None]
        served = list(self.tasks or audited_tasks(self.name, known))
        found = [t for t in served if all((folder / t).is_dir() for folder in folders)]
        lacking = [t for t in served if t not in found]
        if lacking and (self.tasks or not found):
            raise VideoDataError(
                f"expected a folder for each of {', '.join(served)} in "
                f"{' and in '.join(map(str, folders))}, found none for {', '.join(lacking)}"
            )
        if lacking:
            console.print(
                f"only {', '.join(found)}: nothing is recorded of {', '.join(lacking)}",
                markup=False, soft_wrap=True,
            )  # fmt: skip
        return replace(self, tasks=tuple(found)) if lacking else self

    def _store(self, audits: dict[str, Any], folder: Path, suite: str) -> None:
        from viper_gym.benchmark.report import REWARDS, ROLLOUT, with_evaluation
        from viper_gym.checkpoints import card as cards
        from viper_gym.checkpoints.bundle import CARD, read_config, write_config
        from viper_gym.checkpoints.resolve import is_bundled

        config = with_evaluation(read_config(folder), audits, self._command(suite), self.tasks)
        write_config(config, folder)
        card = folder / CARD
        before = card.read_text("utf-8") if card.exists() else ""
        if before and not cards.is_generated(before):
            line = f"{card} was edited by hand and stays; config.json has the figures"
            console.print(line, markup=False, soft_wrap=True)
        else:
            if not is_bundled(folder):  # the package is not to grow by them
                drawn = [self.out / f"{t}{end}" for t in audits for end in (REWARDS, ROLLOUT)]
                cards.keep_pictures(folder, drawn)
            license, shown = cards.licence_of(before), cards.pictures_of(folder)
            card.write_text(cards.model_card(config, None, license, shown), "utf-8")

    @property
    def name(self) -> str:
        """Of the checkpoint."""
        return self.checkpoint or self.suite or "dmc"

    def suite_for(self, tasks: tuple[str, ...]) -> str:
        """Where the episodes of a checkpoint with these tasks are from."""
        from viper_gym.envs.suite import suite_of

        suite = self.suite or suite_of(tasks)
        if suite is None and self.episodes is None:
            raise CheckpointError(
                f"{self.name} has tasks of no suite ({', '.join(tasks)}): give --suite, or "
                "recorded episodes, --episodes FOLDER (FOLDER/<task>/<behaviour>/<videos>, "
                "'expert' at least)"
            )
        return suite or "dmc"

    def _command(self, suite: str) -> str:
        """What repeats this audit, of all tasks that the checkpoint serves."""
        source = (
            f"--suite {suite}" if self.episodes is None else f"--episodes {_quoted(self.episodes)}"
        )
        agents = "" if self.agents is None else f" --agents {_quoted(self.agents)}"
        seed = "" if self.seed == Evaluate.seed else f" --seed {self.seed}"
        return (
            f"viper-gym evaluate --checkpoint {_quoted(self.name)} {source}{agents}{seed} --write"
        )


def _quoted(path: str | Path) -> str:
    return shlex.quote(str(path))


def audit_checkpoint(
    checkpoint: str,
    tasks: tuple[str, ...],
    counts: dict[str, int],
    seed: int,
    out: Path,
    workers: int,
    device: str,
    folder: Path | None = None,
    suite: str = "dmc",
    agents: Path | None = None,
    kept: str = "episodes",
    earlier: dict[str, Any] | None = None,
    failed: dict[str, ViperGymError] | None = None,
) -> dict[str, Any]:
    """Audit a checkpoint's tasks, on recorded episodes (`folder`) or on a suite's.

    Args:
        kept: folder in `out` for the latter.
        earlier: audits of other checkpoints, for the same audit.json.
        failed: see `run_audit`.
    """
    from viper_gym.benchmark.report import folder_source, run_audit, with_agents
    from viper_gym.benchmark.suite_episodes import episodes_as_trained, unreachable
    from viper_gym.checkpoints.index import audited_tasks
    from viper_gym.likelihood.reward_model import VideoRewardModel

    model = VideoRewardModel.from_pretrained(checkpoint, task=tasks, device=device)
    chosen = list(tasks or audited_tasks(checkpoint, model.tasks))
    for task in chosen:
        model.task_index(task)  # an unknown name fails before the long work
    recorded = sum(counts.values()) if folder is None else 0
    with progress("audit", 2 * recorded * len(chosen) or None) as tick:
        if folder is not None:
            source = folder_source(folder, model.config)
        else:
            source = lambda task: episodes_as_trained(  # noqa: E731
                model.config, task, counts, out / kept, seed, workers, tick, suite
            )
        if agents is not None:
            source = with_agents(source, agents, model.config)
        beyond = unreachable(suite) if folder is None else ()
        return run_audit(
            model,
            chosen,
            source,
            out,
            on_episode=tick,
            unreachable=beyond,
            earlier=earlier,
            failed=failed,
        )


def print_audits(audits: dict[str, Any]) -> None:
    """The table, then the verdicts in words."""
    from viper_gym.benchmark.report import table

    Console().print(table(audits))
    for task, audit in audits.items():
        for line in audit.verdict:
            print(f"{task}: {line}")

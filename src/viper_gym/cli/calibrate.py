"""The calibrating half of `viper-gym evaluate`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from viper_gym.cli.progress import progress
from viper_gym.errors import CheckpointError, VideoDataError, ViperGymError
from viper_gym.models.context import ContextPolicy

if TYPE_CHECKING:
    from viper_gym.cli.evaluate import Evaluate


def calibrate_checkpoint(
    options: Evaluate, counts: dict[str, int], seed: int
) -> dict[str, ViperGymError]:
    """Write the scales of the chosen tasks; returns those of which none can be made, and why."""
    from viper_gym.benchmark.audit import audit_task
    from viper_gym.benchmark.calibration import calibrate, context_offsets, with_bounds
    from viper_gym.benchmark.report import folder_source, with_agents
    from viper_gym.benchmark.suite_episodes import episodes_as_trained, unreachable
    from viper_gym.checkpoints.bundle import read_config, write_config
    from viper_gym.checkpoints.index import audited_tasks
    from viper_gym.checkpoints.resolve import resolve_to_write
    from viper_gym.likelihood.reward_model import VideoRewardModel

    folder = resolve_to_write(options.name, task=options.tasks)
    config = read_config(folder)
    suite = options.suite_for(config.tasks)
    asked = (options.mode, options.window, options.context) != (None, None, None)
    if asked and not options.tasks:
        # what was calibrated for another score is no use, a task's own policy included
        config = replace(config, policy=_policy(options, config.policy), calibration={})
    chosen = options.tasks or audited_tasks(options.name, config.tasks)
    recorded = sum(counts.values()) if options.episodes is None else 0
    failed: dict[str, ViperGymError] = {}
    with progress("calibrate", 2 * recorded * len(chosen) or None) as tick:
        for task in chosen:
            policy = _policy(options, config.policy_of(task))
            model = VideoRewardModel.from_pretrained(folder, device=options.device, policy=policy)
            if options.episodes is not None:
                source = folder_source(options.episodes, config)
            else:
                source = partial(
                    episodes_as_trained,
                    config,
                    counts=counts,
                    folder=options.out / "calibration",
                    first_seed=seed,
                    workers=options.workers,
                    on_episode=tick,
                    suite=suite,
                )
            if options.agents is not None:
                source = with_agents(source, options.agents, config)
            beyond = unreachable(suite) if options.episodes is None else ()
            try:
                audit, scored = audit_task(
                    model, task, source(task), on_episode=tick, unreachable=beyond
                )
                experts = [s.episode for s in scored["expert"]]  # those that succeeded
                offsets = context_offsets(model, task, experts)
                config = calibrate(config, audit, offsets, policy)
            except (CheckpointError, VideoDataError) as error:  # the other tasks' are kept
                failed[task] = error
                continue
            config = with_bounds(config, task, scored.get("graded", []))
    if len(failed) < len(chosen):  # else the bundle stays as it was
        write_config(config, folder)
    return failed


def _policy(options: Evaluate, known: ContextPolicy) -> ContextPolicy:
    """The known policy with what was asked for put in; joint needs the exact window.

    Raises:
        CheckpointError: joint and refresh were asked for.
    """
    mode = options.mode or known.mode
    if mode == "joint" and options.context == "refresh":
        raise CheckpointError(
            "--context refresh: frames that are scored together (mode joint) need the full window "
            "at every step: leave it out, or add --mode conditional"
        )
    window = options.window if options.window is not None else known.window
    keep = None if (mode, window) != (known.mode, known.window) else known.keep
    kind = "exact" if mode == "joint" else (options.context or known.kind)
    return replace(known, kind=kind, mode=mode, window=window, keep=keep)


def check_policy(options: Evaluate, known: ContextPolicy, sequence_length: int) -> None:
    """Whether what was asked for can be scored at all.

    Raises:
        CheckpointError: it cannot.
    """
    policy = _policy(options, known)
    try:
        policy.kept(sequence_length)
    except ValueError as error:
        raise CheckpointError(f"--window: {error}") from error

"""Collect the episodes of an audit from a built-in suite, over processes, resumably."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path

from viper_gym.benchmark.still import STILL, Episodes
from viper_gym.checkpoints.bundle import BundleConfig
from viper_gym.data.episodes import Episode
from viper_gym.data.videos import resized
from viper_gym.envs.behaviours import EMPTY
from viper_gym.envs.collect import SEED_RANGE, collect
from viper_gym.envs.drawing import OWN_DRAWING, Drawing, recorded_drawing
from viper_gym.envs.suite import find_suite
from viper_gym.envs.workers import InProcess, Processes

# Seeds of training (100000…), calibration and audit episodes never overlap.
TRAINING_SEED, CALIBRATION_SEED, AUDIT_SEED = 100_000, 200_000, 300_000
AUDIT_SEEDS = range(AUDIT_SEED, 10_000_000, SEED_RANGE)  # file names have seven digits
"""first seeds an audit may begin with: each has a range of its own, or episodes of one audit would
be counted in another of the same folder"""

FULL_AUDIT = {
    "expert": 12,
    "graded": 32,
    "zero": 10,
    "small": 10,
    "constant": 10,
    "random": 10,
    "empty": 10,
    "stop": 10,
}
CALIBRATION = {
    "expert": 6,
    "graded": 24,
    "zero": 10,
    "small": 4,
    "constant": 6,
    "random": 4,
    "empty": 2,
}
QUICK_AUDIT = {
    "expert": 3,
    "graded": 8,
    "zero": 2,
    "small": 1,
    "constant": 2,
    "random": 2,
    "empty": 1,
}


def unreachable(suite: str) -> tuple[str, ...]:
    """Behaviours of an audit that no agent can show in a suite: an empty picture or one at rest,
    where others go on playing."""
    return () if find_suite(suite).stops else (EMPTY, *STILL)


def suite_episodes(
    task: str,
    counts: dict[str, int],
    folder: Path,
    first_seed: int,
    workers: int = 2,
    on_episode: Callable[[], None] = lambda: None,
    suite: str = "dmc",
    drawing: Drawing = OWN_DRAWING,
    image_size: int | None = None,
) -> Episodes:
    """Behaviour -> episodes of a task; files already in `folder` are used again.

    Args:
        image_size: pixels that frames are resized to, if they have not got them.
    """
    # Starting a process costs as much as an episode, so all behaviours share them.
    with Processes(workers) if workers else nullcontext(InProcess()) as pool:
        return {
            behaviour: [
                resized(Episode.load(path), image_size)  # at once: large ones fill the memory
                for path in collect(
                    task,
                    behaviour,
                    count,
                    folder,
                    first_seed=first_seed,
                    workers=pool,
                    suite=suite,
                    on_episode=lambda line: on_episode(),
                    drawing=drawing,
                )
            ]
            for behaviour, count in counts.items()
            if behaviour not in find_suite(suite).lacks
        }


def episodes_as_trained(
    config: BundleConfig,
    task: str,
    counts: dict[str, int],
    folder: Path,
    first_seed: int,
    workers: int = 2,
    on_episode: Callable[[], None] = lambda: None,
    suite: str = "dmc",
) -> Episodes:
    """`suite_episodes`, drawn (and resized) as a bundle says its videos were."""
    found_suite = find_suite(suite)
    drawing = recorded_drawing(found_suite, task, config.preprocessing.get(task, {}))
    if not drawing.is_own(found_suite, task):  # bundles that are compared may share the folder
        folder = folder / f"drawn_{sha256(repr(drawing).encode()).hexdigest()[:8]}"
    return suite_episodes(
        task, counts, folder, first_seed, workers, on_episode, suite, drawing,
        image_size=config.tokenizer.image_size,
    )  # fmt: skip

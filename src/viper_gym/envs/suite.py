"""What ids, collection and audits ask of a suite of tasks, and the suites there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from viper_gym.data.episodes import Episode
from viper_gym.envs.atari import ATARI_GAMES, AtariEnv, atari_game, game_mask
from viper_gym.envs.behaviours import DMC_RECIPE, EMPTY, EpisodeRecipe
from viper_gym.envs.dmc import DMCEnv
from viper_gym.envs.drawn_env import DrawnEnv
from viper_gym.envs.game_policy import GamePolicy, has_policy
from viper_gym.envs.lookahead import Lookahead
from viper_gym.envs.metaworld import (
    METAWORLD_TASKS,
    STEPS,
    MetaWorldEnv,
    ScriptedExpert,
    hold_pose,
    metaworld_task,
)
from viper_gym.envs.oracle import Oracle
from viper_gym.envs.planner import PLANS, Planner
from viper_gym.envs.rlbench import RLBENCH_TASKS, RLBenchEnv
from viper_gym.envs.rlbench import STEPS as RLBENCH_STEPS
from viper_gym.envs.robosuite import ROBOSUITE_TASKS, RobosuiteEnv, robosuite_task
from viper_gym.envs.robosuite import STEPS as ROBOSUITE_STEPS
from viper_gym.envs.robosuite_scripts import RobosuiteScript
from viper_gym.envs.scripts import PendulumScript, PointMassScript, ReacherScript
from viper_gym.envs.tasks import DMC_TASKS, dmc_task
from viper_gym.errors import UnknownTask
from viper_gym.types import Policy

# Diverse expert episodes are kept when the end of the episode is at this share of the
# expert's mean reward a step: recoveries that arrive late stay, failures go.
KEEP_SHARE = 0.8
KEEP_TAIL = 0.4  # of the episode


@dataclass(frozen=True)
class Suite:
    """A family of tasks that are made, played and judged alike."""

    name: str
    tasks: dict[str, Any]
    """what is known of each, by the name used in ids"""
    make: Callable[..., DrawnEnv]
    """(task, observation, render_quality=, render_mode=, …)"""
    expert: Callable[[str, Any], Policy]
    """(task, the environment it will play in); acts from `DrawnEnv.state`"""
    is_good: Callable[[str, Episode], bool]
    """whether an expert's episode is worth training on"""
    recipe: EpisodeRecipe
    training_steps: Callable[[str], int | None]
    """longest training episode of a task; None: as planned"""
    training_episodes: Callable[[str], int]
    facts: Callable[[str], dict[str, float]]
    """what `viper-gym tasks` says of a task's expert"""
    settle: int | None = None
    """steps of an expert's episode behind its first success, where scripts begin to do odd
    things; None: all"""
    rest: Callable[[Any, np.ndarray, int], np.ndarray] | None = None
    """(the environment, the action before, steps at rest) to the action that holds the pose,
    for experts who end at rest"""
    rest_steps: int = 0
    """steps of it that are recorded behind those of `settle`"""
    mask: Callable[[str], np.ndarray | None] = lambda task: None
    """uint8 (H, W), 0 where a picture tells the score; None: everything counts"""
    lacks: tuple[str, ...] = ()
    """behaviours that it cannot show"""
    has_expert: Callable[[str], bool] = lambda task: True
    """whether anybody plays it"""
    demonstrate: Callable[[Any, int], Episode] | None = None
    """(the environment, a seed) to an episode of an expert who does not act on states"""
    view_fields: tuple[str, ...] = ()
    """what of a `View` can be chosen; empty: all of it"""
    own_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """what its environments are made with if nothing is said, and record"""
    stops: bool = True
    """whether an agent can bring the whole picture to rest (in games others go on playing)"""


def _ends_like_the_oracle(task: str, episode: Episode) -> bool:
    assert episode.rewards is not None
    spec = dmc_task(task)
    assert spec.oracle_return is not None  # an expert has played
    expert = spec.oracle_return / 1000 * episode.meta["action_repeat"]  # a step
    tail = episode.rewards[-int(len(episode.rewards) * KEEP_TAIL) :].mean()
    return bool(tail >= KEEP_SHARE * expert)


def no_expert(suite: str, task: str) -> UnknownTask:
    """What to raise where nobody plays a task."""
    return UnknownTask(
        f"{suite} task '{task}' has no expert: `viper-gym train` takes a folder of your own "
        "videos, `collect` records behaviours that need none"
    )


def _dmc_facts(task: str) -> dict[str, float]:
    spec = dmc_task(task)
    own = {} if spec.oracle_return is None else {"oracle_return": spec.oracle_return}
    return {**own, "paper_expert_return": spec.expert_return}


def _dmc_expert(task: str, env: Any) -> Policy:
    if dmc_task(task).oracle_return is None:
        raise no_expert("dmc", task)
    if task == "pendulum_swingup":
        return PendulumScript()
    if task.startswith("reacher"):
        return ReacherScript()
    if task.startswith("pointmass"):
        return PointMassScript(env.physics)
    if task in PLANS:
        return Planner(env, PLANS[task])
    return Oracle(task)


def _atari_facts(task: str) -> dict[str, float]:
    game = atari_game(task)
    normalised = (game.expert - game.random) / (game.human - game.random)
    return {
        "expert_score": game.expert,
        "random_score": game.random,
        "human_score": game.human,
        "human_normalised": round(normalised, 2),
    }


def _demonstrated(task: str, env: Any) -> Policy:
    raise UnknownTask(
        f"rlbench task '{task}' has no expert that acts on states: RLBench's planner demonstrates "
        "it (`viper-gym collect --suite rlbench`, or a folder of demonstrations that RLBench saved)"
    )


def _succeeds(task: str, episode: Episode) -> bool:
    return bool(episode.meta["success"])


SUITES = {
    "dmc": Suite(
        "dmc",
        DMC_TASKS,
        DMCEnv,
        _dmc_expert,
        _ends_like_the_oracle,
        recipe=DMC_RECIPE,
        training_steps=lambda task: dmc_task(task).episode_steps,
        training_episodes=lambda task: dmc_task(task).episodes,
        facts=_dmc_facts,
        has_expert=lambda task: dmc_task(task).oracle_return is not None,
    ),
    "metaworld": Suite(
        "metaworld",
        METAWORLD_TASKS,
        MetaWorldEnv,
        lambda task, env: ScriptedExpert(task),
        _succeeds,
        # scripts move at once, so nothing is skipped, and are done in 50 to 200 steps
        recipe=EpisodeRecipe(
            STEPS, 0, pushed_episode=STEPS, push=(5, 40), noise=(0.0, 0.0, 0.0, 0.1, 0.2, 0.4)
        ),
        training_steps=lambda task: None,
        training_episodes=lambda task: 60,
        facts=lambda task: {"script_success": metaworld_task(task).success},
        settle=4,
        rest=hold_pose,
        rest_steps=60,
    ),
    "rlbench": Suite(
        "rlbench",
        RLBENCH_TASKS,
        RLBenchEnv,
        _demonstrated,
        _succeeds,
        recipe=EpisodeRecipe(RLBENCH_STEPS // 4, 0),
        training_steps=lambda task: None,
        training_episodes=lambda task: 100,
        facts=lambda task: {},
        lacks=(EMPTY, "graded", "stop", "rest"),  # the planner neither errs nor takes over
        demonstrate=lambda env, seed: env.record_demo(seed),
        view_fields=("image_size", "render_quality"),
        own_kwargs={"robot": "panda"},
    ),
    "robosuite": Suite(
        "robosuite",
        ROBOSUITE_TASKS,
        RobosuiteEnv,
        lambda task, env: RobosuiteScript(robosuite_task(task).name, env),
        _succeeds,
        recipe=EpisodeRecipe(
            ROBOSUITE_STEPS,
            0,
            pushed_episode=ROBOSUITE_STEPS,
            push=(5, 30),
            noise=(0.0, 0.0, 0.0, 0.1, 0.2, 0.4),
        ),
        training_steps=lambda task: None,
        training_episodes=lambda task: 50,
        facts=lambda task: {"script_success": robosuite_task(task).success},
        settle=20,
    ),
    "atari": Suite(
        "atari",
        ATARI_GAMES,
        AtariEnv,
        lambda task, env: GamePolicy(task) if has_policy(task) else Lookahead(env),
        lambda task, episode: episode.task_return > 0,
        recipe=EpisodeRecipe(500, 60, pushed_episode=400, noise=(0.0, 0.0, 0.0, 0.3, 0.5)),
        training_steps=lambda task: None,
        training_episodes=lambda task: 40,
        facts=_atari_facts,
        mask=game_mask,
        lacks=(EMPTY, "small"),  # a button is pressed or not
        view_fields=("image_size",),
        stops=False,
    ),
}


def find_suite(name: str) -> Suite:
    """Look a suite up by the name used in ids (`dmc`).

    Raises:
        UnknownTask: naming the known suites.
    """
    if name not in SUITES:
        raise UnknownTask(f"unknown suite '{name}'; known: {', '.join(SUITES)}")
    return SUITES[name]


def suite_of(tasks: Iterable[str]) -> str | None:
    """The suite that has all of these tasks; None where none does."""
    wanted = set(tasks)
    return next((name for name, suite in SUITES.items() if wanted <= set(suite.tasks)), None)

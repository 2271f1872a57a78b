"""`viper-gym play`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from viper_gym.cli.progress import console, progress
from viper_gym.errors import require_between, require_positive

if TYPE_CHECKING:
    import gymnasium as gym

    from viper_gym.agents.evaluation import Player
    from viper_gym.cli.saved_agent import SavedAgent
    from viper_gym.data.episodes import Episode


@dataclass(frozen=True)
class Play:
    """Play a saved agent of `viper-gym train agent` and record whole episodes, lossless: every
    frame of the environment, and its task rewards. `viper-gym evaluate --agents` audits a
    checkpoint by them."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """the run's folder (`--out` of `viper-gym train agent`)"""
    episodes: int = 10
    out: Path | None = None
    """episodes go to OUT/<task>/episode_<seed>.npz; RUN/episodes if left out"""
    seed: int = 10_000_000
    """of the first episode, the next have the numbers behind it; those of training and of audits
    are below, those of training's evaluations far above"""
    sample: bool = False
    """act as in training, by samples of the policy; if left out, by its mean"""
    max_steps: int | None = None
    """environment steps after which an episode is cut; if left out, it ends by itself"""
    device: str = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """of the agent's networks; take what it was trained in, if that was chosen (`--precision`)"""

    def __post_init__(self) -> None:
        require_positive(episodes=self.episodes, max_steps=self.max_steps)
        require_between(0, 2**32 - self.episodes, seed=self.seed)  # simulators take 32 bits

    def run(self) -> None:
        import viper_gym  # noqa: F401  (registers the viper/… ids)
        from viper_gym.cli.saved_agent import read_agent
        from viper_gym.data.videos import find_videos

        saved = read_agent(self.folder)
        env = saved.env()
        try:
            told = self._record(saved, env)
        finally:
            env.close()
        folder = self._folder(saved)
        for line in told:
            print(line)
        print(f"{len(told)} episodes in {folder}")
        others = len(find_videos(folder)) - len(told)
        if others:
            console.print(
                f"{others} more lie there, of other seeds, maybe of another agent: an audit counts "
                "them, too",
                markup=False, soft_wrap=True,
            )  # fmt: skip
        if saved.served:
            print(f"next: {audit_command(saved, folder)}")

    def _record(self, saved: SavedAgent, env: gym.Env[Any, Any]) -> list[str]:
        """Play and write; returns a line for each episode."""
        import torch

        from viper_gym.agents.actions import ActionCodec
        from viper_gym.agents.frame_shape import picture_shape
        from viper_gym.likelihood.precision import resolve_device, resolve_dtype

        device = resolve_device(self.device)
        bf16 = resolve_dtype(self.precision, device) == torch.bfloat16
        actions, shape = ActionCodec(env.action_space), picture_shape(env.observation_space)
        agent = saved.agent(shape, actions, str(device), "bf16" if bf16 else "fp32")
        known: dict[str, Any] = {
            "task": task_of(saved),
            "behaviour": "agent",
            "env": saved.config.env,
            "step": saved.state["step"],
            "sample": self.sample,
            "hold": saved.hold,
        }
        if env.has_wrapper_attr("preprocessing"):
            said = env.get_wrapper_attr("preprocessing")
            known |= said if isinstance(said, dict) else {}
        told = []
        with progress(f"{known['task']} agent", self.episodes) as tick:
            for seed in range(self.seed, self.seed + self.episodes):
                agent.reseed(seed)  # an episode hangs on none before it
                player = agent.player(1, not self.sample)
                episode = play(
                    env, player, actions.to_env, saved.hold, seed=seed, max_steps=self.max_steps
                )
                episode.meta.update(known)
                episode.save(self._folder(saved) / f"episode_{seed}.npz")
                told.append(f"seed {seed}: {outcome(episode)}")
                tick()
        return told

    def _folder(self, saved: SavedAgent) -> Path:
        return (self.out or self.folder / "episodes") / task_of(saved)


def play(
    env: gym.Env[Any, Any],
    player: Player,
    to_env: Callable[[Any], Any],
    hold: int,
    *,
    seed: int,
    max_steps: int | None = None,
) -> Episode:
    """One whole episode, with the frame of every environment step.

    Args:
        env: its observations are uint8 pictures (H, W, 3).
        player: decides from the newest frame, every `hold` steps.
        to_env: `ActionCodec.to_env`.
        seed: of the environment's reset.
        max_steps: after so many the episode is cut.

    Returns:
        The episode; its `meta` has the seed and, where the environment tells, whether it was a
        "success" at any step, and at how many ("success_steps").
    """
    import numpy as np

    from viper_gym.data.episodes import Episode

    seen, _ = env.reset(seed=seed)
    # copies: environments may draw their next picture into the same memory
    frames, rewards, meta = [np.array(seen)], [], dict[str, Any](seed=seed)
    first, over = np.ones(1, bool), False
    while not over:
        (action,) = to_env(player(frames[-1][None], first))
        first = np.zeros(1, bool)
        for _ in range(hold):
            seen, reward, terminated, truncated, info = env.step(action)
            frames.append(np.array(seen))
            rewards.append(float(reward))
            if (solved := is_solved(info)) is not None:
                meta["success_steps"] = meta.get("success_steps", 0) + solved
                meta["success"] = meta["success_steps"] > 0
            over = bool(terminated or truncated) or len(rewards) == max_steps
            if over:
                break
    return Episode(np.stack(frames), np.array(rewards, np.float32), meta)


def outcome(episode: Episode) -> str:
    """In words."""
    words = f"return {episode.task_return:.4g} in {len(episode.frames) - 1} steps"
    if "success" not in episode.meta:
        return words
    return f"{words}, {'solved' if episode.meta['success'] else 'not solved'}"


def is_solved(info: dict[str, Any]) -> bool | None:
    """What a step says of the task; None where it says nothing."""
    import numpy as np

    from viper_gym.agents.evaluation import successes

    (told,) = successes({name: [value] for name, value in info.items()}, 1)
    return None if np.isnan(told) else bool(told)


def task_of(saved: SavedAgent) -> str:
    """The suite's name of the task; of other ids the id, as a folder may be called."""
    import gymnasium as gym

    if saved.served:
        return str(gym.spec(saved.config.env).kwargs["task"])
    return re.sub(r"[^\w.-]+", "_", saved.config.env)


def audit_command(saved: SavedAgent, folder: Path) -> str:
    """Audits the reward that the agent learned from, or what the suite has for its task.

    Args:
        folder: of the task's episodes.
    """
    import gymnasium as gym

    from viper_gym.checkpoints.index import entry_of
    from viper_gym.registration import OWN

    suite, task = str(gym.spec(saved.config.env).kwargs["suite"]), task_of(saved)
    checkpoint = saved.kwargs.get("checkpoint", OWN)
    if saved.kwargs.get("reward_task"):  # it may not know the task whose episodes these are
        checkpoint = None
    if checkpoint is None and entry_of(suite, task) is None:
        source = "--checkpoint FOLDER"
    elif checkpoint in (None, OWN):
        source = f"--suite {suite}"
    else:
        source = f"--checkpoint {shlex.quote(str(checkpoint))}"
    agents = shlex.quote(str(folder.parent))
    return f"viper-gym evaluate {source} --agents {agents} --tasks {task}"

"""The loop: play in a vector environment, remember, learn, evaluate, go on after a kill."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from gymnasium.vector import VectorEnv

from viper_gym.agents.actions import ActionCodec
from viper_gym.agents.checkpoint import NAME, Checkpoint
from viper_gym.agents.evaluation import Player, play_episodes
from viper_gym.agents.frame_shape import frame_shape
from viper_gym.agents.kept_bonus import KeptBonus
from viper_gym.agents.labels import LaterRewards, Relabel
from viper_gym.agents.replay import FrameReplay, ReplayConfig
from viper_gym.agents.run_log import Means, RunLog, at_end
from viper_gym.errors import UNWRITABLE, TrainingError, require_not_negative, require_positive
from viper_gym.files import replace_text, set_aside

FILMED = 1000  # frames of an evaluation, at most
MOSTLY_STILL = 0.9  # share of the later steps
SHOWN_EVERY = 1.0  # seconds between calls of `on_progress` without figures
# of an earlier run, beside its checkpoint
LEFT = (
    "metrics.jsonl",
    "settings.json",
    "tensorboard",
    "replay",
    "eval_*",
    "imagined_*",
    "episodes",
    "curves.png",
)
EVALUATION_SEEDS = 2**30  # from here on: none that training comes to
MakeEnvs = Callable[[int], VectorEnv]


class Agent(Protocol):
    """What the loop trains. Actions are as `ActionCodec` has them."""

    updates_per_step: float
    """by default"""
    least_steps: int
    """of each environment, before anything can be sampled"""

    def player(self, num_envs: int, deterministic: bool = False) -> Player: ...

    def sample(self, replay: FrameReplay, rng: np.random.Generator) -> Any: ...

    def update(self, batch: Any) -> dict[str, float]: ...

    def imagined(self, replay: FrameReplay, rng: np.random.Generator) -> np.ndarray | None:
        """A film (T, H, W, 3) of what a world model imagines; None without one."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


MakeAgent = Callable[[tuple[int, int, int], ActionCodec], Agent]
"""(frame shape (H, W, 3), actions) -> agent"""


@dataclass(frozen=True)
class TrainerConfig:
    """How long, how often, where. A step is one action in one environment."""

    out: Path = Path("runs/agent")
    """folder for checkpoints, logs, the replay and films"""
    total_timesteps: int = 500_000
    """steps of all environments together"""
    num_envs: int = 4
    learning_starts: int = 1_000
    """steps with random actions first"""
    gradient_steps: float | None = None
    """updates a step; None is the agent's own"""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    eval_every: int = 10_000
    """steps between evaluations with the policy's mean"""
    eval_episodes: int = 2
    """an evaluation; the film is of the first, its first thousand frames at most"""
    log_every: int = 1_000
    """steps between lines of metrics.jsonl, and points in TensorBoard"""
    bonus_steps: int = 0
    """steps in which the weight of the environments' exploration bonus falls to zero, for tasks
    that are left again out of curiosity (what is left is news again); 0 keeps it"""
    checkpoint_minutes: float = 5.0
    seed: int = 0
    resume: bool = False
    """go on from the last checkpoint in `out`"""
    wandb_project: str = ""
    """also log to this project of Weights & Biases (needs the extra "wandb")"""

    def __post_init__(self) -> None:
        require_positive(
            total_timesteps=self.total_timesteps,
            num_envs=self.num_envs,
            eval_every=self.eval_every,
            eval_episodes=self.eval_episodes,
            log_every=self.log_every,
        )
        require_not_negative(
            bonus_steps=self.bonus_steps, seed=self.seed, gradient_steps=self.gradient_steps
        )


class Trainer:
    """Off-policy training from pixels in any vector environment.

    Args:
        config: see there.
        make_envs: number -> vector environment with autoreset mode NEXT_STEP, uint8 pictures
            (H, W, 3) as observations, and bounded continuous or discrete actions.
        make_agent: (frame shape (H, W, 3), actions) -> agent.
        on_progress: called with (step, total, metrics) after every log line, and without metrics
            at the beginning and every second.
        film: called with (frames (T, H, W, 3), file stem) after an evaluation: of its first
            episode, the first `FILMED` frames at most.
        relabel: rewards for finished episodes in the replay, instead of the environment's, which
            are logged as "task_return" and not learned from; "return" is of what is.
        add_rewards: the training environments' rewards are an exploration bonus: they are added to
            the relabelled ones, and logged as "bonus_return"; "return" is without them.
        make_eval_envs: as `make_envs`, for evaluations; leave an exploration bonus out, which would
            begin anew in each. None takes `make_envs`.
        made_of: what else a resumed run must share (environment, settings of the agent, …): plain
            values, compared with those of the checkpoint.

    Raises:
        TrainingError: unusable environment or folder, or a checkpoint of other settings.
        ReplayError: the replay cannot be kept.
    """

    def __init__(
        self,
        config: TrainerConfig,
        make_envs: MakeEnvs,
        make_agent: MakeAgent,
        on_progress: Callable[[int, int, dict[str, float]], None] = lambda *_: None,
        film: Callable[[np.ndarray, Path], None] = lambda *_: None,
        relabel: Relabel | None = None,
        add_rewards: bool = False,
        make_eval_envs: MakeEnvs | None = None,
        made_of: dict[str, Any] | None = None,
    ):
        self.config, self._made_of = config, made_of or {}
        # of the environments' rewards; "return" is of those that are learned from
        self._returned = "return" if relabel is None else "task_return"
        self._returned_in_training = "bonus_return" if add_rewards else self._returned
        self._make_eval_envs = make_eval_envs or make_envs
        self._on_progress, self._film = on_progress, film
        try:
            config.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"cannot write to {config.out}: {error}") from error
        self._checkpoint = Checkpoint(config.out, self._settings())
        saved = self._checkpoint.load() if config.resume else None
        self._envs = make_envs(config.num_envs)
        self._bonus = KeptBonus(self._envs, config.bonus_steps)
        shape = frame_shape(self._envs)
        self._actions = ActionCodec(self._envs.single_action_space)
        self.agent = make_agent(shape, self._actions)
        given = config.gradient_steps
        self._updates_per_step = self.agent.updates_per_step if given is None else given
        self.step, self._seconds, self._best = 0, 0.0, -np.inf
        self._shown = -np.inf
        self._rng = np.random.default_rng(config.seed)
        if saved is None:  # what an earlier run left is another run's
            set_aside(config.out / NAME, *LEFT)
            (config.out / "replay" / "replay.json").unlink(missing_ok=True)
        self.replay = FrameReplay(
            config.replay,
            config.num_envs,
            shape,
            self._actions.size,
            config.out / "replay",
            labels_later=relabel is not None,
        )
        self._labels: LaterRewards | None = None
        if relabel is not None:
            self._labels = LaterRewards(self.replay, relabel, config.num_envs, add_rewards)
        if saved is not None:
            self._load(saved)
            if not self.replay.restored:
                warnings.warn(
                    f"{config.out / 'replay'} holds nothing that was saved: the run goes on from "
                    f"step {self.step} with an empty replay, and learns from what it sees from now "
                    "on",
                    stacklevel=2,
                )

    def run(self) -> Path:
        """Train to the end; returns the folder.

        Raises:
            TrainingError: nothing can be written any more; the last checkpoint is intact.
        """
        try:
            return self._run()
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise self._checkpoint.unwritable(error) from error

    def _run(self) -> Path:
        c, n = self.config, self.config.num_envs
        self._log = RunLog(c.out, self.step, c.wandb_project)
        started = saved = time.monotonic()
        before = self._seconds
        replace_text(c.out / "settings.json", json.dumps(json.loads(self._settings()), indent=2))
        self._show()
        frames = np.array(self._envs.reset(seed=c.seed + self.step)[0])
        self._bonus.after_reset()
        player = self.agent.player(n)
        first, over = np.ones(n, bool), np.zeros(n, bool)
        returns, due, means = np.zeros(n), 0.0, Means()
        while self.step < c.total_timesteps:
            began = time.perf_counter()
            if self.step < c.learning_starts:
                actions = self._actions.random(n, self._rng)
            else:
                actions = player(frames, first)
            acted = time.perf_counter()
            self._bonus.fade(self.step)
            following, rewards, terminated, truncated, infos = self._envs.step(
                self._actions.to_env(actions)
            )
            played = time.perf_counter()
            self.replay.add(frames, first, actions, rewards, terminated)
            # environments whose episode had ended were only reset by this step
            if self._labels is not None:
                for episode_return in self._labels.step(rewards, first, over):
                    means.add({"return": episode_return})
            labelled = time.perf_counter()
            returns = np.where(over, 0.0, returns + rewards)
            # a copy: environments may write their next observations into the same memory
            first, frames, over = over, np.array(following), (terminated | truncated) & ~over
            for i in np.flatnonzero(over):
                means.add(at_end(infos, int(i)) | {self._returned_in_training: returns[i]})
            self.step += n
            if self._can_learn():
                due += n * self._updates_per_step
                for _ in range(int(due)):
                    means.add(self._update())
                due -= int(due)
            learned = time.perf_counter()
            means.add({"seconds/act": acted - began, "seconds/env": played - acted})
            means.add({"seconds/relabel": labelled - played, "seconds/learn": learned - labelled})
            self._seconds = before + time.monotonic() - started
            self._show()
            if self._every(c.log_every):
                self._write(means.take("train"))
            if self._every(c.eval_every):
                self.save()  # what was learned must not hang on an evaluation
                self._evaluate()
            if time.monotonic() - saved > 60 * c.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        self._finish(means.take("train"))
        return c.out

    def _finish(self, left: dict[str, float]) -> None:
        """Write down what is not yet, `left` of the figures among it."""
        if left:
            self._write(left)
        self.save()  # first: what follows may fail
        if self._labels is not None:  # whoever trains on begins new episodes: these end here
            for env in range(self.config.num_envs):
                self._labels.label(env)
        if self.step % self.config.eval_every >= self.config.num_envs:
            self._evaluate()
        self.save()
        self._log.close()
        self._envs.close()

    def _show(self) -> None:
        if time.monotonic() - self._shown > SHOWN_EVERY:
            self._shown = time.monotonic()
            self._on_progress(self.step, self.config.total_timesteps, {})

    def _can_learn(self) -> bool:
        least = self.config.num_envs * self.agent.least_steps
        return self.replay.steps_known >= max(self.config.learning_starts, least)

    def _update(self) -> dict[str, float]:
        figures = self.agent.update(self.agent.sample(self.replay, self._rng))
        bad = [name for name, value in figures.items() if not np.isfinite(value)]
        if bad:  # at once: a later checkpoint would hold what has diverged
            raise self._checkpoint.diverged(", ".join(bad), self.step)
        return figures

    def _every(self, interval: int) -> bool:
        return self.step // interval > (self.step - self.config.num_envs) // interval

    def _evaluate(self) -> None:
        envs = self._make_eval_envs(self.config.eval_episodes)
        player = self.agent.player(envs.num_envs, deterministic=True)
        seed = self.config.seed + EVALUATION_SEEDS
        means, episodes = play_episodes(player, envs, self._actions, seed, self._returned)
        envs.close()
        if self._labels is not None:
            for frames in episodes:
                means.add({"return": float(np.sum(self._labels.relabel(frames)))})
        figures = means.take("eval")
        self._write(figures)
        self._film(episodes[0][:FILMED], self.config.out / f"eval_{self.step:08d}")
        if self._can_learn():
            imagined = self.agent.imagined(self.replay, np.random.default_rng(self.step))
            if imagined is not None:
                self._film(imagined, self.config.out / f"imagined_{self.step:08d}")
        learned = figures["eval/return"]
        risen = np.isfinite(self._best) and learned > self._best
        if risen and figures["eval/still"] > MOSTLY_STILL:
            warnings.warn(
                f"at step {self.step} the return has risen to {learned:.4g}, and the picture "
                f"stands still in {figures['eval/still']:.0%} of the later steps. If the task is "
                "not to hold still, the agent has found a picture that is likely and nothing "
                f"else: look at eval_{self.step:08d} in {self.config.out}, and audit the reward",
                stacklevel=2,
            )
        self._best = max(self._best, learned)

    def _write(self, values: dict[str, float]) -> None:
        self._log.write(self.step, self._seconds, values)
        self._on_progress(self.step, self.config.total_timesteps, values)

    def save(self) -> None:
        """A checkpoint: agent, replay, counters; the last good one stays until this is whole.

        Raises:
            TrainingError: nothing can be written, or the agent has diverged.
        """
        state = {
            "step": self.step,
            "seconds": self._seconds,
            "rng": json.dumps(self._rng.bit_generator.state),
            "best": float(self._best),
            "agent": self.agent.state_dict(),
            "bonus": self._bonus.state_dict(),
        }
        self._checkpoint.save(state, self.replay)

    def _settings(self) -> str:
        """What a resumed run must share."""
        fixed = asdict(self.config)
        for name in ("out", "total_timesteps", "resume", "eval_every", "eval_episodes"):
            fixed.pop(name)
        for name in ("log_every", "checkpoint_minutes", "wandb_project"):
            fixed.pop(name)
        return json.dumps({**fixed, **self._made_of}, default=str)

    def _load(self, state: dict[str, Any]) -> None:
        self._bonus.load_state_dict(state.get("bonus"))
        self.step, self._seconds = state["step"], state["seconds"]
        self._best = state.get("best", -np.inf)
        self._rng.bit_generator.state = json.loads(state["rng"])
        self.agent.load_state_dict(state["agent"])

"""The loop: play in a vector environment, remember, learn, evaluate, go on after a kill."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv

from viper_gym.agents.actions import ActionCodec
from viper_gym.agents.replay import FrameReplay, ReplayConfig
from viper_gym.errors import TrainingError

MakeEnvs = Callable[[int], VectorEnv]


class Player(Protocol):
    """Plays in some environments; it may remember what it saw in each."""

    def __call__(self, frames: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Newest frames uint8 (n, H, W, 3), and which begin an episode -> actions (n, A)."""
        ...


class Agent(Protocol):
    """What the loop trains. Actions are as `ActionCodec` has them."""

    updates_per_step: float
    """by default"""

    def player(self, num_envs: int, deterministic: bool = False) -> Player: ...

    def sample(self, replay: FrameReplay, rng: np.random.Generator) -> Any: ...

    def update(self, batch: Any) -> dict[str, float]: ...

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
    log_every: int = 1_000
    """steps between lines of metrics.jsonl, and points in TensorBoard"""
    checkpoint_minutes: float = 5.0
    seed: int = 0
    resume: bool = False
    """go on from the last checkpoint in `out`"""


class Trainer:
    """Off-policy training from pixels in any vector environment.

    Args:
        config: see there.
        make_envs: number -> vector environment with autoreset mode NEXT_STEP, uint8 pictures
            (H, W, 3) as observations, and bounded continuous or discrete actions.
        make_agent: (frame shape (H, W, 3), actions) -> agent.
        on_progress: called with (step, total, metrics) after every log line.
        film: called with (frames (T, H, W, 3), file stem) after an evaluation.

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
    ):
        self.config, self._make_envs = config, make_envs
        self._on_progress, self._film = on_progress, film
        try:
            config.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"cannot write to {config.out}: {error}") from error
        self._envs = make_envs(config.num_envs)
        frame_shape = _frame_shape(self._envs)
        self._actions = ActionCodec(self._envs.single_action_space)
        self.agent = make_agent(frame_shape, self._actions)
        given = config.gradient_steps
        self._updates_per_step = self.agent.updates_per_step if given is None else given
        self.step, self._seconds = 0, 0.0
        self._rng = np.random.default_rng(config.seed)
        self._state = config.out / "state.pt"
        resuming = config.resume and self._state.exists()
        if not resuming:  # what an earlier run left is another run's
            (config.out / "replay" / "replay.json").unlink(missing_ok=True)
            (config.out / "metrics.jsonl").unlink(missing_ok=True)
        self.replay = FrameReplay(
            config.replay, config.num_envs, frame_shape, self._actions.size, config.out / "replay"
        )
        if resuming:
            self._load()

    def run(self) -> Path:
        """Train to the end; returns the folder."""
        from torch.utils.tensorboard import SummaryWriter

        c, n = self.config, self.config.num_envs
        self._writer = SummaryWriter(str(c.out / "tensorboard"), purge_step=self.step)
        started = saved = time.monotonic()
        before = self._seconds
        frames, _ = self._envs.reset(seed=c.seed + self.step)
        player = self.agent.player(n)
        first, over = np.ones(n, bool), np.zeros(n, bool)
        returns, due = np.zeros(n), 0.0
        sums: dict[str, list[float]] = {}
        while self.step < c.total_timesteps:
            began = time.perf_counter()
            if self.step < c.learning_starts:
                actions = self._actions.random(n, self._rng)
            else:
                actions = player(frames, first)
            acted = time.perf_counter()
            following, rewards, terminated, truncated, infos = self._envs.step(
                self._actions.to_env(actions)
            )
            played = time.perf_counter()
            self.replay.add(frames, first, actions, rewards, terminated)
            # environments whose episode had ended were only reset by this step
            returns = np.where(over, 0.0, returns + rewards)
            first, frames, over = over, following, (terminated | truncated) & ~over
            for i in np.flatnonzero(over):
                _collect(sums, _ended(infos, int(i)) | {"return": returns[i]})
            self.step += n
            due += n * self._updates_per_step
            if self.step >= c.learning_starts:
                for _ in range(int(due)):
                    batch = self.agent.sample(self.replay, self._rng)
                    _collect(sums, self.agent.update(batch))
            due -= int(due)
            learned = time.perf_counter()
            _collect(sums, {"seconds/act": acted - began, "seconds/env": played - acted})
            _collect(sums, {"seconds/learn": learned - played})
            self._seconds = before + time.monotonic() - started
            if self._every(c.log_every):
                self._log("train", sums)
                sums = {}
            if self._every(c.eval_every):
                self._evaluate()
            if time.monotonic() - saved > 60 * c.checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        if self.step % c.eval_every >= n:
            self._evaluate()
        self.save()
        self._writer.close()
        self._envs.close()
        return c.out

    def _every(self, interval: int) -> bool:
        return self.step // interval > (self.step - self.config.num_envs) // interval

    def _evaluate(self) -> None:
        """Whole episodes by the policy's mean, one in each environment; the first is filmed."""
        n = self.config.eval_episodes
        envs = self._make_envs(n)
        frames, _ = envs.reset(seed=self.config.seed + 10_000)
        player, film = self.agent.player(n, deterministic=True), [frames[0].copy()]
        returns, ended, sums = np.zeros(n), np.zeros(n, bool), dict[str, list[float]]()
        first, over = np.ones(n, bool), np.zeros(n, bool)
        while not ended.all():
            actions = player(frames, first)
            frames, rewards, terminated, truncated, infos = envs.step(self._actions.to_env(actions))
            first, over = over, (terminated | truncated) & ~over
            returns += np.where(ended, 0.0, rewards)
            if not ended[0]:
                film.append(frames[0].copy())
            for i in np.flatnonzero((terminated | truncated) & ~ended):
                _collect(sums, _ended(infos, int(i)) | {"return": returns[i]})
            ended |= terminated | truncated
        envs.close()
        self._log("eval", sums)
        self._film(np.stack(film), self.config.out / f"eval_{self.step:08d}")

    def _log(self, phase: str, sums: dict[str, list[float]]) -> None:
        means = {f"{phase}/{k}": float(np.mean(v)) for k, v in sums.items()}
        bad = [k for k, v in means.items() if not np.isfinite(v)]
        if bad:
            raise TrainingError(f"{', '.join(bad)} is not finite at step {self.step}")
        for name, value in means.items():
            self._writer.add_scalar(name, value, self.step)
        line = {"step": self.step, "seconds": round(self._seconds, 1), **means}
        with (self.config.out / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._on_progress(self.step, self.config.total_timesteps, means)

    def save(self) -> None:
        """A checkpoint: agent, replay, counters; the last good one stays until this is whole."""
        state = {
            "step": self.step,
            "seconds": self._seconds,
            "rng": json.dumps(self._rng.bit_generator.state),
            "settings": self._settings(),
            "agent": self.agent.state_dict(),
        }
        temporary = self._state.with_suffix(".tmp")
        try:
            torch.save(state, temporary)
            self.replay.save()
            os.replace(temporary, self._state)
        except (OSError, RuntimeError) as error:
            raise TrainingError(
                f"cannot write a checkpoint to {self.config.out}: {error}. The last one is intact: "
                "make room and run again with resume"
            ) from error

    def _settings(self) -> str:
        """What a resumed run must share."""
        fixed = asdict(self.config)
        for name in ("out", "total_timesteps", "resume", "eval_every", "eval_episodes"):
            fixed.pop(name)
        for name in ("log_every", "checkpoint_minutes"):
            fixed.pop(name)
        return json.dumps(fixed, default=str)

    def _load(self) -> None:
        state = torch.load(self._state, map_location="cpu", weights_only=True)
        saved, now = json.loads(state["settings"]), json.loads(self._settings())
        different = sorted(k for k in saved if saved[k] != now.get(k))
        if different:
            raise TrainingError(
                f"{self._state} was made with other settings: "
                + ", ".join(f"{k}={saved[k]} (now {now.get(k)})" for k in different)
            )
        self.step, self._seconds = state["step"], state["seconds"]
        self._rng.bit_generator.state = json.loads(state["rng"])
        self.agent.load_state_dict(state["agent"])
        log = self.config.out / "metrics.jsonl"
        if log.exists():  # what was logged after the checkpoint is done again
            lines = log.read_text().splitlines()
            kept = [x for x in lines if json.loads(x)["step"] <= self.step]
            log.write_text("".join(x + "\n" for x in kept))


def _frame_shape(envs: VectorEnv) -> tuple[int, int, int]:
    mode = envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    if mode != AutoresetMode.NEXT_STEP:
        raise TrainingError(f"expected environments with autoreset mode NEXT_STEP, got {mode}")
    seen = envs.single_observation_space
    if not (isinstance(seen, gym.spaces.Box) and seen.dtype == np.uint8 and len(seen.shape) == 3):
        raise TrainingError(f"expected uint8 pictures (H, W, 3) as observations, got {seen}")
    height, width, channels = seen.shape
    if channels != 3:
        raise TrainingError(f"expected colour pictures (H, W, 3), got shape {seen.shape}")
    return height, width, channels


def _ended(infos: dict[str, Any], i: int) -> dict[str, float]:
    """The returns that an environment reports at the end of its episode."""
    return {
        name: float(values[i])
        for name, values in infos.items()
        if name.endswith("return") and not name.startswith("_") and infos[f"_{name}"][i]
    }


def _collect(sums: dict[str, list[float]], values: dict[str, float]) -> None:
    for name, value in values.items():
        sums.setdefault(name, []).append(float(value))

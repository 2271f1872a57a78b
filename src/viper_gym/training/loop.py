"""The training loop both models share: devices, progress, logs, checkpoints, exact resume."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from PIL import Image
from torch import nn

from viper_gym.errors import (
    UNWRITABLE,
    TrainingError,
    require_between,
    require_not_negative,
    require_positive,
)
from viper_gym.files import replace_text, set_aside
from viper_gym.models.bf16 import bf16_is_fast
from viper_gym.progress import progress_bar

STATE = "state.pt"  # the checkpoint, in a run's folder


@dataclass(frozen=True)
class LoopConfig:
    """How long, how often, where."""

    out: Path = Path("runs/model")
    """folder for checkpoints, logs and pictures"""
    steps: int = 20_000
    """optimiser steps, at most"""
    max_minutes: float | None = None
    """stop after this much training time; the learning rate is annealed to fit"""
    seed: int = 0
    device: str = "auto"
    """auto, cpu, cuda or mps; which of several GPUs, CUDA_VISIBLE_DEVICES says"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto is bf16 where it is fast; a resumed run keeps what it began with"""
    resume: bool = False
    """go on from the last checkpoint in `out`"""
    log_every: int = 25
    """steps"""
    eval_every: int = 250
    """steps between held-out losses and sample pictures"""
    checkpoint_minutes: float = 2.0
    """minutes between checkpoints"""

    def __post_init__(self) -> None:
        require_positive(
            steps=self.steps,
            max_minutes=self.max_minutes,
            log_every=self.log_every,
            eval_every=self.eval_every,
        )
        require_not_negative(checkpoint_minutes=self.checkpoint_minutes)
        require_between(0, 2**32 - 1, seed=self.seed)  # NumPy's


class Trainable(Protocol):
    """What the loop trains."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def train_step(self, step: int, progress: float) -> dict[str, float]:
        """One optimiser step; `progress` in [0, 1] drives the schedule."""
        ...

    def evaluate(self) -> dict[str, float]: ...

    def picture(self) -> np.ndarray | None: ...


def make_accelerator(config: LoopConfig) -> Accelerator:
    """Precision and device as asked; bf16 by default where its products are faster.

    Raises:
        TrainingError: the device is not there.
    """
    begun = _begun_precision(config.out / STATE) if config.resume else None
    bf16 = (begun if config.precision == "auto" and begun else config.precision) == "bf16"
    if config.precision == "auto" and begun is None:
        gpu = config.device != "cpu" and torch.cuda.is_available()
        bf16 = bf16_is_fast("cuda" if gpu else "cpu")
    precision = "bf16" if bf16 else "no"
    # Accelerate keeps one state a process; two trainings in one process may differ in precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision=precision, cpu=config.device == "cpu")
    if config.device not in ("auto", accelerator.device.type):
        raise TrainingError(
            f"device: expected one that is there ({accelerator.device.type}, cpu) or auto, got "
            f"{config.device}"
        )
    return accelerator


def precision_of(accelerator: Accelerator) -> str:
    """bf16 or fp32, as `make_accelerator` chose."""
    return "bf16" if accelerator.mixed_precision == "bf16" else "fp32"


def _begun_precision(path: Path) -> str | None:
    """What a run computed in before it was killed: two timings on a busy machine may differ."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return str(json.loads(state["settings"])["precision"])
    except Exception:  # none there, or of an older version; who loads it says what is wrong
        return None


def learning_rate(base: float, step: int, progress: float, warmup: int = 50) -> float:
    """Linear warm-up over `warmup` steps, then a cosine to 2 % of the base."""
    cosine = 0.5 * (1.0 + float(np.cos(np.pi * min(progress, 1.0))))
    return base * min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * cosine)


class Loop:
    """Runs a `Trainable` to its end; a killed run goes on from its last checkpoint."""

    def __init__(
        self, config: LoopConfig, description: str, settings: Any, precision: str = "fp32"
    ):
        self.config, self.description = config, description
        # batches are a function of seed and step
        shared = {**asdict(settings), "seed": config.seed, "precision": precision}
        # `data.clips`: what is held out, and where tampered windows are from
        shared["windows"] = "held out spread, beginnings too; tampered evenly"
        self._settings = json.loads(json.dumps(shared, default=str))
        self._state_path = config.out / STATE
        self.step, self._elapsed, self._evaluated = 0, 0.0, -1
        try:
            config.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"cannot write to {config.out}: {error}") from error
        set_seed(config.seed)

    def run(
        self,
        trainable: Trainable,
        on_end: Callable[[], None] = lambda: None,
        videos: dict[str, str] | None = None,
        results: tuple[str, ...] = (),
    ) -> None:
        """Train, then call `on_end` (to write the final files).

        Args:
            videos: by task, what tells its videos from others (`codes.fingerprint`): the lowest
                held-out loss so far was of these.
            results: names of what `on_end` writes into `out`: a new run moves an earlier one's
                aside, with its checkpoint.

        Raises:
            TrainingError: resume asked for but the checkpoint belongs to other settings or videos.
        """
        from torch.utils.tensorboard import SummaryWriter

        c = self.config
        self._settings["videos"] = videos or {}
        if c.resume and self._state_path.exists():
            self._load(trainable)
        else:  # another run's, which a kill before the first checkpoint must not go on with
            set_aside(self._state_path, "metrics.jsonl", "tensorboard", "samples", *results)
        self._cut_log()
        try:
            with closing(SummaryWriter(str(c.out / "tensorboard"), purge_step=self.step)) as writer:
                self._train(trainable, writer)
            on_end()
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise TrainingError(
                f"cannot write to {c.out}: {error}. Make room and run again with resume"
            ) from error

    def _train(self, trainable: Trainable, writer: Any) -> None:
        c = self.config
        start, saved, begun = time.monotonic(), time.monotonic(), self._elapsed
        with progress_bar() as bar:
            total = 1000
            done = int(total * self._progress())
            job = bar.add_task(self.description, total=total, completed=done, note="")
            while (progress := self._progress()) < 1.0:
                metrics = trainable.train_step(self.step, progress)
                self.step += 1
                self._elapsed = begun + time.monotonic() - start
                _check_finite(metrics, self.step)
                if self.step % c.log_every == 0 or self.step <= 2:
                    _log(writer, metrics, self.step)
                    self._append({**metrics, "step": self.step, "seconds": self._elapsed})
                    note = " ".join(f"{k} {v:.4g}" for k, v in list(metrics.items())[:3])
                    bar.update(job, completed=total * progress, note=f"step {self.step} {note}")
                if self.step % c.eval_every == 0:
                    self._evaluate(trainable, writer)
                if time.monotonic() - saved > 60 * c.checkpoint_minutes:
                    self._save(trainable)
                    saved = time.monotonic()
            bar.update(job, completed=total)
        if self._evaluated != self.step:  # by this process: what was last found is not saved
            self._evaluate(trainable, writer)
        self._save(trainable)

    def _progress(self) -> float:
        c = self.config
        by_time = self._elapsed / (60 * c.max_minutes) if c.max_minutes else 0.0
        return max(self.step / c.steps, by_time)

    def _evaluate(self, trainable: Trainable, writer: Any) -> None:
        metrics = trainable.evaluate()
        self._evaluated = self.step
        _log(writer, metrics, self.step)
        self._append({**metrics, "step": self.step, "seconds": self._elapsed})
        picture = trainable.picture()
        if picture is not None:
            writer.add_image("samples", picture, self.step, dataformats="HWC")
            folder = self.config.out / "samples"
            folder.mkdir(exist_ok=True)
            Image.fromarray(picture).save(folder / f"step_{self.step:07d}.png")

    def _cut_log(self) -> None:
        """Lines behind the step where the run goes on are of work that will be done again."""
        path = self.config.out / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        whole = [x for x in lines if x.endswith("}")]  # a kill may have torn one
        kept = [x for x in whole if json.loads(x)["step"] <= self.step] if self.step else []
        replace_text(path, "".join(x + "\n" for x in kept))

    def _append(self, line: dict[str, float]) -> None:
        with (self.config.out / "metrics.jsonl").open("a") as file:
            file.write(
                json.dumps(
                    {k: v if isinstance(v, int) else float(f"{v:.7g}") for k, v in line.items()}
                )
                + "\n"
            )

    def _save(self, trainable: Trainable) -> None:
        for name, module in trainable.modules.items():  # a loss may be finite, its gradient not
            if not all(torch.isfinite(p).all() for p in module.parameters()):
                raise TrainingError(
                    f"weights of {name} are not finite at step {self.step}; lower learning_rate. "
                    "The checkpoint before is kept"
                )
        state = {
            "step": self.step,
            "elapsed": self._elapsed,
            "settings": json.dumps(self._settings),
            "random": torch.get_rng_state(),
            # dropout and codebook restarts on a GPU draw from its own
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "modules": {k: full_state(m) for k, m in trainable.modules.items()},
            "optimizers": {k: o.state_dict() for k, o in trainable.optimizers.items()},
        }
        temporary = self._state_path.with_suffix(".tmp")
        try:
            torch.save(state, temporary)
            os.replace(temporary, self._state_path)
        except (OSError, RuntimeError) as error:  # a full disk is either
            kept = "The last checkpoint is intact: make room and run again with resume"
            if not self._state_path.exists():
                kept = "No checkpoint was written yet: make room and run again"
            raise TrainingError(f"cannot write to {self.config.out}: {error}. {kept}") from error

    def _load(self, trainable: Trainable) -> None:
        try:
            state = torch.load(self._state_path, map_location="cpu", weights_only=True)
            saved = json.loads(state["settings"])
        except (RuntimeError, UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                f"{self._state_path} is damaged or foreign: {error!r}. Train anew without resume, "
                "or in another folder"
            ) from error
        # what an earlier version did not write is different, too: it held out other videos and drew
        # other windows
        names = saved.keys() | {"windows", "precision"}
        different = sorted(k for k in names if saved.get(k) != self._settings.get(k))
        if different:
            raise TrainingError(
                f"{self._state_path} was made with other settings: "
                + ", ".join(f"{k}={saved.get(k)} (now {self._settings.get(k)})" for k in different)
            )
        self.step, self._elapsed = state["step"], state["elapsed"]
        torch.set_rng_state(state["random"])
        if len(state.get("random_cuda", [])) == torch.cuda.device_count() > 0:
            torch.cuda.set_rng_state_all(state["random_cuda"])
        for name, module in trainable.modules.items():
            if name in state["modules"]:  # what a newer version keeps starts anew
                load_full_state(module, state["modules"][name])
        for name, optimizer in trainable.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])


def full_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and every buffer, also those a bundle leaves out (EMA counts, …)."""
    return {**module.state_dict(), **dict(module.named_buffers())}


def load_full_state(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Undo `full_state`."""
    targets = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(state[name])


def _check_finite(metrics: dict[str, float], step: int) -> None:
    bad = [name for name, value in metrics.items() if not np.isfinite(value)]
    if bad:
        raise TrainingError(f"{', '.join(bad)} is not finite at step {step}; lower learning_rate")


def _log(writer: Any, metrics: dict[str, float], step: int) -> None:
    for name, value in metrics.items():
        writer.add_scalar(name, value, step)


__all__ = [
    "Loop",
    "LoopConfig",
    "Trainable",
    "full_state",
    "learning_rate",
    "load_full_state",
    "make_accelerator",
    "precision_of",
]

"""A run that is killed, begun anew or out of room loses nothing and goes on with nobody else's."""

import io
import json
import re
import time
from dataclasses import dataclass, replace

import pytest
import torch
from rich.console import Console

from viper_gym.errors import TrainingError
from viper_gym.models.videogpt_config import VideoGPTConfig
from viper_gym.progress import progress_bar
from viper_gym.training.loop import Loop, LoopConfig, make_accelerator, precision_of
from viper_gym.training.tokenizer import TokenizerTraining
from viper_gym.training.video_model import VideoModelTraining


@dataclass(frozen=True)
class Settings:
    size: int = 1


class Counts:
    """Not a learner; may be killed in a step."""

    def __init__(self, killed_at: int | None = None):
        self.modules, self.optimizers, self.killed_at = {}, {}, killed_at

    def train_step(self, step, progress):
        if step == self.killed_at:
            raise KeyboardInterrupt
        return {"loss": 1.0}

    def evaluate(self):
        return {"held_out": 2.0}

    def picture(self):
        return None


def config(out, **changes) -> LoopConfig:
    return LoopConfig(out=out, **{"steps": 6, "log_every": 2, "device": "cpu", **changes})


def steps(out) -> list[int]:
    return [json.loads(x)["step"] for x in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_new_run_in_an_old_folder_is_not_resumed_as_the_old_one(tmp_path):
    Loop(config(tmp_path), "old", Settings()).run(Counts())
    assert steps(tmp_path) == [1, 2, 4, 6, 6]
    with pytest.raises(KeyboardInterrupt):
        Loop(config(tmp_path), "new", Settings()).run(Counts(killed_at=3))
    Loop(config(tmp_path, resume=True), "new", Settings()).run(Counts())
    assert steps(tmp_path) == [1, 2, 4, 6, 6]  # from the start, each line once


def test_lines_behind_the_checkpoint_are_written_once(tmp_path):
    often = config(tmp_path, checkpoint_minutes=0.0, steps=20)
    with pytest.raises(KeyboardInterrupt):
        Loop(often, "run", Settings()).run(Counts(killed_at=5))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "loss": 1.0}\n{"step": 14, "lo')
    Loop(replace(often, steps=8, resume=True), "run", Settings()).run(Counts())
    assert steps(tmp_path) == [1, 2, 4, 6, 8, 8]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("write")])
def test_a_full_disk_is_a_named_error(tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TrainingError, match=r"cannot write to .* No checkpoint was written yet"):
        Loop(config(tmp_path), "run", Settings()).run(Counts())


def test_a_device_that_is_not_there_is_refused(tmp_path):
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(TrainingError, match=rf"expected one that is there .* got {missing}"):
        make_accelerator(config(tmp_path, device=missing))
    assert make_accelerator(config(tmp_path, precision="fp32")).mixed_precision == "no"


def test_a_resume_with_another_seed_is_refused(tmp_path):
    Loop(config(tmp_path), "run", Settings()).run(Counts())
    with pytest.raises(TrainingError, match=r"seed=0 \(now 7\)"):
        Loop(config(tmp_path, resume=True, seed=7), "run", Settings()).run(Counts())


def test_a_forgotten_resume_keeps_the_old_checkpoint(tmp_path):
    Loop(config(tmp_path), "run", Settings()).run(Counts())
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        Loop(config(tmp_path), "run", Settings()).run(Counts(killed_at=1))
    assert (tmp_path / "previous" / "state.pt").read_bytes() == before
    assert not (tmp_path / "state.pt").exists()
    assert len((tmp_path / "previous" / "metrics.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize("content", [b"nothing of the kind", b""])
def test_a_foreign_checkpoint_is_named(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(TrainingError, match=r"state\.pt is damaged or foreign"):
        Loop(config(tmp_path, resume=True), "run", Settings()).run(Counts())
    torch.save({"other": 1}, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match=r"state\.pt is damaged or foreign"):
        Loop(config(tmp_path, resume=True), "run", Settings()).run(Counts())


def test_a_terminal_of_eighty_columns_shows_the_time_that_is_left():
    console = Console(width=80, file=io.StringIO())
    with progress_bar(console) as bar:
        job = bar.add_task("video model", total=100, note="")
        bar.update(job, completed=10, note="step 25 train/nats_per_token 0.06504 " * 3)
        bar.get_time = lambda: time.monotonic() + 5
        bar.update(job, completed=20)
    shown = console.file.getvalue()
    assert re.search(r"video model .* left \d:\d\d:\d\d step 25 train/nats", shown), shown


class Diverges(Counts):
    """Has a finite loss; its weights are not finite from a step on."""

    def __init__(self, at: int, loss: float = 1.0):
        super().__init__()
        self.modules, self._at, self._loss = {"net": torch.nn.Linear(2, 1)}, at, loss

    def train_step(self, step, progress):
        if step == self._at:
            torch.nn.init.constant_(self.modules["net"].weight, float("nan"))
        return {"loss": 1.0 if step < self._at else self._loss}


@pytest.mark.parametrize("loss", [1.0, float("nan")])
def test_a_run_that_diverges_keeps_its_last_good_checkpoint(tmp_path, loss):
    often = config(tmp_path, checkpoint_minutes=0.0, log_every=1000)
    with pytest.raises(TrainingError, match=r"not finite at step 5; lower learning_rate"):
        Loop(often, "run", Settings()).run(Diverges(4, loss))
    again = Loop(replace(often, resume=True), "run", Settings())
    again.run(Diverges(10))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert torch.isfinite(state["modules"]["net"]["weight"]).all()


def test_a_disk_that_is_full_at_the_end_is_a_named_error(tmp_path):
    def full():
        raise OSError(28, "No space left on device")  # as `write` has it, without a name

    with pytest.raises(TrainingError, match=r"cannot write to .* run again with resume"):
        Loop(config(tmp_path), "run", Settings()).run(Counts(), full)


def test_the_last_step_is_evaluated_once(tmp_path):
    evaluated = config(tmp_path / "other", eval_every=3)
    Loop(evaluated, "run", Settings()).run(Counts())
    lines = (tmp_path / "other" / "metrics.jsonl").read_text().splitlines()
    assert [x["step"] for x in map(json.loads, lines) if "held_out" in x] == [3, 6]


def test_a_run_that_was_killed_in_its_last_evaluation_is_evaluated(tmp_path):
    killed = Counts()
    killed.evaluate = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        Loop(config(tmp_path, checkpoint_minutes=0.0), "run", Settings()).run(killed)
    Loop(config(tmp_path, resume=True), "run", Settings()).run(Counts())
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if "held_out" in x] == [6]


def test_a_run_of_an_earlier_version_is_not_gone_on_with(tmp_path):
    """It held out other videos, and its lowest held-out loss is of those."""
    Loop(config(tmp_path), "run", Settings()).run(Counts())
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    old = {k: v for k, v in json.loads(state["settings"]).items() if k != "windows"}
    torch.save({**state, "settings": json.dumps(old)}, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match=r"windows=None \(now held out spread"):
        Loop(config(tmp_path, resume=True), "run", Settings()).run(Counts())


def test_a_resumed_run_keeps_its_precision(tmp_path):
    Loop(config(tmp_path), "run", Settings(), "bf16").run(Counts())
    with pytest.raises(TrainingError, match=r"precision=bf16 \(now fp32\)"):
        Loop(config(tmp_path, resume=True), "run", Settings(), "fp32").run(Counts())
    for precision in ("bf16", "fp32"):  # one of them is not what this machine would take
        out = tmp_path / precision
        Loop(config(out), "run", Settings(), precision).run(Counts())
        assert precision_of(make_accelerator(config(out, resume=True))) == precision


def test_small_metrics_are_logged(tmp_path):
    small = Counts()
    small.train_step = lambda step, progress: {"gradient_penalty": 3.25e-8}
    Loop(config(tmp_path), "run", Settings()).run(small)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["gradient_penalty"] == 3.25e-8 and first["step"] == 1


def test_settings_out_of_range_are_named(tmp_path):
    with pytest.raises(TrainingError, match=r"seed: expected 0 to .*, got -1"):
        config(tmp_path, seed=-1)
    with pytest.raises(TrainingError, match=r"frozen_context: expected 0 to 1, got 1\.5"):
        VideoModelTraining(frozen_context=1.5)
    with pytest.raises(TrainingError, match="checkpoint_minutes: expected 0 or more, got -1"):
        LoopConfig(checkpoint_minutes=-1)
    for shape, message in (
        ({"dropout": 1.5}, "dropout: expected 0 to 1"),
        ({"local_frames": -1}, "local_frames: expected 0 or more"),
        ({"embed_dim": 0}, "embed_dim: expected more than 0"),
    ):
        with pytest.raises(TrainingError, match=message):
            VideoModelTraining(model=VideoGPTConfig(**shape))
    with pytest.raises(TrainingError, match="weight_decay: expected 0 or more, got -3"):
        VideoModelTraining(weight_decay=-3)
    with pytest.raises(TrainingError, match="foreground_weight: expected 0 or more, got -3"):
        TokenizerTraining(foreground_weight=-3)
    with pytest.raises(TrainingError, match="last_frames: expected 0 to inf, got -5"):
        VideoModelTraining(last_frames=-5)

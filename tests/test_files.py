"""What an earlier run left is moved, whole."""

import errno
import os
from pathlib import Path

import pytest

from viper_gym.errors import TrainingError
from viper_gym.files import replace_text, set_aside


def run(folder, text: str) -> None:
    (folder / "samples").mkdir()
    (folder / "samples" / "0.png").write_text(text)
    for name in ("metrics.jsonl", "state.pt"):
        (folder / name).write_text(text)


def test_one_earlier_run_is_kept(tmp_path):
    for text in ("first", "second"):
        run(tmp_path, text)
        set_aside(tmp_path / "state.pt", "metrics.jsonl", "samples", "eval_*")
        assert [p.name for p in tmp_path.iterdir()] == ["previous"]
        kept = {p.read_text() for p in (tmp_path / "previous").rglob("*") if p.is_file()}
        assert kept == {text}
        set_aside(tmp_path / "state.pt", "metrics.jsonl")  # nothing to move
    assert sorted(p.name for p in (tmp_path / "previous").iterdir()) == [
        "metrics.jsonl", "samples", "state.pt",
    ]  # fmt: skip


def test_an_interrupted_move_is_gone_on_with(tmp_path, monkeypatch):
    run(tmp_path, "first")
    whole, calls = os.replace, []

    def interrupted(a, b):
        calls.append(a)
        if len(calls) == 2:
            raise KeyboardInterrupt
        whole(a, b)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        set_aside(tmp_path / "state.pt", "metrics.jsonl", "samples")
    monkeypatch.undo()
    set_aside(tmp_path / "state.pt", "metrics.jsonl", "samples")
    assert (tmp_path / "previous" / "metrics.jsonl").read_text() == "first"
    assert (tmp_path / "previous" / "samples" / "0.png").exists()


@pytest.mark.parametrize("mine", ["folder", "file"])
def test_a_folder_of_that_name_that_is_no_run_stays(tmp_path, mine):
    run(tmp_path, "first")
    previous = tmp_path / "previous"
    previous.mkdir() if mine == "folder" else previous.write_text("mine")
    with pytest.raises(TrainingError, match="no earlier run"):
        set_aside(tmp_path / "state.pt", "metrics.jsonl")
    assert (tmp_path / "state.pt").exists() and previous.exists()


def test_what_a_file_held_stays_where_it_cannot_be_written_anew(tmp_path, monkeypatch):
    def full(self, text, *_):
        with self.open("w") as file:
            file.write(text[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "metrics.jsonl"
    replace_text(path, "one\ntwo\n")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        replace_text(path, "one\n")
    assert path.read_text() == "one\ntwo\n"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]

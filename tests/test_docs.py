"""Every command that the documentation shows is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest
import tyro

from conftest import small_bundle
from viper_gym import cli
from viper_gym.checkpoints.bundle import save_bundle
from viper_gym.checkpoints.resolve import bundled_folder
from viper_gym.cli.train import next_step, train

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])


def shown(page: Path) -> list[str]:
    """Lines of shell blocks, and commands with options between backquotes.

    Left out are patterns of commands: with an …, with a PLACEHOLDER or an a|b.
    """
    text = page.read_text()
    blocks = [b.replace("\\\n", " ") for b in re.findall(r"```sh\n(.*?)```", text, re.S)]
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    quoted = [" ".join(q.split()) for q in re.findall(r"`(viper-gym [^`]*)`", prose)]
    lines = [line for block in blocks for line in block.splitlines()] + quoted
    commands = [x for x in lines if x.startswith("viper-gym ") and " --" in x]
    return [x for x in commands if not re.search(r"…|\||\b[A-Z]{2,}\b", x.split(" #")[0])]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_are_understood(page, monkeypatch):
    trained = []

    def written(config) -> Path:
        trained.append(config)
        return bundled_folder("dmc")

    for name in ("tokenizer.train_tokenizer", "video_model.train_video_model"):
        monkeypatch.setattr(f"viper_gym.training.{name}", written)
    monkeypatch.setattr("viper_gym.cli.train_agent.train_agent", written)
    for line in shown(page):
        arguments = shlex.split(line, comments=True)[1:]
        try:
            if arguments[:1] == ["train"]:
                train(arguments[1:])
            else:
                tyro.extras.subcommand_cli_from_dict(cli._COMMANDS, args=arguments)
        except SystemExit as stopped:
            assert stopped.code == 0, line  # --help
    if page.name == "README.md" and page.parent == ROOT:
        assert len(trained) == 6


def test_the_next_step_is_a_command_for_the_tasks_that_were_trained(tmp_path):
    save_bundle(small_bundle(), tmp_path)
    assert "--episodes FOLDER --calibrate" in next_step(tmp_path)
    assert "--suite dmc --calibrate" in next_step(bundled_folder("dmc"))
    assert "--suite metaworld --calibrate" in next_step(bundled_folder("metaworld"))

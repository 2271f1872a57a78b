"""Every command that the documentation shows is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest
import tyro

from viper_gym import cli
from viper_gym.cli.train import train

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
    for name in ("tokenizer.train_tokenizer", "video_model.train_video_model"):
        monkeypatch.setattr(f"viper_gym.training.{name}", trained.append)
    monkeypatch.setattr("viper_gym.cli.train_agent.train_agent", trained.append)
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

"""Every command that the documentation shows is one that the command line takes."""

import ast
import importlib
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import tyro

from conftest import small_bundle
from viper_gym import cli
from viper_gym.checkpoints.bundle import read_config, save_bundle, write_config
from viper_gym.checkpoints.index import read_index
from viper_gym.checkpoints.resolve import bundled_folder
from viper_gym.cli.rebuild import Rebuild, commands, link_together, read_recipes
from viper_gym.cli.train import next_step, train
from viper_gym.data.videos import load_folder
from viper_gym.envs.collect import collect
from viper_gym.envs.suite import find_suite
from viper_gym.errors import CheckpointError

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


def understood(arguments: list[str]) -> None:
    try:
        if arguments[:1] == ["train"]:
            train(arguments[1:])
        else:
            tyro.extras.subcommand_cli_from_dict(cli._COMMANDS, args=arguments)
    except SystemExit as stopped:
        assert stopped.code == 0, arguments  # --help


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_that_shown_python_imports_are_there(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)


@pytest.fixture
def trained(monkeypatch) -> list:
    """What would have been trained."""
    found = []

    def written(config) -> Path:
        found.append(config)
        return bundled_folder("dmc")

    for name in ("tokenizer.train_tokenizer", "video_model.train_video_model"):
        monkeypatch.setattr(f"viper_gym.training.{name}", written)
    monkeypatch.setattr("viper_gym.cli.train_agent.train_agent", written)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_are_understood(page, trained):
    for line in shown(page):
        understood(shlex.split(line, comments=True)[1:])
    if page.name == "README.md" and page.parent == ROOT:
        assert len(trained) == 4


def test_every_bundle_has_a_recipe_that_makes_what_it_is(trained, tmp_path):
    recipes, index = read_recipes(), read_index()
    assert recipes.keys() == index.keys()
    for alias, recipe in recipes.items():
        config = read_config(bundled_folder(alias))
        assert tuple(sorted(recipe["episodes"])) == config.tasks
        assert not recipe["episodes"].keys() - find_suite(index[alias].suite).tasks.keys(), alias
        assert bool(recipe.get("play")) == bool(config.contrast)
        for command in commands(alias, recipe, tmp_path):
            understood(command)
        tokenizer, *models = trained
        assert tokenizer.resolved().model.codebook_size == config.tokenizer.codebook_size
        for model in models:
            assert model.frame_stride == config.frame_stride
            for name in ("sequence_length", "embed_dim", "num_layers", "dropout", "copy"):
                assert getattr(model.model, name) == getattr(config.video_model, name), alias
        scored = {t: o for o, tasks in recipe["calibrate"].items() for t in tasks}
        assert sorted(scored) == sorted(index[alias].tasks)
        for task, options in scored.items():
            policy = config.policy_of(task)
            assert f"--context {policy.kind}" in options
            assert f"--window {policy.window}" in options
            assert ("--mode joint" in options) == (policy.mode == "joint")
        trained.clear()


def test_a_recipe_is_shown_and_its_videos_put_together(tmp_path, capsys):
    Rebuild(("dmc-6",), out=tmp_path, share=0.1, show=True).run()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 4 + 1 + 1 + 1 + 1
    assert "--episodes 11 " in lines[0] and "--steps 245" in lines[8]
    assert lines[7].startswith("cp -al")
    for kind in ("train", "play"):
        collect("pong", "random", 1, tmp_path / kind, first_seed=7, workers=0, suite="atari")
    link_together(tmp_path)
    moved = tmp_path.with_name(f"{tmp_path.name}_moved")
    tmp_path.rename(moved)
    tmp_path = moved
    (tmp_path / "both/pong/train_random").unlink()
    (tmp_path / "both/pong/train_random").symlink_to("/nowhere")  # by an earlier version
    link_together(tmp_path)
    link_together(tmp_path)
    both = {p.name for p in (tmp_path / "both" / "pong").iterdir()}
    assert both == {"train_random", "play_random", "mask.png"}
    assert len(load_folder(tmp_path / "both", 64, min_frames=2)["pong"]) == 2
    with pytest.raises(CheckpointError, match=r"expected one or more of dmc, .*got \['nope'\]"):
        Rebuild(("nope",)).run()
    with pytest.raises(CheckpointError, match="or --suite"):
        Rebuild().run()


def test_the_next_step_is_a_command_for_the_tasks_that_were_trained(tmp_path):
    save_bundle(small_bundle(), tmp_path)
    assert "--episodes FOLDER --calibrate" in next_step(tmp_path)
    # of somebody's videos of a suite's task nothing is known: they may look otherwise
    dmc = read_config(bundled_folder("dmc"))
    write_config(replace(dmc, preprocessing={task: {} for task in dmc.tasks}), tmp_path)
    assert "--episodes FOLDER --calibrate" in next_step(tmp_path)
    assert "--suite dmc --calibrate" in next_step(bundled_folder("dmc"))
    assert "--suite metaworld --calibrate" in next_step(bundled_folder("metaworld"))

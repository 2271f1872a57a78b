"""A module imports only from its own layer's package or from rows above."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "viper_gym"
BASE = {"errors", "types", "optional", "files", "pictures", "progress"}
ALLOWED = {
    "errors": set(),
    "types": set(),
    "optional": {"errors"},
    "files": {"errors"},
    "pictures": set(),
    "progress": set(),
    "models": BASE,
    "data": BASE,
    "checkpoints": BASE | {"models"},
    "likelihood": BASE | {"models", "checkpoints"},
    "bonus": BASE,
    "envs": BASE | {"data"},
    "wrappers": BASE | {"models", "checkpoints", "likelihood", "bonus"},
    "training": BASE | {"models", "data", "checkpoints"},
    "agents": BASE | {"bonus"},
    "diagnosis": BASE
    | {"models", "data", "checkpoints", "likelihood", "bonus", "envs", "wrappers"},
    "benchmark": BASE
    | {"models", "data", "checkpoints", "likelihood", "bonus", "envs", "wrappers", "training"},
}
ONE_FILE_ONLY = {
    "huggingface_hub": {"checkpoints/hub.py", "checkpoints/hub_failures.py"},
    "stable_baselines3": {"wrappers/sb3.py"},
    "matplotlib": {"benchmark/figures.py"},
}


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: a relative import hides its layer"
            names = [a.name for a in node.names if a.name != "__version__"]
            whole = node.module == "viper_gym"  # whose public names are of upper layers
            found += [f"viper_gym.{name}" for name in names] if whole else [node.module]
    return found


FILES = sorted(p for p in SRC.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_go_upwards(path):
    relative = path.relative_to(SRC)
    layer = relative.parts[0].removesuffix(".py")
    for name in imports(path):
        if name.startswith("viper_gym.") and layer in ALLOWED:
            target = name.split(".")[1]
            assert target == layer or target in ALLOWED[layer], f"{relative} imports {name}"
        package = name.split(".")[0]
        if package in ONE_FILE_ONLY:
            assert str(relative) in ONE_FILE_ONLY[package], f"{relative} imports {name}"
        if package == "gymnasium":
            assert layer not in ("models", "checkpoints", "likelihood"), f"{relative}"


def test_package_import_is_light():
    """`import viper_gym` registers the ids and loads neither torch nor a simulator."""
    code = (
        "import sys, viper_gym, gymnasium; "
        "names = {'torch', 'dm_control', 'mujoco', 'matplotlib', 'huggingface_hub'}; "
        "heavy = names & set(sys.modules); "
        "assert not heavy, heavy; "
        "assert 'viper/dmc-cartpole_swingup-v0' in gymnasium.registry"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

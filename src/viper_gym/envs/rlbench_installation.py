"""Whether RLBench is there, can start, and is the one that the adapter was written against."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from viper_gym.errors import SimulatorUnavailable

ROOT = "COPPELIASIM_ROOT"
INSTALL = (
    "see https://github.com/stepjam/RLBench#install: CoppeliaSim 4.1.0, then "
    "`pip install git+https://github.com/stepjam/RLBench.git` (not its extra [gym], which wants "
    "an old gymnasium; the package called pyrep on package indexes is another one)"
)


def missing_parts() -> list[str]:
    """What RLBench needs and this process lacks, in words; imports nothing.

    Without a display Qt ends the whole process, so everything is looked up before the import.
    """
    missing = []
    for package, part in (("rlbench", "backend"), ("pyrep", "robots")):
        spec = importlib.util.find_spec(package)
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places:
            missing.append(f"the Python package '{package}'")
        elif not any((Path(place) / part).is_dir() for place in places):
            missing.append(f"the right '{package}' (the one in {places[0]} is another package)")
    root = os.environ.get(ROOT, "")
    if not root:
        missing.append(f"the environment variable {ROOT}")
    elif not (Path(root) / "libcoppeliaSim.so.1").exists():
        missing.append(f"libcoppeliaSim.so.1 in {ROOT}={root}")
    else:
        for name in ("LD_LIBRARY_PATH", "QT_QPA_PLATFORM_PLUGIN_PATH"):
            folders = os.environ.get(name, "").split(os.pathsep)
            if Path(root) not in [Path(folder) for folder in folders if folder]:
                missing.append(f"{root} in the environment variable {name}")
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        missing.append("an X display in DISPLAY (`Xvfb :99 -screen 0 1280x1024x24` makes one)")
    return missing


def check_simulator() -> None:
    """Raise unless RLBench can be imported and started.

    Raises:
        SimulatorUnavailable: naming everything that is missing.
    """
    missing = missing_parts()
    if missing:
        raise SimulatorUnavailable(f"RLBench cannot start without {'; '.join(missing)}. {INSTALL}")


def contract_differences() -> list[str]:
    """Where an importable RLBench is not the one this was written against, in words.

    Every call of the adapter is bound to the signature that is there, and every field and name it
    reads is looked up; what it does not use may differ.
    """
    text = (resources.files("viper_gym.envs") / "rlbench_contract.json").read_text()
    contract = json.loads(text)
    found: list[str] = []
    for name, call in contract["calls"].items():
        target = _find(name, found)
        if target is None:
            continue
        try:
            given = dict.fromkeys(call["keywords"])
            inspect.signature(target).bind(*[None] * call["positional"], **given)
        except TypeError as error:
            found.append(f"{name} cannot be called as it is here: {error}")
    for name, record in contract["fields"].items():
        target = _find(name, found)
        there = [] if target is None else list(inspect.signature(target).parameters)
        lacking = [field for field in record["uses"] if target is not None and field not in there]
        found += [f"{name} has no field {field}" for field in lacking]
    for name in contract["names"]:
        _find(name, found)
    return found


def _find(name: str, found: list[str]) -> Any:
    """What "module:attribute.attribute" names; None, and a line in `found`, if it is not there."""
    module, _, attributes = name.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            target = getattr(target, attribute)
    except (ImportError, AttributeError) as error:
        found.append(f"{name} is not there ({error})")
        return None
    return target

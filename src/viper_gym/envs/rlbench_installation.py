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
            if root not in os.environ.get(name, "").split(os.pathsep):
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
    """Where an importable RLBench differs from the one this was written against, in words.

    Compares the parameters (names, order, defaults) of everything that is called.
    """
    text = (resources.files("viper_gym.envs") / "rlbench_contract.json").read_text()
    found = []
    for name, expected in json.loads(text)["calls"].items():
        module, _, attribute = name.partition(":")
        try:
            target: Any = importlib.import_module(module)
            for part in attribute.split("."):
                target = getattr(target, part)
        except (ImportError, AttributeError) as error:
            found.append(f"{name} is not there ({error})")
            continue
        if not expected["uses"]:  # it only has to be there; exceptions have no signature
            continue
        actual = [p for p in inspect.signature(target).parameters if p != "self"]
        lacking = [p for p in expected["uses"] if p not in actual]
        if lacking:
            found.append(f"{name} has no parameter {', '.join(lacking)} (it has {actual})")
    return found

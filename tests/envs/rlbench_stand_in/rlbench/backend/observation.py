"""Records with exactly the fields that the contract lists."""

import json
from dataclasses import field, make_dataclass
from importlib import resources

CONTRACT = json.loads((resources.files("viper_gym.envs") / "rlbench_contract.json").read_text())


def record(name, defaults=None, **methods):
    fields = (CONTRACT["calls"] | CONTRACT["fields"])[name]["parameters"]
    defaults = defaults or {}
    return make_dataclass(
        name.split(":")[1],
        [(f, object, field(default=defaults.get(f, True))) for f in fields],
        namespace=methods,
    )


Observation = record("rlbench.backend.observation:Observation")

"""Read a training run's folder: a PyTorch state dict, and the hydra config beside it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from viper_gym.errors import CheckpointError
from viper_gym.optional import require


def locate(path: Path, names: tuple[str, ...]) -> Path:
    """The checkpoint itself: `path`, or the first of the names in the run folder `path`.

    Raises:
        CheckpointError: none of them is there.
    """
    if path.is_file():
        return path
    for name in names:
        for folder in ("results/checkpoints", "checkpoints", "."):
            if (path / folder / name).is_file():
                return path / folder / name
    raise CheckpointError(f"{path}: missing; expected {' or '.join(names)}, or its run folder")


def read_yaml(file: Path) -> dict[Any, Any]:
    """A YAML file that holds a mapping.

    Raises:
        CheckpointError: missing, not YAML, or something else than a mapping.
        DependencyNotInstalled: no YAML reader.
    """
    yaml = require("yaml", extra="convert")
    try:
        data = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{file}: not a readable YAML file ({error})") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{file}: expected a mapping, got {type(data).__name__}")
    return data


class Settings:
    """The config of a checkpoint's run, with references such as `${image_size}` followed.

    Raises:
        CheckpointError: no config near the checkpoint, or an unreadable one.
    """

    def __init__(self, checkpoint: Path):
        near = [
            f / name for f in list(checkpoint.absolute().parents)[:3] for name in (".hydra", ".")
        ]
        found = [folder / "config.yaml" for folder in near if (folder / "config.yaml").is_file()]
        if not found:
            raise CheckpointError(
                f"{checkpoint}: its config is missing; "
                "expected .hydra/config.yaml in the run folder"
            )
        self.file = found[0]
        self._data = read_yaml(self.file)

    def has(self, key: str) -> bool:
        return key in self._data

    def get(self, path: str) -> Any:
        """The value at a dotted path; it must be there."""
        for _ in range(8):
            value: Any = self._data
            for key in path.split("."):
                if not isinstance(value, dict) or key not in value:
                    raise CheckpointError(f"{self.file}: '{path}' is missing")
                value = value[key]
            reference = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
            if reference is None:
                return value
            path = reference[1]
        raise CheckpointError(f"{self.file}: '{path}' refers to itself")

    def integer(self, path: str, least: int = 1) -> int:
        value = self.get(path)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise CheckpointError(
                f"{self.file}: {path} is {value!r}, expected an integer of at least {least}"
            )
        return value


class Weights:
    """The tensors of a state dict, each of which has to be used exactly once."""

    def __init__(self, file: Path, tensors: dict[str, Tensor]):
        self.file, self.tensors = file, tensors
        self._unused = set(tensors)

    @classmethod
    def read(cls, file: Path) -> Weights:
        """Read with `weights_only=True`; tensors stay mapped to the file until they are used.

        Raises:
            CheckpointError: cut short, foreign, or a pickle that wants to import something.
        """
        try:
            mmap = zipfile.is_zipfile(file)  # the older format cannot be mapped
            state = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
        except OSError as error:
            raise CheckpointError(f"{file}: cannot be read ({error})") from error
        except Exception as error:  # a broken file can raise nearly anything
            # torch says what the pickle asked for, and how to let it: only the first is passed on
            wanted = re.search(r"GLOBAL (\S+)", str(error))
            if wanted:
                raise CheckpointError(
                    f"{file}: refused to import {wanted[1]}: a checkpoint holds only tensors"
                ) from error
            raise CheckpointError(
                f"{file}: not a readable PyTorch checkpoint, cut short or of another format "
                f"({type(error).__name__})"
            ) from error
        if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
            raise CheckpointError(f"{file}: expected a state dict, tensors by name")
        return cls(file, dict(state))

    def part(self, prefix: str) -> Weights:
        """Those below a prefix, which count as used here."""
        names = [name for name in self.tensors if name.startswith(prefix)]
        self._unused.difference_update(names)
        return Weights(self.file, {name[len(prefix) :]: self.tensors[name] for name in names})

    def take(self, name: str) -> Tensor:
        """One tensor, used from now on."""
        if name not in self._unused:
            raise CheckpointError(f"{self.file}: '{name}' is missing from the checkpoint")
        self._unused.discard(name)
        return self.tensors[name]

    def put(self, name: str, value: Tensor, target: Tensor) -> None:
        """Write a value, made of the tensor `name`, to a parameter of the same shape."""
        if value.shape != target.shape:
            raise CheckpointError(
                f"{self.file}: '{name}' gives {tuple(value.shape)}, "
                f"config.yaml and the tokenizer say {tuple(target.shape)}"
            )
        if not torch.isfinite(value).all():
            raise CheckpointError(f"{self.file}: '{name}' has NaN or infinite weights")
        with torch.no_grad():
            target.copy_(value)

    def copy(self, name: str, target: Tensor) -> None:
        self.put(name, self.take(name), target)

    def layer(self, name: str, layer: nn.Linear | nn.Conv2d | nn.GroupNorm) -> None:
        """A weight and a bias in torch's own layout."""
        assert layer.bias is not None
        self.copy(f"{name}.weight", layer.weight)
        self.copy(f"{name}.bias", layer.bias)

    def finish(self) -> None:
        """Every tensor was used: an unknown one means another architecture."""
        if self._unused:
            raise CheckpointError(f"{self.file}: unknown tensors {sorted(self._unused)[:4]}")

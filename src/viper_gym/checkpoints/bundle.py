"""A bundle: everything a video reward needs, in one folder and without pickle.

`config.json` + `tokenizer.safetensors` + `video_model.safetensors` (+ `README.md`, the
model card). Shapes are checked against the config before a weight is used, unknown keys
are rejected.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import torch

from viper_gym.checkpoints.consistency import check_fit
from viper_gym.checkpoints.weights import load_network, save_weights
from viper_gym.errors import CheckpointError
from viper_gym.models.context import ContextPolicy
from viper_gym.models.patch_vq import PatchVQ, PatchVQConfig
from viper_gym.models.staged_vqgan import StagedVQGAN, StagedVQGANConfig
from viper_gym.models.tokenizer import FrameTokenizer
from viper_gym.models.videogpt import VideoGPT, VideoGPTConfig
from viper_gym.models.vqgan import VQGAN, VQGANConfig

FORMAT_VERSION = 1
CONFIG, TOKENIZER, VIDEO_MODEL, CARD = (
    "config.json",
    "tokenizer.safetensors",
    "video_model.safetensors",
    "README.md",
)
PICTURES = "pictures"  # folder of what the card shows
_TOKENIZERS: dict[str, tuple[type, type[FrameTokenizer]]] = {
    "patch_vq": (PatchVQConfig, PatchVQ),
    "staged_vqgan": (StagedVQGANConfig, StagedVQGAN),
    "vqgan": (VQGANConfig, VQGAN),
}


@dataclass(frozen=True)
class Calibration:
    """Levels of one task, nats a frame: `low` maps to reward 0, `high` to 1."""

    low: float
    high: float
    source: str = ""
    """which behaviour set `low`, and on what episodes"""
    idle: float | None = None
    """highest level of doing nothing, from which `reward_clip="calibrated"` has its floor where
    `clip` is not known; None: not measured, `low` is taken"""
    by_context: tuple[float, ...] = ()
    """what expert frames with 0, 1, … frames of context have above the same frames with as many
    as a window that has been full, on average: taken off before scaling, so that the reward does
    not follow the context's length; empty: nothing is"""
    policy: ContextPolicy | None = None
    """which frames a frame of this task is scored with; None: as the bundle's"""
    clip: tuple[float, float] | None = None
    """bounds of the scaled reward within which graded rollouts were ranked best, which
    `reward_clip="calibrated"` takes; None: there were no such rollouts"""


@dataclass(frozen=True)
class BundleConfig:
    """Contents of config.json."""

    tokenizer_type: str
    tokenizer: Any  # PatchVQConfig | StagedVQGANConfig | VQGANConfig
    video_model: VideoGPTConfig
    tasks: tuple[str, ...]
    """index in this tuple = class of the video model"""
    frame_stride: int = 1
    """model frames are this many environment steps apart"""
    policy: ContextPolicy = field(default_factory=ContextPolicy)
    """which frames a frame is scored with, unless a task's calibration (or a user) says others"""
    preprocessing: dict[str, dict[str, Any]] = field(default_factory=dict)
    """task -> camera, size, action repeat, … of its training frames"""
    calibration: dict[str, Calibration] = field(default_factory=dict)
    masks: dict[str, list[list[int]]] = field(default_factory=dict)
    """task -> rows of 0 and 1 (H, W): frames are multiplied by it before they are encoded"""
    contrast: bool = False
    """whether the second half of the video model's classes is unskilled play of the tasks, to
    which likelihoods are compared (`VideoRewardModel.compared`)"""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """figures of the last audit, and the command that made them"""
    library_version: str = ""
    format_version: int = FORMAT_VERSION

    def levels_of(self, task: str) -> Calibration:
        """The calibration of a task.

        Raises:
            CheckpointError: there is none.
        """
        if task not in self.calibration:
            raise CheckpointError(
                f"the bundle has no calibration for '{task}': run `viper-gym evaluate --calibrate` "
                "on it, or take reward_scale='per_token' or 'raw'"
            )
        return self.calibration[task]

    def policy_of(self, task: str) -> ContextPolicy:
        """Which frames a frame of the task is scored with; its calibration was made for that."""
        own = self.calibration[task].policy if task in self.calibration else None
        return own or self.policy

    def renamed(self, names: dict[str, str]) -> BundleConfig:
        """With other names of tasks: old -> new; the rest keep theirs.

        Raises:
            CheckpointError: there is no such task, or two would have one name.
        """
        if unknown := sorted(names.keys() - set(self.tasks)):
            known = ", ".join(self.tasks)
            raise CheckpointError(f"no task {', '.join(unknown)}: there are {known}")
        tasks = tuple(names.get(task, task) for task in self.tasks)
        if len(set(tasks)) < len(tasks):
            raise CheckpointError(f"two tasks of one name: {', '.join(tasks)}")

        def by_task(said: dict[str, Any]) -> dict[str, Any]:
            return {names.get(task, task): value for task, value in said.items()}

        return replace(
            self,
            tasks=tasks,
            preprocessing=by_task(self.preprocessing),
            calibration=by_task(self.calibration),
            masks=by_task(self.masks),
        )

    def to_json(self) -> str:
        text = json.dumps(asdict(self), indent=2)
        # a row of numbers is one line: a mask would fill thousands
        return re.sub(r"\[[\s\d.,eE+-]+\]", lambda m: " ".join(m[0].split()), text) + "\n"


@dataclass
class Bundle:
    """Config and networks, in evaluation mode."""

    config: BundleConfig
    tokenizer: FrameTokenizer
    video_model: VideoGPT
    card: str | None = None
    """text of README.md, where the bundle has one"""


def from_dict(kind: type, data: dict[str, Any], where: str) -> Any:
    """Build a config dataclass; every key must be known and every required key present.

    Raises:
        CheckpointError: naming the keys, or the value that the dataclass refuses.
    """
    data = _object(data, where)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(data) - set(fields))
    required = {
        n
        for n, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - set(data))
    if unknown or missing:
        raise CheckpointError(f"{where}: unknown keys {unknown}, missing keys {missing}")
    hints = get_type_hints(kind)
    try:
        return kind(**{k: _from_json(v, str(hints[k]), k) for k, v in data.items()})
    except ValueError as error:
        raise CheckpointError(f"{where}: {error}") from error


def read_config(folder: Path) -> BundleConfig:
    """Read and check config.json.

    Raises:
        CheckpointError: missing, not JSON, of another format version, or inconsistent.
    """
    try:
        return _read_config(folder)
    except CheckpointError:
        raise
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{folder / CONFIG}: a value of a wrong type ({error})") from error


def _read_config(folder: Path) -> BundleConfig:
    path = folder / CONFIG
    if not path.is_file():
        found = (
            sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else "no such folder"
        )
        raise CheckpointError(f"{folder}: not a bundle, {CONFIG} is missing (found: {found})")
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError as error:  # not JSON, not UTF-8
        raise CheckpointError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(data, dict) or data.get("format_version") != FORMAT_VERSION:
        got = data.get("format_version") if isinstance(data, dict) else type(data).__name__
        raise CheckpointError(f"{path}: expected format_version {FORMAT_VERSION}, got {got!r}")
    kind = data.get("tokenizer_type")
    if kind not in _TOKENIZERS:
        raise CheckpointError(f"{path}: tokenizer_type {kind!r}, known: {sorted(_TOKENIZERS)}")
    for key in ("tokenizer", "video_model"):
        if key not in data:
            raise CheckpointError(f"{path}: missing keys ['{key}']")
    data["tokenizer"] = from_dict(_TOKENIZERS[kind][0], data["tokenizer"], f"{path}: tokenizer")
    data["video_model"] = from_dict(VideoGPTConfig, data["video_model"], f"{path}: video_model")
    data["policy"] = from_dict(ContextPolicy, data.get("policy", {}), f"{path}: policy")
    data["calibration"] = {
        task: _calibration(values, f"{path}: calibration of {task}")
        for task, values in _object(data.get("calibration", {}), f"{path}: calibration").items()
    }
    config: BundleConfig = from_dict(BundleConfig, data, str(path))
    check_fit(config, str(path))
    return config


def _object(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise CheckpointError(f"{where}: expected an object of keys and values, got {values!r}")
    return values


def _calibration(values: Any, where: str) -> Calibration:
    own = _object(values, where).get("policy")
    policy = None if own is None else from_dict(ContextPolicy, own, f"{where}: policy")
    made: Calibration = from_dict(Calibration, {**values, "policy": policy}, where)
    return made


def _from_json(value: Any, hint: str, key: str) -> Any:
    """Lists become the tuples that a field holds; null stays where the field may be None."""
    if not hint.startswith("tuple") or (value is None and "None" in hint):
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{key} must be a list, got {value!r}")
    return tuple(value)


def save_bundle(bundle: Bundle, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write weights, card and config; the config last: a torn bundle is not taken for one.

    Config, card and pictures of a bundle that lay there are gone first: they tell of other weights.

    Raises:
        CheckpointError: the folder has a config.json or README.md of something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / CONFIG).exists():
        if not _is_ours(folder / CONFIG):
            raise CheckpointError(
                f"{folder / CONFIG} is no bundle's: expected an empty folder, a new one or one "
                "with a bundle, which is replaced"
            )
        (folder / CONFIG).unlink()
        (folder / CARD).unlink(missing_ok=True)
        for shown in (folder / PICTURES).glob("*"):
            shown.unlink()
    elif bundle.card is not None and (folder / CARD).exists():
        if (folder / CARD).read_text("utf-8", "replace") != bundle.card:
            raise CheckpointError(
                f"{folder / CARD} would be replaced by the model card, and belongs to no bundle: "
                "expected an empty folder, a new one or one with a bundle"
            )
    save_weights(bundle.tokenizer, folder / TOKENIZER, dtype)
    save_weights(bundle.video_model, folder / VIDEO_MODEL, dtype)
    if bundle.card is not None:
        (folder / CARD).write_text(bundle.card, "utf-8")
    write_config(bundle.config, folder)


def _is_ours(config: Path) -> bool:
    try:
        data = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError):
        return True  # a torn one
    return isinstance(data, dict) and {"format_version", "tokenizer_type"} <= data.keys()


def holds_weights(folder: Path, bundle: Bundle, dtype: torch.dtype = torch.float32) -> bool:
    """Whether `folder` is a bundle of the same networks, whose calibration and card still hold."""
    try:
        there = load_bundle(folder)
    except CheckpointError:
        return False
    for stored, module in (
        (there.tokenizer, bundle.tokenizer),
        (there.video_model, bundle.video_model),
    ):
        old, new = stored.state_dict(), module.state_dict()
        if old.keys() != new.keys():
            return False
        if not all(torch.equal(old[k].float(), v.cpu().to(dtype).float()) for k, v in new.items()):
            return False
    return True


def write_config(config: BundleConfig, folder: Path) -> None:
    """Write config.json atomically."""
    temporary = folder / (CONFIG + ".tmp")
    temporary.write_text(config.to_json())
    os.replace(temporary, folder / CONFIG)


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle folder.

    Raises:
        CheckpointError: see `read_config` and `load_weights`.
    """
    folder = Path(folder)
    config = read_config(folder)
    kind = _TOKENIZERS[config.tokenizer_type][1]
    tokenizer = load_network(
        lambda: kind(config.tokenizer), folder / TOKENIZER, _depth(config.tokenizer)
    )
    video_model = load_network(
        lambda: VideoGPT(config.video_model), folder / VIDEO_MODEL, config.video_model.num_layers
    )
    codes, known = tokenizer.quantizer.codebook, video_model.codebook
    if not (torch.equal(codes, known) or torch.equal(codes.half(), known.half())):
        raise CheckpointError(
            f"{folder}: {TOKENIZER} and {VIDEO_MODEL} are of two bundles: their codebooks differ"
        )
    card = None
    if (folder / CARD).is_file():
        card = (folder / CARD).read_text("utf-8", errors="replace")
    return Bundle(config, tokenizer, video_model, card)


def _depth(tokenizer: Any) -> int:
    """Layers, at least: of the kinds with a number of blocks for each resolution."""
    return int(getattr(tokenizer, "num_res_blocks", 0))


class SavedTokenizer(NamedTuple):
    """A tokenizer that no bundle holds yet."""

    kind: str
    """its type's name in configs"""
    tasks: tuple[str, ...]
    masks: dict[str, Any]
    """of the tasks that have one, what was hidden in training (H, W)"""
    network: FrameTokenizer


def save_tokenizer(
    tokenizer: FrameTokenizer, tasks: tuple[str, ...], masks: dict[str, Any], folder: Path
) -> None:
    """Write a tokenizer alone: tokenizer.safetensors and tokenizer.json."""
    kind = next(k for k, (_, cls) in _TOKENIZERS.items() if isinstance(tokenizer, cls))
    shape: Any = tokenizer.config
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(tokenizer, folder / TOKENIZER)
    record = {"tokenizer_type": kind, "tasks": tasks, "tokenizer": asdict(shape), "masks": masks}
    (folder / "tokenizer.json").write_text(json.dumps(record) + "\n")


def load_tokenizer(folder: Path) -> SavedTokenizer:
    """Read what `save_tokenizer` wrote.

    Raises:
        CheckpointError: not such a folder.
    """
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: missing; run `viper-gym train tokenizer --out {folder}` first"
        )
    try:
        data = json.loads(path.read_text())
        kind, tasks = data["tokenizer_type"], tuple(data["tasks"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or foreign: {error!r}") from error
    if kind not in _TOKENIZERS:
        raise CheckpointError(
            f"{path}: expected a tokenizer of {sorted(_TOKENIZERS)}, got {kind!r}"
        )
    config = from_dict(_TOKENIZERS[kind][0], data["tokenizer"], str(path))
    tokenizer = load_network(
        lambda: _TOKENIZERS[kind][1](config), Path(folder) / TOKENIZER, _depth(config)
    )
    return SavedTokenizer(kind, tasks, data.get("masks", {}), tokenizer)

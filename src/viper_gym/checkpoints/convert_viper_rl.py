"""Convert a checkpoint of the authors' release (viper_rl, flax) into a bundle.

Everything comes from the files: shapes, codebook, EMA weights, class map, stride and masks.
The release keeps the classes of a model in `class_map.pkl`; classes without a name are left
out of the bundle.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from viper_gym.checkpoints.bundle import Bundle, BundleConfig
from viper_gym.checkpoints.consistency import check_fit
from viper_gym.checkpoints.flax_msgpack import read_flax
from viper_gym.checkpoints.restricted_pickle import load_restricted
from viper_gym.checkpoints.weights import frozen
from viper_gym.errors import CheckpointError
from viper_gym.models.transformer import Block, TaskNorm
from viper_gym.models.videogpt import VideoGPT, VideoGPTConfig
from viper_gym.models.vqgan import VQGAN, AttnBlock, Downsample, ResnetBlock, Upsample, VQGANConfig

Tree = dict[str, Any]


def convert_viper_rl(tokenizer_folder: Path, video_folder: Path) -> Bundle:
    """Read both folders of a release; returns a bundle without calibration.

    Raises:
        CheckpointError: a file is missing, broken or foreign, or the two do not fit.
    """
    try:
        return _converted(tokenizer_folder, video_folder)
    except CheckpointError:
        raise
    except (
        LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError
    ) as error:  # fmt: skip
        raise CheckpointError(  # an option that is missing or of another kind
            f"{tokenizer_folder}, {video_folder}: no release of viper_rl ({error!r} in 'args', the "
            "class map or the masks)"
        ) from error


def _converted(tokenizer_folder: Path, video_folder: Path) -> Bundle:
    from viper_gym import __version__

    tokenizer = _tokenizer(tokenizer_folder)
    args = vars(load_restricted(video_folder / "args"))
    masks = _masks(tokenizer_folder / "mask_map.pkl")
    classes = _class_map(video_folder, args)
    stride = int(args.get("frame_skip") or 1)  # older releases do not say it
    if stride < 1:
        raise ValueError(f"frame_skip {stride}")
    tasks = tuple(classes) if classes else tuple(masks) or ("default",)
    model = _video_model(video_folder, args, tokenizer, list(classes.values()))
    config = BundleConfig(
        tokenizer_type="vqgan",
        tokenizer=tokenizer.config,
        video_model=model.config,
        tasks=tasks,
        frame_stride=stride,
        masks={task: mask for task, mask in masks.items() if task in tasks},
        library_version=__version__,
    )
    check_fit(config, str(video_folder))
    return Bundle(config, frozen(tokenizer), frozen(model))


def _class_map(folder: Path, args: Tree) -> dict[str, int]:
    """Task -> class of the release, in the order of classes; empty if unconditional."""
    if not args.get("class_cond"):
        return {}
    raw = load_restricted(folder / "class_map.pkl")
    count = int(args["n_classes"])
    classes = {str(task): int(number) for task, number in raw.items()}
    wrong = {t: n for t, n in classes.items() if not 0 <= n < count}
    if wrong or not classes:
        raise CheckpointError(f"{folder}/class_map.pkl: classes {wrong or '{}'} of {count}")
    return dict(sorted(classes.items(), key=lambda item: item[1]))


def _masks(path: Path) -> dict[str, list[list[int]]]:
    """Task -> rows of 0 and 1 (H, W); empty where the release has no masks."""
    if not path.exists():
        return {}
    arrays = {str(t): np.asarray(m) for t, m in load_restricted(path).items()}
    found = {}
    for task, mask in arrays.items():
        rows = mask if mask.ndim == 2 else mask[..., 0] if mask.ndim == 3 else None
        if rows is None or (mask.ndim == 3 and (mask != mask[..., :1]).any()):
            raise CheckpointError(
                f"{path}: mask of {task} has shape {mask.shape}, expected (H, W), or (H, W, C) "
                "alike in all channels"
            )
        if not np.isin(rows, (0, 1)).all():
            raise CheckpointError(
                f"{path}: mask of {task} has other values than 0 (hidden) and 1 (shown)"
            )
        found[task] = rows.astype(int).tolist()
    return found


def _tokenizer(folder: Path) -> VQGAN:
    args = vars(load_restricted(folder / "args"))
    shape = args["ae"]
    config = VQGANConfig(
        image_size=int(args["image_size"]),
        base_channels=int(shape["ch"]),
        ch_mult=tuple(int(m) for m in shape["ch_mult"]),
        num_res_blocks=int(shape["num_res_blocks"]),
        attn_resolutions=tuple(int(r) for r in shape["attn_resolutions"]),
        z_channels=int(shape["z_channels"]),
        codebook_size=int(shape["n_embed"]),
        codebook_dim=int(shape["embed_dim"]),
    )
    model = VQGAN(config)
    source = _Source(read_flax(folder), "vqgan_params", folder)
    for half, network in (("encoder", model.encoder), ("decoder", model.decoder)):
        _copy_stack(source, half, network)
    source.convolution("quant_conv", model.quant_conv)
    source.convolution("post_quant_conv", model.post_quant_conv)
    source.copy("quantize/embeddings", model.quantizer.codebook)
    source.finish()
    return model


def _copy_stack(source: _Source, half: str, network: nn.Sequential) -> None:
    """Blocks of a kind are numbered in the order in which the release makes them."""
    counts: Counter[str] = Counter()

    def path(kind: str) -> str:
        counts[kind] += 1
        return f"{half}/{kind}_{counts[kind] - 1}"

    for module in network:
        if isinstance(module, ResnetBlock):
            block = path("ResnetBlock")
            source.norm(f"{block}/GroupNorm_0", module.norm1)
            source.convolution(f"{block}/Conv_0", module.conv1)
            source.norm(f"{block}/GroupNorm_1", module.norm2)
            source.convolution(f"{block}/Conv_1", module.conv2)
            if isinstance(module.shortcut, nn.Conv2d):
                source.convolution(f"{block}/Conv_2", module.shortcut)
        elif isinstance(module, AttnBlock):
            block = path("AttnBlock")
            source.norm(f"{block}/GroupNorm_0", module.norm)
            for i, layer in enumerate((module.q, module.k, module.v, module.out)):
                assert isinstance(layer, nn.Conv2d)
                source.convolution(f"{block}/Conv_{i}", layer)
        elif isinstance(module, (Downsample, Upsample)):
            source.convolution(f"{path(type(module).__name__)}/Conv_0", module.conv)
        elif isinstance(module, nn.GroupNorm):
            source.norm(path("GroupNorm"), module)
        elif isinstance(module, nn.Conv2d):
            source.convolution(path("Conv"), module)


def _video_model(folder: Path, args: Tree, tokenizer: VQGAN, classes: list[int]) -> VideoGPT:
    if args.get("model") != "videogpt":
        raise CheckpointError(f"{folder}: model {args.get('model')!r}, only videogpt is supported")
    shape, codes = args["transformer"], tokenizer.config
    config = VideoGPTConfig(
        sequence_length=int(args["seq_len"]),
        grid_size=codes.grid_size,
        codebook_size=codes.codebook_size,
        codebook_dim=codes.codebook_dim,
        embed_dim=int(shape["embed_dim"]),
        mlp_dim=int(shape["mlp_dim"]),
        num_heads=int(shape["num_heads"]),
        num_layers=int(shape["num_layers"]),
        num_classes=len(classes),
    )
    model = VideoGPT(config)
    tree = read_flax(folder)
    # as the authors load it: trained without averages, it has none
    source = _Source(tree, "ema_params" if tree.get("ema_params") else "params", folder, "model/")
    model.codebook.copy_(tokenizer.quantizer.codebook.detach())
    source.linear("Dense_0", model.embed)
    source.copy("RightShift_0/sos", model.start)
    for axis, bias in enumerate(model.position):
        source.copy(f"BroadcastPositionBiases_0/d_{axis}", bias)
    heads, width = config.num_heads, config.embed_dim
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        layer = f"TransformerLayer_{number}"
        source.task_norm(f"{layer}/LayerNorm_0", block.norm_attention, classes)
        attention = block.attention
        qkv = f"{layer}/MultiHeadAttention_0/DenseGeneral_0"
        # (D, H, 3d) with q, k, v side by side in each head -> (3, H, d, D)
        kernel = source.take(f"{qkv}/kernel").reshape(width, heads, 3, -1)
        source.put(
            f"{qkv}/kernel",
            kernel.permute(2, 1, 3, 0).reshape(3 * width, width),
            attention.qkv.weight,
        )
        bias = source.take(f"{qkv}/bias").reshape(heads, 3, -1)
        source.put(f"{qkv}/bias", bias.permute(1, 0, 2).reshape(-1), attention.qkv.bias)
        out = f"{layer}/MultiHeadAttention_0/DenseGeneral_1"
        source.put(
            f"{out}/kernel",
            source.take(f"{out}/kernel").reshape(width, width).T,
            attention.out.weight,
        )
        source.copy(f"{out}/bias", attention.out.bias)
        source.task_norm(f"{layer}/LayerNorm_1", block.norm_mlp, classes)
        source.linear(f"{layer}/Dense_0", block.expand)
        source.linear(f"{layer}/Dense_1", block.project)
    source.task_norm("LayerNorm_0", model.norm, classes)
    source.linear("Dense_1", model.head)
    source.finish()
    return model


class _Source:
    """The arrays of a checkpoint, each of which has to be used exactly once."""

    def __init__(self, tree: Tree, key: str, folder: Path, prefix: str = ""):
        if key not in tree:
            raise CheckpointError(f"{folder}: no '{key}' in the checkpoint (found {sorted(tree)})")
        self._folder, self._prefix = folder, prefix
        self._arrays = dict(_flatten(tree[key]))
        self._unused = set(self._arrays)

    def take(self, path: str) -> Tensor:
        """One array; it must be there and finite."""
        path = self._prefix + path
        if path not in self._arrays:
            raise CheckpointError(f"{self._folder}: '{path}' is missing from the checkpoint")
        self._unused.discard(path)
        array = np.asarray(self._arrays[path], np.float32)
        if not np.isfinite(array).all():
            raise CheckpointError(f"{self._folder}: '{path}' has NaN or infinite weights")
        return torch.from_numpy(array.copy())

    def put(self, path: str, value: Tensor, target: Tensor) -> None:
        if value.shape != target.shape:
            raise CheckpointError(
                f"{self._folder}: '{path}' gives {tuple(value.shape)}, "
                f"args say {tuple(target.shape)}"
            )
        with torch.no_grad():
            target.copy_(value)

    def copy(self, path: str, target: Tensor) -> None:
        self.put(path, self.take(path), target)

    def linear(self, path: str, layer: nn.Linear) -> None:
        self.put(path, self.take(f"{path}/kernel").T, layer.weight)
        self.copy(f"{path}/bias", layer.bias)

    def convolution(self, path: str, layer: nn.Conv2d) -> None:
        kernel = self.take(f"{path}/kernel")  # (h, w, in, out)
        self.put(path, kernel.permute(3, 2, 0, 1), layer.weight)
        assert layer.bias is not None
        self.copy(f"{path}/bias", layer.bias)

    def norm(self, path: str, layer: nn.GroupNorm) -> None:
        self.copy(f"{path}/scale", layer.weight)
        self.copy(f"{path}/bias", layer.bias)

    def task_norm(self, path: str, layer: TaskNorm, classes: list[int]) -> None:
        """Conditional: one row a class; only the named classes are kept."""
        if not layer.conditional:
            self.copy(f"{path}/scale", layer.scale)
            self.copy(f"{path}/bias", layer.bias)
            return
        for name, target in (("Dense_0", layer.scale), ("Dense_1", layer.bias)):
            rows = self.take(f"{path}/{name}/kernel")
            if max(classes) >= len(rows):
                raise CheckpointError(f"{self._folder}: class {max(classes)} of {len(rows)} rows")
            self.put(path, rows[classes], target)

    def finish(self) -> None:
        """Every array was used: an unknown one means another architecture."""
        if self._unused:
            raise CheckpointError(f"{self._folder}: unknown arrays {sorted(self._unused)[:4]}")


def _flatten(tree: Tree, path: str = "") -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{path}/{key}" if path else str(key)
        items += _flatten(value, name) if isinstance(value, dict) else [(name, value)]
    return items

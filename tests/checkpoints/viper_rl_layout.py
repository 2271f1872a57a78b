"""The layout of viper_rl's release: two folders of random weights, as small as they can be.

Names and shapes are those of the authors' flax modules, written without this package's networks.
"""

import argparse
import pickle
from pathlib import Path

import msgpack
import numpy as np

CHANNELS = 4
FRAMES, STRIDE, WIDTH, HEADS, HIDDEN, CLASSES = 3, 2, 12, 2, 16, 4
CLASS_MAP = {"walker_walk": 3, "cheetah_run": 1}


def write_release(folder: Path, pixels: int = 8, codes: int = 8, dim: int = 4) -> dict[str, dict]:
    """Both folders, `vq` and `gpt`; what their checkpoints hold.

    Args:
        pixels: a side; a code is of two by two.
        codes: entries of the codebook, of `dim` numbers each.
    """
    rng = np.random.default_rng(0)
    shape = pixels // 2, codes, dim
    trees: dict[str, dict] = {
        "vq": {"step": 10, "vqgan_params": _codec(rng, codes, dim)},
        "gpt": {
            "step": 10,
            "params": {"model": _transformer(rng, *shape)},
            "ema_params": {"model": _transformer(rng, *shape)},
        },
    }
    codec = {
        "ch": CHANNELS, "ch_mult": [1, 1], "num_res_blocks": 1, "attn_resolutions": [],
        "z_channels": CHANNELS, "n_embed": codes, "embed_dim": dim,
    }  # fmt: skip
    layers = {"embed_dim": WIDTH, "mlp_dim": HIDDEN, "num_heads": HEADS, "num_layers": 1}
    video = {
        "model": "videogpt", "seq_len": FRAMES, "frame_skip": STRIDE, "transformer": layers,
        "class_cond": True, "n_classes": CLASSES,
    }  # fmt: skip
    for name, args in (("vq", {"image_size": pixels, "ae": codec}), ("gpt", video)):
        (folder / name / "checkpoints").mkdir(parents=True)
        write_flax(trees[name], checkpoint(folder, name))
        write_args(folder / name, args)
    (folder / "gpt" / "class_map.pkl").write_bytes(pickle.dumps(CLASS_MAP))
    return trees


def checkpoint(folder: Path, name: str) -> Path:
    return folder / name / "checkpoints" / "checkpoint_10"


def write_args(folder: Path, args: dict) -> None:
    (folder / "args").write_bytes(pickle.dumps(argparse.Namespace(**args)))


def write_flax(tree: dict, path: Path) -> None:
    """As flax.serialization writes it."""

    def pack(array: np.ndarray) -> msgpack.ExtType:
        return msgpack.ExtType(1, msgpack.packb([array.shape, str(array.dtype), array.tobytes()]))

    path.write_bytes(msgpack.packb(tree, default=pack))


def _codec(rng: np.random.Generator, codes: int, dim: int) -> dict:
    """Two levels of equal width, a residual block in each, around an attention block."""

    def norm() -> dict:
        return {"scale": _floats(rng, CHANNELS), "bias": _floats(rng, CHANNELS)}

    def conv(size: int, before: int = CHANNELS, after: int = CHANNELS) -> dict:
        return {"kernel": _floats(rng, size, size, before, after), "bias": _floats(rng, after)}

    def half(blocks: int, resize: str, before: int, after: int) -> dict:
        made = {
            f"ResnetBlock_{i}": {
                "GroupNorm_0": norm(), "Conv_0": conv(3), "GroupNorm_1": norm(), "Conv_1": conv(3),
            }
            for i in range(blocks)
        }  # fmt: skip
        attention = {"GroupNorm_0": norm(), **{f"Conv_{i}": conv(1) for i in range(4)}}
        ends = {"Conv_0": conv(3, before), "GroupNorm_0": norm(), "Conv_1": conv(3, after=after)}
        return {**made, **ends, "AttnBlock_0": attention, f"{resize}_0": {"Conv_0": conv(3)}}

    return {
        "encoder": half(4, "Downsample", 3, CHANNELS),
        "decoder": half(6, "Upsample", CHANNELS, 3),
        "quant_conv": conv(1, after=dim),
        "post_quant_conv": conv(1, before=dim),
        "quantize": {"embeddings": _floats(rng, codes, dim)},
    }


def _transformer(rng: np.random.Generator, grid: int, codes: int, dim: int) -> dict:
    """One layer; norms take gain and bias from the class."""

    def norm() -> dict:
        return {f"Dense_{i}": {"kernel": _floats(rng, CLASSES, WIDTH)} for i in range(2)}

    def dense(before: tuple[int, ...], after: tuple[int, ...]) -> dict:
        return {"kernel": _floats(rng, *before, *after), "bias": _floats(rng, *after)}

    heads = HEADS, WIDTH // HEADS
    attention = {
        "DenseGeneral_0": dense((WIDTH,), (HEADS, 3 * heads[1])),
        "DenseGeneral_1": dense(heads, (WIDTH,)),
    }
    axes = enumerate((FRAMES, grid, grid))
    return {
        "Dense_0": dense((dim,), (WIDTH,)),
        "RightShift_0": {"sos": _floats(rng, WIDTH)},
        "BroadcastPositionBiases_0": {f"d_{i}": _floats(rng, n, WIDTH // 3) for i, n in axes},
        "TransformerLayer_0": {
            "LayerNorm_0": norm(),
            "MultiHeadAttention_0": attention,
            "LayerNorm_1": norm(),
            "Dense_0": dense((WIDTH,), (HIDDEN,)),
            "Dense_1": dense((HIDDEN,), (WIDTH,)),
        },
        "LayerNorm_0": norm(),
        "Dense_1": dense((WIDTH,), (codes,)),
    }


def _floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)

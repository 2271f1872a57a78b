"""Convert a VIPER checkpoint of `diffusion_reward` (Huang et al. 2024, PyTorch) into a bundle.

A run folder holds `.hydra/config.yaml` and `results/checkpoints/`, in it a state dict:
`vqgan.pt` or `videogpt.pt`, which carries a copy of the tokenizer it was trained on. Weights
and shapes come from those files; nothing is taken from a preset.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import nn

from viper_gym.checkpoints.bundle import Bundle, BundleConfig, Calibration
from viper_gym.checkpoints.consistency import check_fit
from viper_gym.checkpoints.torch_run import Settings, Weights, locate, read_yaml
from viper_gym.checkpoints.weights import frozen
from viper_gym.errors import CheckpointError
from viper_gym.models.context import ContextPolicy
from viper_gym.models.staged_vqgan import StagedVQGAN, StagedVQGANConfig
from viper_gym.models.transformer import Block
from viper_gym.models.videogpt import VideoGPT, VideoGPTConfig
from viper_gym.models.vqgan import AttnBlock, Downsample, ResnetBlock, Upsample

TOKENIZER_FILE, VIDEO_MODEL_FILE = "vqgan.pt", "videogpt.pt"
_CODEC, _TRANSFORMER = "vqgan.", "transformer."  # the two halves of videogpt.pt


def convert_diffusion_reward(
    tokenizer: Path, video_model: Path, statistics: Path | None = None
) -> Bundle:
    """Read a tokenizer and a video model, each the file or its run folder.

    Args:
        tokenizer: `vqgan.pt`, or `videogpt.pt` to take the copy in it.
        video_model: `videogpt.pt`.
        statistics: their likelihood statistics of a domain, task -> [mean, standard
            deviation]. They name the tasks and become the calibration: the mean is reward 0,
            one standard deviation above it is 1. Without them the only task is the domain.

    Returns:
        a bundle whose policy is their reward's: ln p of the last frame of a full window.

    Raises:
        CheckpointError: a file is missing, cut short or foreign, wants to import something,
            has NaN weights, or the two do not fit.
    """
    from viper_gym import __version__

    codec_file = locate(tokenizer, (TOKENIZER_FILE, VIDEO_MODEL_FILE))
    video_file = locate(video_model, (VIDEO_MODEL_FILE,))
    settings = Settings(video_file)
    codec = Weights.read(codec_file)
    if any(name.startswith(_CODEC) for name in codec.tensors):
        codec = codec.part(_CODEC)
    network = _tokenizer(codec, Settings(codec_file))
    video = Weights.read(video_file)
    _check_same(codec, video.part(_CODEC))
    model = _video_model(video.part(_TRANSFORMER), settings, network)
    video.finish()
    calibration = {} if statistics is None else _calibration(statistics)
    config = BundleConfig(
        tokenizer_type="staged_vqgan",
        tokenizer=network.config,
        video_model=model.config,
        tasks=tuple(calibration) or (str(settings.get("domain")),),
        frame_stride=settings.integer("frame_skip"),
        policy=ContextPolicy("exact"),
        calibration=calibration,
        library_version=__version__,
    )
    check_fit(config, str(video_file))
    return Bundle(config, frozen(network), frozen(model))


def _tokenizer(source: Weights, settings: Settings) -> StagedVQGAN:
    where = "codec." if settings.has("codec") else ""
    size = settings.integer(f"{where}resolution")
    blocks, attended, grid = _encoder_layout(source, size)
    if grid != settings.integer(f"{where}latent_size"):
        raise CheckpointError(
            f"{source.file}: makes {grid} codes a side of {size} pixels, "
            f"{settings.file} says {settings.get(f'{where}latent_size')}"
        )
    channels = settings.get(f"{where}channels")
    if not isinstance(channels, list) or not all(isinstance(c, int) for c in channels):
        raise CheckpointError(f"{settings.file}: channels is {channels!r}, expected integers")
    width = settings.integer(f"{where}latent_dim")
    network = StagedVQGAN(
        StagedVQGANConfig(
            image_size=size,
            grid_size=grid,
            channels=tuple(channels),
            num_res_blocks=blocks,
            attn_resolutions=attended,
            z_channels=width,
            codebook_size=settings.integer(f"{where}num_codebook_vectors"),
            codebook_dim=width,
        )
    )
    for half, stack in (("encoder", network.encoder), ("decoder", network.decoder)):
        for number, module in enumerate(stack):
            _copy_module(source, f"{half}.model.{number}", module)
    source.layer("quant_conv", network.quant_conv)
    source.layer("post_quant_conv", network.post_quant_conv)
    source.copy("codebook.embedding.weight", network.quantizer.codebook)
    source.finish()
    return network


def _encoder_layout(source: Weights, size: int) -> tuple[int, tuple[int, ...], int]:
    """Blocks a stage, resolutions with attention, and codes a side, told by tensor names."""
    names = [re.fullmatch(r"encoder\.model\.(\d+)\.(.+)", name) for name in source.tensors]
    blocks, halvings = 0, 0
    attended: list[int] = []
    for _, name in sorted((int(m[1]), m[2]) for m in names if m):
        if name == "q.weight":
            attended.append(size >> halvings)
        elif name == "conv.weight":
            halvings += 1
        elif name == "block.2.weight" and halvings == 0:
            blocks += 1
    # the last attention is the one between the middle's blocks, which is always there
    return blocks, tuple(sorted(set(attended[:-1]))), size >> halvings


def _copy_module(source: Weights, name: str, module: nn.Module) -> None:
    if isinstance(module, ResnetBlock):
        source.layer(f"{name}.block.0.gn", module.norm1)
        source.layer(f"{name}.block.2", module.conv1)
        source.layer(f"{name}.block.3.gn", module.norm2)
        source.layer(f"{name}.block.5", module.conv2)
        if isinstance(module.shortcut, nn.Conv2d):
            source.layer(f"{name}.channel_up", module.shortcut)
    elif isinstance(module, AttnBlock):
        source.layer(f"{name}.gn.gn", module.norm)
        for letter, convolution in (("q", module.q), ("k", module.k), ("v", module.v)):
            source.layer(f"{name}.{letter}", convolution)
        # it is in the file, but their forward pass leaves it out
        source.take(f"{name}.proj_out.weight")
        source.take(f"{name}.proj_out.bias")
    elif isinstance(module, (Downsample, Upsample)):
        source.layer(f"{name}.conv", module.conv)
    elif isinstance(module, nn.GroupNorm):
        source.layer(f"{name}.gn", module)
    elif isinstance(module, nn.Conv2d):
        source.layer(name, module)


def _check_same(codec: Weights, copy: Weights) -> None:
    different = sorted(set(codec.tensors) ^ set(copy.tensors)) or [
        name for name, t in codec.tensors.items() if not torch.equal(t, copy.tensors[name])
    ]
    if different:
        raise CheckpointError(
            f"{copy.file}: was trained on another tokenizer than {codec.file} ('{different[0]}' "
            f"differs); give {copy.file.name} as the tokenizer too, to take the copy in it"
        )


def _video_model(source: Weights, settings: Settings, tokenizer: StagedVQGAN) -> VideoGPT:
    if settings.get("transformer.use_vqemb") is not True:
        raise CheckpointError(
            f"{settings.file}: use_vqemb is {settings.get('transformer.use_vqemb')!r}; "
            "only models that read codebook vectors (true) can be converted"
        )
    codes = tokenizer.config
    width, heads = settings.integer("transformer.n_embd"), settings.integer("transformer.n_head")
    if width % heads:
        raise CheckpointError(f"{settings.file}: n_embd {width} is no multiple of n_head {heads}")
    config = VideoGPTConfig(
        sequence_length=settings.integer("num_frames") + 1,  # theirs leaves out the scored one
        grid_size=codes.grid_size,
        codebook_size=codes.codebook_size,
        codebook_dim=codes.codebook_dim,
        embed_dim=width,
        mlp_dim=len(source.tensors.get("blocks.0.mlp.0.weight", ())),
        num_heads=heads,
        num_layers=settings.integer("transformer.n_layer"),
        positions="tokens",
        activation="gelu",
        norm_eps=1e-5,
    )
    model = VideoGPT(config).requires_grad_(False)
    model.codebook.copy_(tokenizer.quantizer.codebook.detach())
    source.layer("tok_emb", model.embed)
    # a window starts with a vector of this constant, embedded like any other
    constant = torch.full((codes.codebook_dim,), float(settings.integer("sos_token", least=0)))
    model.start.copy_(model.embed(constant))
    _copy_positions(source, model)
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        _copy_block(source, f"blocks.{number}", block, config.max_tokens)
    source.copy("ln_f.weight", model.norm.scale)
    source.copy("ln_f.bias", model.norm.bias)
    source.copy("head.weight", model.head.weight)
    nn.init.zeros_(model.head.bias)  # theirs has none
    source.finish()
    return model


def _copy_positions(source: Weights, model: VideoGPT) -> None:
    """Their table is longer than a window; what lies beyond was never trained."""
    table, tokens = source.take("pos_emb"), model.config.max_tokens
    rows = table.reshape(-1, table.shape[-1])[:tokens]
    untrained = (rows == 0).all(1)  # they start as zeros
    if untrained.any():
        raise CheckpointError(
            f"{source.file}: positions of {int((~untrained).sum())} tokens are trained, "
            f"config.yaml asks for {tokens}: it is another model's"
        )
    source.put("pos_emb", rows, model.position[0])


def _copy_block(source: Weights, name: str, block: Block, tokens: int) -> None:
    mask = source.take(f"{name}.attn.mask")[..., :tokens, :tokens].float()
    if not torch.equal(mask, torch.ones(1, 1, tokens, tokens).tril()):
        raise CheckpointError(f"{source.file}: '{name}.attn.mask' is not causal")
    for norm, theirs in ((block.norm_attention, "ln1"), (block.norm_mlp, "ln2")):
        source.copy(f"{name}.{theirs}.weight", norm.scale)
        source.copy(f"{name}.{theirs}.bias", norm.bias)
    fused = block.attention.qkv
    parts = zip(("query", "key", "value"), fused.weight.chunk(3), fused.bias.chunk(3), strict=True)
    for theirs, weight, bias in parts:
        source.copy(f"{name}.attn.{theirs}.weight", weight)
        source.copy(f"{name}.attn.{theirs}.bias", bias)
    source.layer(f"{name}.attn.proj", block.attention.out)
    source.layer(f"{name}.mlp.0", block.expand)
    source.layer(f"{name}.mlp.2", block.project)


def _plain(task: str) -> str:
    """Their door-close-v2 is what everybody else, and the ids, call door_close."""
    return re.sub(r"-v\d+$", "", task).replace("-", "_")


def _calibration(file: Path) -> dict[str, Calibration]:
    """Levels that give their standardised reward, (ln p - mean) / deviation."""
    levels = {}
    for task, pair in read_yaml(file).items():
        numbers = isinstance(pair, list) and [x for x in pair if isinstance(x, (int, float))]
        if not numbers or len(numbers) != 2 or len(pair) != 2:
            raise CheckpointError(f"{file}: {task} is {pair!r}, expected [mean, deviation]")
        mean, deviation = map(float, numbers)
        if not math.isfinite(mean) or not 0 < deviation < math.inf:
            raise CheckpointError(f"{file}: {task} is {pair!r}, expected a positive deviation")
        source = f"mean, and mean + one standard deviation, of {file.name} (diffusion_reward)"
        levels[_plain(str(task))] = Calibration(mean, mean + deviation, source)
    if not levels:
        raise CheckpointError(f"{file}: no tasks in it")
    return levels

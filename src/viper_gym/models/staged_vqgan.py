"""VQ-GAN in the layout of `diffusion_reward` (Huang et al. 2024), whose weights it can load.

The blocks are those of `VQGAN`; their order is another one. The encoder halves the
resolution behind every stage, the last one included, until the grid is reached; the decoder
doubles it behind its first stages. Attention adds its values without a last projection.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from viper_gym.models.vqgan import (
    AttnBlock,
    ConvTokenizer,
    Downsample,
    ResnetBlock,
    Upsample,
    group_norm,
)


@dataclass(frozen=True)
class StagedVQGANConfig:
    """Shape of a `StagedVQGAN`; the defaults are what their MetaWorld and Adroit configs say."""

    image_size: int = 64
    grid_size: int = 8
    channels: tuple[int, ...] = (128, 128, 256, 256)
    """width behind the first convolution, then of each encoder stage; the decoder has a stage
    for each of them, in reverse"""
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    z_channels: int = 64
    codebook_size: int = 1024
    codebook_dim: int = 64
    commitment_weight: float = 0.25


def _stage(c: StagedVQGANConfig, width: int, out_width: int, size: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for number in range(c.num_res_blocks):
        layers.append(ResnetBlock(out_width if number else width, out_width))
        if size in c.attn_resolutions:
            layers.append(AttnBlock(out_width, project=False))
    return layers


def _middle(width: int) -> list[nn.Module]:
    return [ResnetBlock(width, width), AttnBlock(width, project=False), ResnetBlock(width, width)]


def _encoder(c: StagedVQGANConfig) -> nn.Sequential:
    size, width = c.image_size, c.channels[0]
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1)]
    for out_width in c.channels[1:]:
        layers += _stage(c, width, out_width, size)
        width = out_width
        if size > c.grid_size:
            layers.append(Downsample(width))
            size //= 2
    layers += _middle(width)
    layers += [group_norm(width), nn.SiLU(), nn.Conv2d(width, c.z_channels, 3, padding=1)]
    return nn.Sequential(*layers)


def _decoder(c: StagedVQGANConfig) -> nn.Sequential:
    size, width = c.grid_size, c.channels[-1]
    layers: list[nn.Module] = [nn.Conv2d(c.z_channels, width, 3, padding=1), *_middle(width)]
    for out_width in reversed(c.channels):
        layers += _stage(c, width, out_width, size)
        width = out_width
        if size < c.image_size:
            layers.append(Upsample(width))
            size *= 2
    layers += [group_norm(width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=1)]
    return nn.Sequential(*layers)


class StagedVQGAN(ConvTokenizer):
    """Frames to codes and back."""

    config: StagedVQGANConfig

    def __init__(self, config: StagedVQGANConfig):
        super().__init__(config, _encoder(config), _decoder(config))

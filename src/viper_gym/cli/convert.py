"""`viper-gym convert`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Convert:
    """Turn a checkpoint of the VIPER authors (viper_rl, flax) into a bundle; needs no JAX.

    Their archives are on archive.org as tar parts (items `dmc_checkpoint_aa` and
    `atari_checkpoint_aa`, files `dmc.tar.partaa`, …). Join and unpack them with
    `cat dmc.tar.part* | tar x`; each model is then a folder with `args` and `checkpoints/`.
    """

    source: Annotated[Literal["viper-rl"], tyro.conf.Positional]
    tokenizer: Path
    """folder of the VQ-GAN, e.g. dmc_vqgan"""
    video_model: Path
    """folder of the VideoGPT, e.g. dmc_videogpt_l16_s1"""
    out: Path
    """folder for the bundle"""

    def run(self) -> None:
        from viper_gym.checkpoints.bundle import save_bundle
        from viper_gym.checkpoints.convert_viper_rl import convert_viper_rl

        save_bundle(convert_viper_rl(self.tokenizer, self.video_model), self.out)
        print(f"bundle: {self.out}")
        print(f"next: viper-gym evaluate --checkpoint {self.out} --calibrate --write")

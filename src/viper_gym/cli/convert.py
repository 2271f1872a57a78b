"""`viper-gym convert`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Convert:
    """Turn a published checkpoint into a bundle.

    viper-rl: the VIPER authors' (flax; needs no JAX). Their archives are on archive.org as
    tar parts (items `dmc_checkpoint_aa` and `atari_checkpoint_aa`, files `dmc.tar.partaa`,
    …). Join and unpack them with `cat dmc.tar.part* | tar x`; each model is then a folder
    with `args` and `checkpoints/`.

    diffusion-reward: the VIPER models of github.com/TEA-Lab/diffusion_reward (PyTorch, for
    MetaWorld and Adroit). Their Hub repository `tauhuang/diffusion_reward` has the VQ-GANs in
    `codec_models/vqgan/<domain>`: get the whole folder, `.hydra/config.yaml` included, with
    `hf download tauhuang/diffusion_reward --local-dir exp_local`. Their code expects the
    VideoGPT in `video_models/videogpt/<domain>`; where that folder is not on the Hub, their
    `scripts/train_videogpt.py` writes it.
    """

    source: Annotated[Literal["viper-rl", "diffusion-reward"], tyro.conf.Positional]
    tokenizer: Path
    """folder of the VQ-GAN, e.g. dmc_vqgan; diffusion-reward: its run folder or vqgan.pt, or
    videogpt.pt for the copy in it"""
    video_model: Path
    """folder of the VideoGPT, e.g. dmc_videogpt_l16_s1; diffusion-reward: its run folder or
    videogpt.pt"""
    out: Path
    """folder for the bundle"""
    statistics: Path | None = None
    """diffusion-reward: their statistics/viper/likelihood/<domain>.yaml, to get their
    standardised reward of its tasks"""
    rename: tuple[str, ...] = ()
    """tasks that the ids call otherwise, OLD=NEW: default=pong where a model has one task and no
    name for it"""

    def run(self) -> None:
        from viper_gym.checkpoints.bundle import save_bundle
        from viper_gym.errors import CheckpointError

        if self.source == "diffusion-reward":
            from viper_gym.checkpoints.convert_diffusion_reward import convert_diffusion_reward

            bundle = convert_diffusion_reward(self.tokenizer, self.video_model, self.statistics)
        elif self.statistics is not None:
            raise CheckpointError("--statistics is for diffusion-reward; viper-rl has none")
        else:
            from viper_gym.checkpoints.convert_viper_rl import convert_viper_rl

            bundle = convert_viper_rl(self.tokenizer, self.video_model)
        names = dict(_pair(entry) for entry in self.rename)
        bundle = replace(bundle, config=bundle.config.renamed(names))
        save_bundle(bundle, self.out)
        print(f"tasks: {', '.join(bundle.config.tasks)}")
        print(f"bundle: {self.out}")
        print(
            "the files do not say how its videos were drawn: compare camera, field of view and "
            "render quality with your frames' (the ids take view= and render_quality=)"
        )
        if self.source == "viper-rl":
            from viper_gym.cli.train import next_step

            print(f"next: {next_step(self.out.absolute())}")  # a bare name may be an alias
        elif self.statistics is None:
            print("no calibration: take reward_scale='per_token' or 'raw', or give --statistics")


def _pair(entry: str) -> tuple[str, str]:
    from viper_gym.errors import CheckpointError

    old, sign, new = entry.partition("=")
    if not (old and sign and new):
        raise CheckpointError(f"--rename: expected OLD=NEW, got {entry}")
    return old, new

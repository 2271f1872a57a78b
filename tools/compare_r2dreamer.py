"""Time one DreamerV3 update of this package beside one of NM512's r2dreamer, in turns.

    git clone https://github.com/NM512/r2dreamer && pip install tensordict omegaconf
    python tools/compare_r2dreamer.py --r2dreamer r2dreamer

Both get the paper's DMC sizes (state 512, 32x32 latents, two layers of 512, 32 channels) and
random batches of the same shape. They are not the same algorithm to the letter: r2dreamer learns
its actor by REINFORCE (no gradient through the imagined dynamics, which ours has), has residual
convolutions of kernel 5 that pool, another optimiser, and a value loss on the replayed steps.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
import tyro

from viper_gym.agents.dreamer.agent import Dreamer
from viper_gym.agents.dreamer.config import DreamerConfig
from viper_gym.agents.replay import SequenceBatch

ACTIONS = 6


@dataclass
class Arguments:
    r2dreamer: Path
    """a clone of github.com/NM512/r2dreamer"""
    precision: Literal["bf16", "fp32"] = "bf16"
    batch: int = 16
    length: int = 64
    updates: int = 3
    threads: int | None = None


def ours(args: Arguments) -> Callable[[], Any]:
    agent = Dreamer((64, 64, 3), ACTIONS, config=DreamerConfig("dmc"), precision=args.precision)
    rng, shape = np.random.default_rng(0), (args.batch, args.length)
    batch = SequenceBatch(
        rng.integers(0, 256, (*shape, 64, 64, 3), np.uint8),
        rng.uniform(-1, 1, (*shape, ACTIONS)).astype(np.float32),
        rng.normal(size=shape).astype(np.float32),
        np.zeros(shape, bool),
        np.zeros(shape, bool),
    )
    return lambda: agent.update(batch)


def theirs(args: Arguments) -> Callable[[], Any]:
    sys.path.insert(0, str(args.r2dreamer))
    import dreamer
    from omegaconf import OmegaConf
    from tensordict import TensorDict

    @contextlib.contextmanager
    def autocast(device_type: str, dtype: torch.dtype):  # it asks for float16, which CPUs do slowly
        with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
            yield

    dreamer.autocast = autocast
    config = OmegaConf.load(args.r2dreamer / "configs" / "model" / "_base_.yaml")
    config.device, config.rep_loss, config.compile = "cpu", "dreamer", False
    keys = {"mlp_keys": "$^", "cnn_keys": "image"}
    sizes = {"deter": 512, "hidden": 512, "discrete": 32, "depth": 32, "units": 512}
    config.model = {**sizes, "act": "SiLU", "norm": True}
    config.env = {"encoder": keys, "decoder": keys}
    config.rssm.blocks = config.rssm.img_layers = 1
    config.encoder.cnn.mults = config.decoder.cnn.mults = [1, 2, 4, 8]
    for head in ("reward", "cont", "actor", "critic"):
        config[head].layers = 2
    seen = gym.spaces.Dict(image=gym.spaces.Box(0, 255, (64, 64, 3), np.uint8))
    agent = dreamer.Dreamer(config, seen, gym.spaces.Box(-1, 1, (ACTIONS,)))
    shape = (args.batch, args.length)

    class Replay:
        def sample(self):
            flags = {
                k: torch.zeros(*shape, 1, dtype=torch.bool) for k in ("is_last", "is_terminal")
            }
            data = {
                "image": torch.randint(0, 256, (*shape, 64, 64, 3), dtype=torch.uint8),
                "action": torch.rand(*shape, ACTIONS) * 2 - 1,
                "reward": torch.randn(*shape, 1),
                "is_first": torch.zeros(shape, dtype=torch.bool),
                **flags,
            }
            start = (torch.zeros(args.batch, 32, 32), torch.zeros(args.batch, 512))
            return TensorDict(data, batch_size=shape), None, start

        def update(self, *state):
            pass

    replay = Replay()
    return lambda: agent.update(replay)


def main(args: Arguments) -> None:
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    ways = {"r2dreamer": theirs(args), "viper_gym": ours(args)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(args.updates + 1):
        for name, update in ways.items():
            began = time.perf_counter()
            update()
            if turn:  # the first warms up
                seconds[name].append(time.perf_counter() - began)
                print(f"{name}: {seconds[name][-1]:.2f} s an update", flush=True)
    ratio = np.mean(seconds["viper_gym"]) / np.mean(seconds["r2dreamer"])
    print(f"viper_gym takes {ratio:.2f} of r2dreamer's time ({args.precision})")


if __name__ == "__main__":
    main(tyro.cli(Arguments))

"""Settings of DreamerV3, and its sizes by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from viper_gym.errors import require_between, require_not_negative, require_positive

Size = Literal["dmc", "atari", "small", "tiny"]


@dataclass(frozen=True)
class Widths:
    """How large the networks of a size are."""

    deter: int
    """deterministic state of the RSSM ("RSSM size" in Table 3)"""
    units: int
    """of every hidden layer"""
    layers: int
    """hidden layers of every perceptron ("MLP size": layers x units)"""
    cnn_depth: int
    """channels of the first convolution"""
    stoch: int = 32
    """categorical latents"""
    classes: int = 32
    """of each latent"""


SIZES: dict[Size, Widths] = {
    "dmc": Widths(deter=512, units=512, layers=2, cnn_depth=32),  # paper Table 3
    "atari": Widths(deter=4096, units=1024, layers=4, cnn_depth=96),  # paper Table 3
    # for two CPU cores; not from the paper
    "small": Widths(deter=256, units=256, layers=2, cnn_depth=16, stoch=16, classes=16),
    "tiny": Widths(deter=64, units=64, layers=1, cnn_depth=8, stoch=8, classes=8),
}


@dataclass(frozen=True)
class DreamerConfig:
    """Paper Table 3; what it leaves open is as in the authors' configuration.

    Table 3's replay of a million steps is the trainer's `buffer_size`, whose default is a tenth.

    Raises:
        TrainingError: a setting that trains nothing.
    """

    size: Size = "dmc"
    """dmc and atari are the paper's; small and tiny are for CPUs"""
    batch_size: int = 16
    """sequences an update"""
    batch_length: int = 64
    """steps a sequence"""
    train_ratio: float = 64.0
    """replayed steps for every environment step (the authors' value for DMC from pixels)"""
    learning_rate: float = 1e-4
    adam_eps: float = 1e-6
    clip_gradient: float = 100.0
    """norm, of each of the networks' gradients"""
    dynamics_scale: float = 0.5
    """weight of the KL divergence that moves the prior"""
    representation_scale: float = 0.1
    """weight of the KL divergence that moves the posterior"""
    free_nats: float = 1.0
    """a step; KL divergence below it costs nothing"""
    unimix: float = 0.01
    """share of a uniform distribution in latents and discrete policies"""
    imag_horizon: int = 15
    """imagined steps"""
    discount: float = 0.995
    return_lambda: float = 0.95
    """of the λ-returns"""
    entropy_scale: float = 3e-4
    slow_critic_fraction: float = 0.02
    """share of the critic that enters the slow one at each update (Table 3: about 50 updates)"""
    bonus: Literal["none", "disagreement"] = "none"
    """disagreement: Plan2Explore, in imagination (Sekar et al. 2020)"""
    beta: float = 1.0
    """weight of the bonus: the advantages of reward and bonus, each in units of its own returns,
    are averaged with weights 1 and beta"""
    ensemble: int = 10
    """members that must agree"""

    def __post_init__(self) -> None:
        require_positive(
            batch_size=self.batch_size,
            batch_length=self.batch_length,
            learning_rate=self.learning_rate,
            imag_horizon=self.imag_horizon,
            discount=self.discount,  # what it makes of later steps is divided by it
            slow_critic_fraction=self.slow_critic_fraction,
            ensemble=self.ensemble,
        )
        require_not_negative(train_ratio=self.train_ratio, beta=self.beta)
        require_between(
            0,
            1,
            unimix=self.unimix,
            discount=self.discount,
            return_lambda=self.return_lambda,
            slow_critic_fraction=self.slow_critic_fraction,
        )

    @property
    def updates_per_step(self) -> float:
        """Updates for every environment step."""
        return self.train_ratio / (self.batch_size * self.batch_length)

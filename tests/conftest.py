"""Small real networks and environments; nothing here pretends to be a trained model."""

from __future__ import annotations

import os
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from viper_gym.checkpoints.bundle import Bundle, BundleConfig, Calibration
from viper_gym.models.patch_vq import PatchVQ, PatchVQConfig
from viper_gym.models.tokenizer import FrameTokenizer
from viper_gym.models.videogpt import VideoGPT, VideoGPTConfig
from viper_gym.models.vqgan import VQGAN, VQGANConfig

# two threads on busy cores are a hundred times slower than one for networks of this size
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

pytest_plugins = ["hub_fixtures"]

SIZE = 16  # pixels
GRID = 2


class BrightnessTokenizer(FrameTokenizer):
    """Code of a cell = its mean brightness in 16 levels: codes can be read off the frame."""

    def __init__(self):
        super().__init__()
        self.config = PatchVQConfig(SIZE, SIZE // GRID, codebook_size=16, codebook_dim=4, width=8)
        # (num_tasks is left at 1: this stand-in has no backgrounds)
        self.codebook = nn.Parameter(torch.randn(16, 4, generator=torch.Generator().manual_seed(0)))

    def encode(self, images: Tensor, task: Tensor | None = None) -> Tensor:
        cells = nn.functional.avg_pool2d(images.mean(1, keepdim=True), SIZE // GRID)[:, 0]
        return ((cells + 1) * 127.5 / 16).floor().clamp(0, 15).long()


def random_video_model(seed: int = 0, length: int = 4, classes: int = 2, **shape: int) -> VideoGPT:
    """A VideoGPT with weights far from their initialisation, so that every part matters."""
    torch.manual_seed(seed)
    base = dict(
        codebook_size=16, codebook_dim=4, embed_dim=24, mlp_dim=48, num_heads=2, num_layers=2
    )
    config = VideoGPTConfig(
        sequence_length=length, grid_size=GRID, num_classes=classes, **{**base, **shape}
    )
    model = VideoGPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.codebook.normal_()
    return model.requires_grad_(False)


@pytest.fixture(
    params=[{}, {"local_frames": 2}, {"local_frames": 2, "copy": True}],
    ids=["authors", "local", "copy"],
)
def layout(request):
    """The authors' video model, and ours without and with the gate for what stays."""
    return request.param


def toy_bundle(model: VideoGPT, stride: int = 1, tasks: tuple[str, ...] = ("a", "b")) -> Bundle:
    tokenizer = BrightnessTokenizer()
    config = BundleConfig(
        tokenizer_type="patch_vq",
        tokenizer=tokenizer.config,
        video_model=model.config,
        tasks=tasks,
        frame_stride=stride,
        calibration={t: Calibration(-20.0, -10.0) for t in tasks},
    )
    return Bundle(config, tokenizer, model)


def with_offsets(bundle: Bundle) -> Bundle:
    """The bundle with a calibration in which every number of context frames has an offset."""
    offsets = tuple(-7.0 + 3.0 * c for c in range(bundle.config.video_model.sequence_length))
    levels = {t: replace(c, by_context=offsets) for t, c in bundle.config.calibration.items()}
    bundle.config = replace(bundle.config, calibration=levels)
    return bundle


def small_bundle(kind: str = "patch_vq") -> Bundle:
    """Real networks that can be saved; two tasks, of which "a" is calibrated."""
    torch.manual_seed(0)
    if kind == "patch_vq":
        tokenizer = PatchVQ(PatchVQConfig(16, 8, 8, 4, 16, num_tasks=2))
    else:
        shape = VQGANConfig(16, 8, (1, 2), 1, (8,), 4, codebook_size=8, codebook_dim=4)
        tokenizer = VQGAN(shape)
    grid = tokenizer.config.grid_size
    video = VideoGPT(VideoGPTConfig(4, grid, 8, 4, 12, 24, 2, 1, num_classes=2))
    video.codebook.copy_(tokenizer.quantizer.codebook.detach())
    config = BundleConfig(
        kind, tokenizer.config, video.config, ("a", "b"), 2,
        preprocessing={"a": {"camera": 0}}, calibration={"a": Calibration(-3.0, -1.0, "x")},
    )  # fmt: skip
    return Bundle(config, tokenizer, video)


class CodedEnv(gym.Env):
    """Its frame encodes (episode, step): the left cells hold the one, the right cells the other.

    Environments whose `first` episode has another number show other frames. It reuses its
    observation buffer, as some environments do.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(
        self, length: int = 7, terminate: bool = False, pixels: bool = True, first: int = 0
    ):
        self.length, self.terminate, self.pixels = length, terminate, pixels
        self.render_mode = "rgb_array"
        self.action_space = gym.spaces.Discrete(2)
        image = gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.observation_space = image if pixels else gym.spaces.Box(-1, 99, (2,), np.float32)
        self.buffer = np.zeros((SIZE, SIZE, 3), np.uint8)
        self.episode = first - 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.t = 0
        return self._observe(), {}

    def step(self, action):
        self.t += 1
        over = self.t >= self.length
        done = over and self.terminate
        return self._observe(), 2.0, done, over and not done, {}

    def render(self):
        self._draw()
        return self.buffer

    def _draw(self):
        self.buffer[:] = coded_frame(self.episode, self.t)

    def _observe(self):
        self._draw()
        return self.buffer if self.pixels else np.array([self.episode, self.t], np.float32)


class Ones:
    """A bonus of 1 for every step."""

    def compute(self, transition):
        return np.ones(len(transition.frame), np.float32)

    def update(self, transition):
        pass

    def state_dict(self):
        return {}


def coded_frame(episode: int, t: int) -> np.ndarray:
    frame = np.zeros((SIZE, SIZE, 3), np.uint8)
    frame[:, : SIZE // 2] = 16 * (episode % 16) + 8
    frame[:, SIZE // 2 :] = 16 * (t % 16) + 8
    return frame


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)

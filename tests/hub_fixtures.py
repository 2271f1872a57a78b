"""One Hub for all tests, and a bundle to put on it.

The Hub's client reads its settings once, when it is imported. They are set here before, so that
whatever a test does, it meets this Hub and an empty home; so do the commands that tests start.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from conftest import small_bundle
from hub_server import HubServer
from viper_gym import VideoRewardModel
from viper_gym.checkpoints.bundle import save_bundle

NAME = "lab/walker"
FILES = ("config.json", "tokenizer.safetensors", "video_model.safetensors")
WEIGHTS = FILES[2]

_HUB = HubServer()
_HOME = TemporaryDirectory()
for _name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
    os.environ.pop(_name, None)
os.environ.update(
    HF_ENDPOINT=_HUB.url,
    HF_HOME=_HOME.name,
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    NO_PROXY="127.0.0.1,localhost",
)


@pytest.fixture
def hub() -> HubServer:
    """An empty Hub for the real client; see `hub_server`."""
    _HUB.reset()
    _HUB.plug_in()
    return _HUB


@pytest.fixture
def bundle(tmp_path) -> Path:
    """Folder of a bundle without a card."""
    save_bundle(small_bundle(), tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def files(bundle) -> dict[str, bytes]:
    """What a repository holds, things that are no part of a bundle among it."""
    extra = {"README.md": b"# mine\n", "evil.pkl": b"cos\nsystem", "sub/config.json": b"{}"}
    return {name: (bundle / name).read_bytes() for name in FILES} | extra


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def load(cache):
    """Loads NAME with a cache of the test's own."""

    def load(revision=None, checkpoint=NAME, **options):
        options = {"cache_dir": cache, "device": "cpu", "dtype": "fp32", **options}
        return VideoRewardModel.from_pretrained(checkpoint, revision, **options)

    return load


def rewards(model: VideoRewardModel) -> np.ndarray:
    frames = np.random.default_rng(0).integers(0, 255, (2, 6, 16, 16, 3)).astype(np.uint8)
    return model.compute_reward(frames, task="a")


def changed(content: bytes) -> bytes:
    """A config of the same model with another calibration."""
    return content.replace(b'"low": -3.0', b'"low": -4.0')

"""Masks: what they hide is hidden from training and from use, and bad ones are named."""

import numpy as np
import pytest
from PIL import Image

from viper_gym.data.episodes import Episode
from viper_gym.data.masks import load_masks, read_mask, write_mask
from viper_gym.data.videos import load_folder
from viper_gym.errors import VideoDataError


def test_frames_are_loaded_behind_the_mask_of_their_task(tmp_path, rng):
    frames = rng.integers(1, 256, (5, 16, 16, 3), np.uint8)
    for task in ("masked", "plain"):
        Episode(frames).save(tmp_path / task / "0.npz")
    mask = np.ones((16, 16))
    mask[:4, 3:] = 0
    write_mask(mask, tmp_path / "masked" / "mask.png")
    loaded = load_folder(tmp_path, 16, min_frames=2)
    assert np.array_equal(loaded["plain"][0].frames, frames)
    seen = loaded["masked"][0].frames
    assert not seen[:, :4, 3:].any()
    assert np.array_equal(seen[:, 4:], frames[:, 4:])
    assert np.array_equal(seen[:, :, :3], frames[:, :, :3])
    assert len(loaded["masked"]) == 1  # the mask itself is no video
    [(task, read)] = load_masks(tmp_path, 16).items()
    assert task == "masked" and np.array_equal(read, mask)


def test_unusable_masks_are_named(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"no picture")
    with pytest.raises(VideoDataError, match=r"mask\.png: not a readable picture"):
        read_mask(path, 16)
    Image.fromarray(np.full((8, 16), 255, np.uint8)).save(path)
    with pytest.raises(VideoDataError, match=r"expected a mask of 16x16, got \(8, 16\)"):
        read_mask(path, 16)
    Image.fromarray(np.full((16, 16), 200, np.uint8)).save(path)
    with pytest.raises(VideoDataError, match=r"black \(0\) and white \(255\) only, found \[200\]"):
        read_mask(path, 16)

"""A pair of words that no video showed is scored by what each of them is elsewhere.

That a network then does the right thing is another question, which the cross-embodiment
experiment asks: here, where blue squares only ever go left, it lets them go left.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from viper_gym.checkpoints.bundle import load_bundle
from viper_gym.data.episodes import Episode
from viper_gym.errors import TrainingError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.patch_vq import PatchVQConfig
from viper_gym.models.videogpt import VideoGPTConfig
from viper_gym.training.loop import LoopConfig
from viper_gym.training.tokenizer import PRESETS, TokenizerTraining, train_tokenizer
from viper_gym.training.video_model import VideoModelTraining, train_video_model

COLOURS = {"red": (220, 60, 40), "blue": (90, 150, 250)}
STEPS = {"left": -4, "right": 4}  # pixels: one cell of the tokenizer
SEEN = ("blue_left", "red_left", "red_right")
VIDEO = VideoGPTConfig(
    sequence_length=2, embed_dim=48, mlp_dim=96, num_heads=2, num_layers=2, local_frames=1
)


def moving(task: str, start: int) -> np.ndarray:
    """A square of one colour that goes one way: two frames, so that only the class says which."""
    colour, way = task.split("_")
    video = np.full((2, 16, 16, 3), 44 if colour == "red" else 40, np.uint8)
    for t in range(2):
        x = (4 * start + STEPS[way] * t) % 16
        video[t, 6:10, x : x + 4] = COLOURS[colour]
    return video


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Data of three of the four pairs, and tokenizers with one background and with three."""
    root = tmp_path_factory.mktemp("unseen")
    for task in SEEN:
        for start in range(12):
            Episode(moving(task, start)).save(root / "data" / task / f"{start}.npz")
    shape = PatchVQConfig(16, 4, codebook_size=32, codebook_dim=8, width=32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "small", replace(PRESETS["small"], model=shape))
        for name, shared, steps in (("tokenizer", True, 100), ("apart", False, 2)):
            loop = LoopConfig(out=root / name, steps=steps, eval_every=1000, device="cpu")
            train_tokenizer(
                TokenizerTraining(
                    root / "data",
                    batch_size=32,
                    learning_rate=3e-3,
                    shared_background=shared,
                    loop=loop,
                )
            )
    return root


def config(root, out: str, steps: int = 1, **changes) -> VideoModelTraining:
    loop = LoopConfig(out=root / out, steps=steps, eval_every=1000, device="cpu", precision="fp32")
    settings = VideoModelTraining(
        root / "data", root / "tokenizer", VIDEO, loop, frame_stride=1, batch_size=28,
        learning_rate=3e-3, frozen_context=0.0, empty_context=0.0,
        compositional=True, unseen=("blue_right",),
    )  # fmt: skip
    return replace(settings, **changes)


def test_the_bundle_serves_the_unseen_pair_by_the_sum_of_its_words(folders):
    bundle = load_bundle(train_video_model(config(folders, "model", 150)))
    assert bundle.config.tasks == (*SEEN, "blue_right")
    blue_left, red_left, red_right, blue_right = bundle.video_model.norm.scale
    assert (red_right - red_left).abs().max() > 1e-3  # it has learned something
    torch.testing.assert_close(blue_right, blue_left + red_right - red_left)
    model = VideoRewardModel(bundle, device="cpu", dtype="fp32")
    videos = np.stack([moving("blue_right", start) for start in range(4)])
    scores = [model.log_prob(videos, task=task)[:, 1] for task in model.tasks]
    assert np.isfinite(scores).all() and not np.allclose(scores[0], scores[3], atol=1e-4)


def test_unskilled_play_has_words_of_its_own(folders):
    """Classes are experts' of every task, then the same of play: the unseen pair is in between."""
    play = folders / "data"  # who plays like the experts is neither likelier nor less likely
    found = train_video_model(config(folders, "play", 150, play=play, tampered=0.2))
    bundle = load_bundle(found)
    assert bundle.config.contrast and bundle.config.tasks == (*SEEN, "blue_right")
    experts, played = bundle.video_model.norm.scale.chunk(2)  # (tasks, D) each
    assert (experts - played).abs().max() > 1e-3  # `tampered` is among the latter alone
    for blue_left, red_left, red_right, blue_right in (experts, played):
        assert (red_right - red_left).abs().max() > 1e-3
        torch.testing.assert_close(blue_right, blue_left + red_right - red_left)
    video = moving("blue_right", 0)[None]
    ratio = VideoRewardModel(bundle, device="cpu", dtype="fp32").log_prob(video, "blue_right")
    assert np.isfinite(ratio).all() and (ratio[:, 1:] != 0).any()


def test_what_does_not_fit_is_named(folders):
    with pytest.raises(TrainingError, match="there is video of red_left"):
        train_video_model(config(folders, "x", unseen=("red_left",)))
    with pytest.raises(TrainingError, match="not compositional"):
        train_video_model(config(folders, "x", compositional=False))
    with pytest.raises(TrainingError, match="equally many words"):
        train_video_model(config(folders, "x", unseen=("purple",)))
    with pytest.raises(TrainingError, match="--shared-background"):
        train_video_model(config(folders, "x", tokenizer=folders / "apart"))

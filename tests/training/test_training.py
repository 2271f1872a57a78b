"""Training on small real videos: it learns, it resumes exactly, it refuses what does not fit."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from viper_gym.checkpoints.bundle import (
    Calibration,
    load_bundle,
    load_tokenizer,
    read_config,
    save_tokenizer,
    write_config,
)
from viper_gym.data.episodes import Episode
from viper_gym.data.masks import write_mask
from viper_gym.errors import (
    CheckpointError,
    DependencyNotInstalled,
    TrainingError,
    VideoDataError,
)
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.discriminator import DiscriminatorConfig
from viper_gym.models.frames import to_input
from viper_gym.models.patch_vq import PatchVQ, PatchVQConfig
from viper_gym.models.videogpt import VideoGPTConfig
from viper_gym.models.vqgan import VQGANConfig
from viper_gym.training.adversarial import AdversarialConfig
from viper_gym.training.codes import encode_episodes, recorded_preprocessing
from viper_gym.training.loop import LoopConfig
from viper_gym.training.tokenizer import PRESETS, TokenizerTraining, train_tokenizer
from viper_gym.training.video_model import VideoModelTraining, train_video_model

# 16 codes are so few that two phases of the walk may share one, and whether it moves is a toss-up
SHAPE = PatchVQConfig(16, 4, codebook_size=32, codebook_dim=8, width=32)
LEFT = torch.zeros(1, dtype=torch.int64)  # the number of the task
VIDEO = VideoGPTConfig(sequence_length=4, embed_dim=48, mlp_dim=96, num_heads=2, num_layers=2)


def moving_square(start: int, direction: int, length: int = 16) -> np.ndarray:
    """A bright 4x4 square that walks one pixel a frame on a dark ground."""
    video = np.full((length, 16, 16, 3), 40, np.uint8)
    for t in range(length):
        x = (start + direction * t) % 13
        video[t, 6:10, x : x + 4] = (220, 160, 90)
    return video


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for task, direction in (("left", -1), ("right", 1)):
        for i in range(12):
            Episode(moving_square(i, direction)).save(root / task / f"{i}.npz")
    return root


def tokenizer_config(data, out, steps, **loop) -> TokenizerTraining:
    settings = LoopConfig(out=out, steps=steps, eval_every=1000, device="cpu", **loop)
    return TokenizerTraining(data, batch_size=32, learning_rate=3e-3, loop=settings)


@pytest.fixture(autouse=True, scope="module")
def tiny_presets():
    """16x16 videos: the presets' shapes, made to fit."""
    small, paper = PRESETS["small"], PRESETS["paper-dmc"]
    vqgan = VQGANConfig(16, 8, (1, 2, 2), 1, (), 8, codebook_size=16, codebook_dim=8)
    tiny = AdversarialConfig(0.1, 1.0, discriminator=DiscriminatorConfig(8, 16))
    PRESETS["small"] = replace(small, model=SHAPE)
    PRESETS["paper-dmc"] = replace(paper, model=vqgan, batch_size=16, adversarial=tiny)
    yield
    PRESETS.update({"small": small, "paper-dmc": paper})


@pytest.fixture(scope="module")
def tokenizer(data, tiny_presets, tmp_path_factory):
    return train_tokenizer(tokenizer_config(data, tmp_path_factory.mktemp("tok"), 400))


def video_config(data, tokenizer, out, steps, **loop) -> VideoModelTraining:
    settings = LoopConfig(
        out=out, steps=steps, eval_every=1000, device="cpu", precision="fp32", **loop
    )
    return VideoModelTraining(
        data, tokenizer, VIDEO, settings, frame_stride=1, batch_size=16, learning_rate=3e-3
    )


def metrics(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_tokenizer_draws_what_moves(tokenizer):
    final = metrics(tokenizer)[-1]
    for task in ("left", "right"):
        assert final[f"held_out/{task}/foreground_l1"] < 0.15
        assert final[f"held_out/{task}/flips_unchanged"] == 0.0
    assert list((tokenizer / "samples").glob("*.png"))


def test_a_tokenizer_of_videos_in_which_nothing_moves_has_no_foreground_to_measure(tmp_path):
    for i in range(3):
        Episode(moving_square(5, 0)).save(tmp_path / "data" / "still" / f"{i}.npz")
    train_tokenizer(tokenizer_config(tmp_path / "data", tmp_path / "out", 5))
    last = metrics(tmp_path / "out")[-1]
    assert last["held_out/still/foreground_l1"] == 0.0 and np.isfinite(list(last.values())).all()


def test_vqgan_preset_trains_with_its_discriminator(data, tmp_path):
    config = replace(tokenizer_config(data, tmp_path, 12), preset="paper-dmc")
    train_tokenizer(config)
    lines = metrics(tmp_path)
    assert lines[-2]["train/discriminator"] > 0
    kind, tasks, _, _ = load_tokenizer(tmp_path)
    assert (kind, tasks) == ("vqgan", ("left", "right"))


def test_the_perceptual_term_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)  # also where it is installed
    config = tokenizer_config(data, tmp_path, 1)
    assert train_tokenizer(replace(config, perceptual_weight=0.0)) == tmp_path
    with pytest.raises(DependencyNotInstalled, match=r'pip install "viper-gym\[lpips\]"'):
        train_tokenizer(replace(config, perceptual_weight=0.1))


def test_video_model_learns_the_motion_of_each_task(data, tokenizer, tmp_path):
    bundle = train_video_model(video_config(data, tokenizer, tmp_path, 1000))
    model = VideoRewardModel(load_bundle(bundle), device="cpu", dtype="fp32")
    assert model.tasks == ("left", "right")
    right = moving_square(2, 1, 10)[None]
    assert model.log_prob(right, "right").mean() > model.log_prob(right, "left").mean() + 1
    still = np.repeat(right[:, :1], 10, axis=1)
    assert model.log_prob(right, "right").mean() > model.log_prob(still, "right").mean() + 1


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """Of both tasks: squares that walk either way, or stand."""
    root = tmp_path_factory.mktemp("play")
    for task in ("left", "right"):
        for i in range(12):
            Episode(moving_square(i, i % 3 - 1)).save(root / task / f"{i}.npz")
    return root


def test_a_model_that_knows_play_pays_experts_and_charges_play(data, play, tokenizer, tmp_path):
    config = replace(video_config(data, tokenizer, tmp_path, 700), play=play)
    model = VideoRewardModel(load_bundle(train_video_model(config)), device="cpu", dtype="fp32")
    assert model.tasks == ("left", "right") and model.config.contrast
    assert list((tmp_path / "samples").glob("*.png"))
    ratio = {
        way: model.log_prob(moving_square(5, way, 8)[None], "right")[0, 1:].mean()
        for way in (1, -1)
    }
    # nats a frame; a third of the play does what experts do
    assert ratio[1] > 0.2 and ratio[-1] < -0.2, ratio


def test_with_tampered_windows_a_ratio_of_several_frames_sees_motion(data, tokenizer, tmp_path):
    for task in ("left", "right"):  # every place of the square, but no step as experts make it
        for i in range(12):
            Episode(moving_square(i, 3)).save(tmp_path / "play" / task / f"{i}.npz")
    config = replace(
        video_config(data, tokenizer, tmp_path / "out", 1000),
        play=tmp_path / "play",
        tampered=0.5,
        model=replace(VIDEO, local_frames=2),
    )
    model = VideoRewardModel(load_bundle(train_video_model(config)), device="cpu", dtype="fp32")
    walk = moving_square(5, 1, 4)
    still, other = np.repeat(walk[1:2], 4, 0), walk[[2, 0, 3, 1]]
    moves, rests, jumps = (
        float(model.log_prob(video[None], "right")[0, 1:].mean()) for video in (walk, still, other)
    )
    assert moves > 0.5 and rests < -0.5 and jumps < -0.5, (moves, rests, jumps)


def test_a_finished_run_that_is_resumed_keeps_what_was_measured(data, tokenizer, tmp_path):
    config = video_config(data, tokenizer, tmp_path, 3)
    folder = train_video_model(config)
    levels = {"left": Calibration(-2.0, -1.0, "by hand")}
    write_config(replace(read_config(folder), calibration=levels), folder)
    (folder / "README.md").write_text("a card")
    train_video_model(replace(config, loop=replace(config.loop, resume=True)))
    assert read_config(folder).calibration == levels
    assert (folder / "README.md").read_text() == "a card"
    # without `resume` it is another model, and the old one lies with its checkpoint
    train_video_model(replace(config, loop=replace(config.loop, seed=1)))
    assert not read_config(folder).calibration and not (folder / "README.md").exists()
    assert read_config(tmp_path / "previous" / "bundle").calibration == levels
    with pytest.raises(TrainingError, match=r"--init .* lies in --out"):
        train_video_model(replace(config, init=folder))
    # so it is where steps were added
    write_config(replace(read_config(folder), calibration=levels), folder)
    longer = replace(config.loop, seed=1, steps=5, resume=True)
    train_video_model(replace(config, loop=longer))
    assert not read_config(folder).calibration


def test_videos_of_cheap_behaviours_among_experts_are_warned_of(data, tokenizer, tmp_path, caplog):
    shutil.copytree(data, tmp_path / "mixed")
    train_video_model(video_config(tmp_path / "mixed", tokenizer, tmp_path / "one", 1))
    assert "learned as an expert's" not in caplog.text
    idle = Episode(moving_square(0, 0), meta={"behaviour": "zero"})
    idle.save(tmp_path / "mixed" / "left" / "zero" / "1.npz")
    train_video_model(video_config(tmp_path / "mixed", tokenizer, tmp_path / "two", 1))
    assert "videos of zero are learned as an expert's" in caplog.text


def test_play_that_does_not_fit_is_a_named_error(data, play, tokenizer, tmp_path):
    config = video_config(data, tokenizer, tmp_path, 1)
    (tmp_path / "one").mkdir()
    shutil.copytree(play / "left", tmp_path / "one" / "left")
    with pytest.raises(TrainingError, match=r"have the tasks \('left', 'right'\), .*\('left',\)"):
        train_video_model(replace(config, play=tmp_path / "one"))
    with pytest.raises(TrainingError, match="--tampered is a share of the windows of play"):
        train_video_model(replace(config, tampered=0.5))
    with pytest.raises(TrainingError, match="--last-frames: expected 4 or more"):
        train_video_model(replace(config, last_frames=3))
    with pytest.raises(VideoDataError, match="nowhere"):
        train_video_model(replace(config, play=tmp_path / "nowhere"))
    for name in ("grid_size", "codebook_size", "codebook_dim", "num_classes"):
        with pytest.raises(TrainingError, match=f"{name}: asked for 7, the tokenizer and the data"):
            train_video_model(replace(config, model=replace(config.model, **{name: 7})))


def test_a_task_of_one_video_is_told(data, tokenizer, tmp_path, caplog):
    for task, number in (("left", 1), ("right", 2)):
        (tmp_path / "few" / task).mkdir(parents=True)
        for i in range(number):
            shutil.copy(data / task / f"{i}.npz", tmp_path / "few" / task)
    train_video_model(video_config(tmp_path / "few", tokenizer, tmp_path / "out", 1))
    assert "one video only of left: held-out figures" in caplog.text


def test_the_ends_are_learned_from_and_what_experts_leave_behind_is_play(
    data, play, tokenizer, tmp_path, monkeypatch
):
    from viper_gym.training import video_model_steps as steps

    made = []

    class Spied(steps.WindowSampler):
        def __init__(self, codes, *arguments, **options):
            super().__init__(codes, *arguments, **options)
            made.append({task: [len(c) for c in items] for task, items in codes.items()})
            made.append(self._skipped)

    monkeypatch.setattr(steps, "WindowSampler", Spied)
    config = video_config(data, tokenizer, tmp_path, 1)
    train_video_model(replace(config, play=play, last_frames=12))
    lengths, skipped = made[:2]  # of training; 12 episodes of 16 frames a task, one held out
    assert lengths["left"] == [16] * 11 and skipped["left"] == [4] * 11
    # 12 beginnings and 12 of play, of each one held out
    assert lengths["left (play)"] == [4] * 11 + [16] * 11 and set(skipped["left (play)"]) == {0}


@pytest.mark.parametrize("which", ["tokenizer", "video-model"])
def test_resume_equals_an_unbroken_run(data, tokenizer, tmp_path, which):
    def train(out, steps, **loop):
        if which == "tokenizer":
            train_tokenizer(tokenizer_config(data, out, steps, **loop))
        else:  # evaluated twice before it is killed: the best weights are carried over, too
            config = video_config(data, tokenizer, out, steps, **loop)
            config = replace(config, loop=replace(config.loop, eval_every=6))
            train_video_model(config)
        return torch.load(out / "state.pt", weights_only=True)

    class Killed(Exception):
        pass

    whole = train(tmp_path / "whole", 30)
    # the same schedule, killed after step 14 (a checkpoint is written every step)
    from viper_gym.training import loop as loop_module

    original = loop_module.Loop._save

    def save_and_die(self, trainable):
        original(self, trainable)
        if self.step == 14:
            raise Killed

    loop_module.Loop._save = save_and_die
    try:
        with pytest.raises(Killed):
            train(tmp_path / "torn", 30, checkpoint_minutes=0.0)
    finally:
        loop_module.Loop._save = original
    resumed = train(tmp_path / "torn", 30, resume=True)
    assert resumed["step"] == whole["step"] == 30
    for name, module in whole["modules"].items():
        for key, value in module.items():
            assert torch.equal(value, resumed["modules"][name][key]), (name, key)


def test_resume_with_other_videos_is_refused(data, tokenizer, tmp_path):
    """The lowest held-out loss so far was of other videos, backgrounds are of other tasks."""
    more, out = tmp_path / "videos", tmp_path / "video-model"
    shutil.copytree(data, more)
    train_video_model(video_config(more, tokenizer, out, 3))
    train_tokenizer(tokenizer_config(more, tmp_path / "tokenizer", 3))
    Episode(moving_square(3, -1)).save(more / "left" / "more.npz")
    with pytest.raises(TrainingError, match=r"other settings: videos.*12 videos.*13 videos"):
        train_video_model(video_config(more, tokenizer, out, 6, resume=True))
    with pytest.raises(TrainingError, match=r"other settings: videos.*12 videos.*13 videos"):
        train_tokenizer(tokenizer_config(more, tmp_path / "tokenizer", 6, resume=True))


def test_the_size_that_all_videos_of_a_task_were_resized_from_is_recorded(caplog):
    def of(*sizes):
        return [Episode(moving_square(5, 0), None, {"resized_from": s} if s else {}) for s in sizes]

    found = recorded_preprocessing({"a": of([40, 60], [40, 60]), "b": of(None)})
    assert found == {"a": {"resized_from": [40, 60]}, "b": {}} and not caplog.records
    assert recorded_preprocessing({"a": of([40, 60], None)}) == {"a": {}}
    assert "several sizes" in caplog.text


def test_a_damaged_tokenizer_is_named(tokenizer, tmp_path):
    for text, named in (
        ("{", "damaged or foreign"),
        ('{"tokenizer_type": "x", "tasks": []}', "'x'"),
    ):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(CheckpointError, match=named):
            load_tokenizer(tmp_path)


def test_videos_recorded_in_two_ways_are_refused(data, tokenizer, tmp_path):
    seen = [{"camera": "side", "action_repeat": 2}, {}, {"camera": "front"}]
    episodes = [Episode(moving_square(i, 1), None, meta) for i, meta in enumerate(seen)]
    assert recorded_preprocessing({"a": episodes[:2]}) == {"a": seen[0]}
    assert recorded_preprocessing({"a": episodes[1::-1]}) == {"a": seen[0]}
    with pytest.raises(TrainingError, match="a: videos were recorded with camera side and front"):
        recorded_preprocessing({"a": episodes})
    experts, play = tmp_path / "experts", tmp_path / "play"
    for folder, camera in ((experts, "side"), (play, "front")):
        for task in ("left", "right"):
            Episode(moving_square(0, 1), None, {"camera": camera}).save(folder / task / "0.npz")
    config = replace(video_config(experts, tokenizer, tmp_path / "out", 3), play=play)
    with pytest.raises(TrainingError, match="camera front, the experts' videos with side"):
        train_video_model(config)


@pytest.mark.parametrize("option", ["frame_stride", "batch_size"])
def test_nothing_is_no_stride_and_no_batch(data, tokenizer, tmp_path, option):
    config = video_config(data, tokenizer, tmp_path, 3)
    with pytest.raises(TrainingError, match=f"{option}: expected more than 0, got 0"):
        replace(config, **{option: 0})


def test_codes_of_a_large_codebook_do_not_wrap():
    torch.manual_seed(0)
    tokenizer = PatchVQ(replace(SHAPE, codebook_size=40_000, num_tasks=1)).eval()
    [codes] = encode_episodes(tokenizer, [Episode(moving_square(0, 1))], 0)
    assert codes.dtype == np.int32 and codes.min() >= 0


def test_resume_with_other_settings_is_refused(data, tokenizer, tmp_path):
    train_video_model(video_config(data, tokenizer, tmp_path, 3))
    other = video_config(data, tokenizer, tmp_path, 5, resume=True)
    with pytest.raises(TrainingError, match=r"learning_rate=0\.003 \(now 0\.1\)"):
        train_video_model(replace(other, learning_rate=0.1))
    retrained = train_tokenizer(tokenizer_config(data, tmp_path / "retrained", 2))
    with pytest.raises(TrainingError, match="tokenizer="):
        train_video_model(replace(other, tokenizer=retrained))


def test_unwritable_folder_is_a_clear_error(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write to"):
        train_tokenizer(tokenizer_config(data, tmp_path / "file" / "run", 3))


def test_what_a_mask_hides_changes_no_reward(tmp_path, rng):
    """A score that counts up is hidden in training; in use it may show anything."""
    mask = np.ones((16, 16))
    mask[:4] = 0
    for i in range(6):
        video = moving_square(i, 1)
        video[:, :4] = rng.integers(0, 256, (16, 4, 16, 3))
        Episode(video).save(tmp_path / "data" / "game" / f"{i}.npz")
    write_mask(mask, tmp_path / "data" / "game" / "mask.png")
    tokenizer = train_tokenizer(tokenizer_config(tmp_path / "data", tmp_path / "tokenizer", 20))
    config = video_config(tmp_path / "data", tokenizer, tmp_path / "model", 5)
    bundle = load_bundle(train_video_model(config))
    assert np.array_equal(bundle.config.masks["game"], mask)
    model = VideoRewardModel(bundle, device="cpu", dtype="fp32")
    other = video.copy()
    other[:, :4] = 255 - other[:, :4]
    assert np.array_equal(model.log_prob(video[None], "game"), model.log_prob(other[None], "game"))
    other[:, 4:] = 255 - other[:, 4:]
    assert not np.allclose(model.log_prob(video[None], "game"), model.log_prob(other[None], "game"))
    (tmp_path / "data" / "game" / "mask.png").unlink()
    with pytest.raises(TrainingError, match="tokenizer was trained behind other masks"):
        train_video_model(config)
    bare = train_tokenizer(tokenizer_config(tmp_path / "data", tmp_path / "bare", 2))
    config = replace(config, loop=replace(config.loop, out=tmp_path / "another"))
    with pytest.raises(TrainingError, match="bundle was trained behind other masks"):
        train_video_model(replace(config, init=tmp_path / "model" / "bundle", tokenizer=bare))


@pytest.mark.parametrize("half", [False, True])
def test_fine_tuning_starts_from_the_bundle_given(half, data, tokenizer, tmp_path):
    """One step at a vanishing learning rate leaves the weights where the bundle had them."""
    first = train_video_model(replace(video_config(data, tokenizer, tmp_path / "a", 20), half=half))
    config = video_config(data, tokenizer, tmp_path / "b", 1)
    second = train_video_model(replace(config, init=first, learning_rate=1e-9))
    rounded = replace(config, init=first, half=True, loop=replace(config.loop, out=tmp_path / "c"))
    assert (train_video_model(rounded) / "config.json").exists()  # the same tokenizer, too
    a, b = (load_bundle(f).video_model.state_dict() for f in (first, second))
    # the codebook is the tokenizer's, of which a half bundle has a rounded one
    assert all(torch.allclose(a[k], b[k], atol=1e-6) for k in a if k != "codebook")
    other = train_tokenizer(tokenizer_config(data, tmp_path / "other", 2))
    with pytest.raises(TrainingError, match="another tokenizer"):
        train_video_model(replace(config, init=first, tokenizer=other))


def test_a_bundle_of_half_the_size_encodes_as_its_training_did(
    data, tokenizer, tmp_path, monkeypatch
):
    """Two codes so near that float16 makes them one: in use every cell would take the first."""
    saved = load_tokenizer(tokenizer)
    videos = [Episode.load(path) for path in sorted((data / "left").glob("*.npz"))]
    codebook = saved.network.quantizer.codebook
    used = np.concatenate(encode_episodes(saved.network, videos, 0)).ravel()
    common = np.bincount(used, minlength=len(codebook)).argsort()[::-1]
    first, twin = sorted(int(c) for c in (common[0], common[-1]))
    with torch.no_grad():
        ground = saved.network.latents(to_input(torch.from_numpy(videos[0].frames[:1])), LEFT)
        near = (ground[0, 0, 0] + 0.1).half().float()
        codebook[(codebook - near).norm(dim=1) < 1] = -near  # nothing else is as near
        # the first is the farther one, by less than float16 tells apart there
        codebook[first] = near + 1e-4 * (near.abs() > 0.5)
        codebook[twin] = near
    assert (encode_episodes(saved.network, videos, 0)[0] == twin).mean() > 0.4
    save_tokenizer(saved.network, saved.tasks, saved.masks, tmp_path / "twins")
    taught = []

    def spy(network, episodes, task):
        taught.append((episodes, encode_episodes(network, episodes, task)))
        return taught[-1][1]

    monkeypatch.setattr("viper_gym.training.video_model.encode_episodes", spy)
    config = replace(video_config(data, tmp_path / "twins", tmp_path / "out", 1), half=True)
    bundle = load_bundle(train_video_model(config))
    assert len(taught) == 2  # tasks
    assert (taught[0][1][0] == first).mean() > 0.4  # most of the ground
    for task, (episodes, codes) in enumerate(taught):
        again = encode_episodes(bundle.tokenizer, episodes, task)
        assert all(np.array_equal(a, b) for a, b in zip(codes, again, strict=True))


def test_the_bundle_holds_the_weights_that_did_best_on_held_out_videos(data, tokenizer, tmp_path):
    """The third video, which is held out, jumps where the others walk: the surer of the walk the
    model is, the less likely it finds the jumps."""
    rng = np.random.default_rng(0)
    for task in ("left", "right"):
        for i in range(4):
            walk = moving_square(i, 1, 16)
            jumps = np.stack([moving_square(int(x), 0, 1)[0] for x in rng.integers(0, 13, 16)])
            Episode(jumps if i == 2 else walk).save(tmp_path / "jumps" / task / f"{i}.npz")
    config = video_config(tmp_path / "jumps", tokenizer, tmp_path / "out", 400)
    config = replace(config, loop=replace(config.loop, eval_every=50))
    with pytest.warns(UserWarning, match="the bundle has the weights of the former"):
        bundle = load_bundle(train_video_model(config))
    losses = [
        m["held_out/nats_per_token"] for m in metrics(config.loop.out) if "held_out/best" in m
    ]
    assert losses[-1] > min(losses) + 0.01  # by how much hangs on the machine's arithmetic
    assert metrics(config.loop.out)[-1]["held_out/best"] == min(losses)
    kept = torch.load(config.loop.out / "state.pt", weights_only=True)["modules"]
    head = bundle.video_model.head.weight
    assert torch.equal(head, kept["best"]["network.head.weight"])
    assert not torch.equal(head, kept["ema"]["head.weight"])
    config = replace(config, keep_best=False, loop=replace(config.loop, resume=True))
    with pytest.warns(UserWarning, match="not kept are those of the former"):
        head = load_bundle(train_video_model(config)).video_model.head.weight
    assert torch.equal(head, kept["ema"]["head.weight"])


def test_a_run_begun_before_best_weights_were_kept_goes_on(data, tokenizer, tmp_path):
    train_video_model(video_config(data, tokenizer, tmp_path, 4))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["modules"]["best"]
    torch.save(state, tmp_path / "state.pt")
    bundle = load_bundle(train_video_model(video_config(data, tokenizer, tmp_path, 8, resume=True)))
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 8
    head = state["modules"]["ema"]["head.weight"]  # the only weights it has evaluated
    assert torch.equal(bundle.video_model.head.weight, head)

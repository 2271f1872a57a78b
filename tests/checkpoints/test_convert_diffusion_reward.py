"""Converted checkpoints of diffusion_reward, held against their forward pass written out."""

import pickle
import sys

import pytest
import torch
from diffusion_reward_layout import (
    CODES,
    FRAMES,
    SKIP,
    VIDEOGPT_YAML,
    VQGAN_YAML,
    WIDTH,
    decode,
    encode,
    latents,
    random_codec,
    random_transformer,
    save,
    token_log_probs,
    video,
)

from viper_gym.checkpoints.bundle import load_bundle, save_bundle
from viper_gym.checkpoints.convert_diffusion_reward import convert_diffusion_reward
from viper_gym.cli import main
from viper_gym.errors import CheckpointError
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.kv_cache import KVCache


@pytest.fixture(autouse=True)
def one_thread():
    """Operations this small are slower on two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path):
    """Both run folders as published: (folder, tokenizer tensors, transformer tensors)."""
    torch.manual_seed(1)
    codec, transformer = random_codec(), random_transformer()
    both = {f"vqgan.{k}": v for k, v in codec.items()}
    both |= {f"transformer.{k}": v for k, v in transformer.items()}
    for name, state, text in (
        ("vqgan", codec, VQGAN_YAML),
        ("videogpt", both, VIDEOGPT_YAML),
    ):
        folder = tmp_path / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / "results" / "checkpoints").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").write_text(text)
        save(state, checkpoint(tmp_path, name))
    return tmp_path, codec, transformer


def checkpoint(folder, name):
    return folder / name / "results" / "checkpoints" / f"{name}.pt"


def convert(folder, statistics=None):
    return convert_diffusion_reward(folder / "vqgan", folder / "videogpt", statistics)


def test_codes_pictures_and_log_probs_are_equal(run, tmp_path):
    folder, codec, transformer = run
    save_bundle(convert(folder), tmp_path / "bundle")  # the numbers must survive the round trip
    bundle = load_bundle(tmp_path / "bundle")
    model = VideoRewardModel(bundle, device="cpu", dtype="fp32")
    frames = video(12)
    codes = encode(frames, codec)
    assert codes.unique().numel() > CODES // 2
    ours = model.encode(frames, model.task_numbers(None, 12))
    # one of 192 is a tie but for 2e-6 of 3.9, which the order of additions decides on some CPUs
    distances = [
        (latents(frames, codec) - codec["codebook.embedding.weight"][c]).square().sum(-1)
        for c in (ours, codes)
    ]
    assert (distances[0] - distances[1]).abs().max() < 1e-4
    assert (ours != codes).sum() <= 1
    drawn = bundle.tokenizer.decode(codes, torch.zeros(12, dtype=torch.int64))
    assert (drawn - decode(codes, codec)).abs().max() < 1e-4

    windows = torch.stack([codes[t : t + FRAMES] for t in range(10)])
    expected = token_log_probs(windows, codec, transformer)
    assert expected.std() > 0.5
    video_model = bundle.video_model
    assert (video_model.log_prob(windows) - expected).abs().max() < 1e-4
    cache = KVCache.for_config(video_model.config, 10, torch.device("cpu"), torch.float32)
    parts = [video_model.extend(windows[:, t : t + 1], cache) for t in range(FRAMES)]
    assert (torch.cat(parts, 1) - expected).abs().max() < 1e-4


def test_reward_is_theirs_on_full_windows(run, tmp_path):
    """Early frames differ on purpose: they repeat the scored frame as its own context."""
    folder, codec, transformer = run
    (tmp_path / "adroit.yaml").write_text("door-v0:\n- -50.5\n- 18.0\npen-v0:\n- -24\n- 13\n")
    bundle = convert(folder, tmp_path / "adroit.yaml")
    assert bundle.config.tasks == ("door", "pen")  # as the ids have it
    model = VideoRewardModel(bundle, device="cpu", dtype="fp32")
    frames = video(9)
    codes = encode(frames, codec)
    rewards = model.compute_reward(frames[None], "pen")[0]  # entry t scores frame t + 1
    for t in range((FRAMES - 1) * SKIP, 9):
        window = codes[[t - 2 * SKIP, t - SKIP, t]][None]
        last = token_log_probs(window, codec, transformer)[0, -1].sum()
        assert abs(float(rewards[t - 1]) - (float(last) + 24) / 13) < 1e-4


def test_converted_config_comes_from_the_files(run):
    config = convert(run[0]).config
    assert (config.tasks, config.frame_stride, config.policy.kind) == (("adroit",), SKIP, "exact")
    assert (config.tokenizer.attn_resolutions, config.tokenizer.num_res_blocks) == ((16,), 2)
    video_model = config.video_model
    assert (video_model.sequence_length, video_model.mlp_dim) == (FRAMES, 4 * WIDTH)


def test_command(run, tmp_path, monkeypatch, capsys):
    folder = run[0]
    checkpoint(folder, "vqgan").unlink()  # the video model carries a copy
    gpt = str(checkpoint(folder, "videogpt"))
    out = tmp_path / "bundle"
    command = ["viper-gym", "convert", "diffusion-reward", "--tokenizer", gpt]
    monkeypatch.setattr(sys, "argv", [*command, "--video-model", gpt, "--out", str(out)])
    main()
    assert "no calibration" in capsys.readouterr().out
    assert load_bundle(out).config.tokenizer_type == "staged_vqgan"
    monkeypatch.setattr(sys, "argv", ["viper-gym", "convert", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert "tauhuang/diffusion_reward" in capsys.readouterr().out


# === named errors ===


class Evil:
    def __reduce__(self):
        return (print, ("imported",))


def test_missing_files(run):
    folder = run[0]
    with pytest.raises(CheckpointError, match=r"elsewhere: missing; expected videogpt\.pt"):
        convert_diffusion_reward(folder / "vqgan", folder / "elsewhere")
    (folder / "vqgan" / ".hydra" / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"vqgan\.pt: its config is missing"):
        convert(folder)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["vqgan", "videogpt"])
def test_a_pickle_that_wants_to_import_is_refused(run, name, zipped, capsys):
    file = checkpoint(run[0], name)
    torch.save({"weight": Evil()}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"{name}\.pt: refused to import .*print"):
        convert(run[0])
    assert "imported" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["vqgan", "videogpt"])
def test_truncated_and_foreign_files(run, name):
    file = checkpoint(run[0], name)
    data = file.read_bytes()
    for broken in (data[: len(data) // 2], b"", b"text", pickle.dumps({"a": 1}, 2)):
        file.write_bytes(broken)
        with pytest.raises(CheckpointError, match=rf"{name}\.pt: not a readable PyTorch checkp"):
            convert(run[0])
    torch.save({"epoch": 3}, file)
    with pytest.raises(CheckpointError, match="expected a state dict"):
        convert(run[0])
    torch.save({"fc.weight": torch.zeros(2)}, file)
    with pytest.raises(CheckpointError, match=rf"{name}\.pt: "):
        convert(run[0])


def rewrite(folder, name, change):
    """Change tensors of a checkpoint, and of the tokenizer's copy with it."""
    for owner, prefix in (("videogpt", "vqgan." if name == "vqgan" else ""), (name, "")):
        state = torch.load(checkpoint(folder, owner), weights_only=True)
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        rest = {k: v for k, v in state.items() if not k.startswith(prefix)}
        change(part)
        save(rest | {prefix + k: v for k, v in part.items()}, checkpoint(folder, owner))
        if name == "videogpt":
            return


BROKEN = [
    ("vqgan", lambda s: s["quant_conv.bias"].fill_(torch.nan), "quant_conv.bias' has NaN"),
    ("vqgan", lambda s: s.update(extra=torch.zeros(1)), r"unknown tensors \['extra'\]"),
    ("vqgan", lambda s: s.pop("encoder.model.5.proj_out.bias"), "proj_out.bias' is missing"),
    ("videogpt", lambda s: s["transformer.head.weight"].fill_(torch.inf), "head.weight' has NaN"),
    ("videogpt", lambda s: s.update(extra=torch.zeros(1)), r"unknown tensors \['extra'\]"),
    ("videogpt", lambda s: s.pop("transformer.ln_f.bias"), "ln_f.bias' is missing"),
    ("videogpt", lambda s: s["transformer.blocks.1.attn.mask"].fill_(1), "is not causal"),
    (
        "videogpt",
        lambda s: s.update({"transformer.tok_emb.weight": torch.zeros(WIDTH, 8)}),
        r"tok_emb\.weight' gives \(32, 8\), .* say \(32, 16\)",
    ),
    (
        "videogpt",
        lambda s: s.update({"transformer.head.weight": torch.zeros(30, WIDTH)}),
        r"head\.weight' gives \(30, 32\), .* say \(24, 32\)",
    ),
    (
        "videogpt",
        lambda s: s["vqgan.codebook.embedding.weight"].add_(1),
        r"was trained on another tokenizer than .* give videogpt\.pt as the tokenizer too",
    ),
    (
        "videogpt",
        lambda s: s["transformer.pos_emb"][:, 32:].zero_(),
        "positions of 32 tokens are trained, config.yaml asks for 48",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), BROKEN)
def test_tensors_that_do_not_fit(run, name, change, message):
    rewrite(run[0], name, change)
    with pytest.raises(CheckpointError, match=message):
        convert(run[0])


SETTINGS = [
    ("vqgan", "latent_size: 4", "latent_size: 8", "makes 4 codes a side of 32 pixels"),
    ("vqgan", "num_codebook_vectors: 24", "num_codebook_vectors: 12", r"say \(12, 16\)"),
    ("vqgan", "channels:", "channels: 3\nother:", "channels is 3, expected integers"),
    ("vqgan", "image_size: 32", "image_size: ${resolution}", "refers to itself"),
    ("vqgan", "image_size: 32", "image_size: [", "not a readable YAML file"),
    ("vqgan", VQGAN_YAML, "text", "expected a mapping, got str"),
    ("videogpt", "n_head: 2", "n_head: 5", "n_embd 32 is no multiple of n_head 5"),
    ("videogpt", "n_layer: 2", "n_layer: 1", "unknown tensors"),
    ("videogpt", "num_frames: 2", "num_frames: x", "num_frames is 'x', expected an integer"),
    ("videogpt", "frame_skip: 3", "", "'frame_skip' is missing"),
    ("videogpt", "use_vqemb: true", "use_vqemb: false", "use_vqemb is False"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), SETTINGS)
def test_settings_that_do_not_fit(run, name, old, new, message):
    file = run[0] / name / ".hydra" / "config.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(CheckpointError, match=message):
        convert(run[0])


def test_a_config_with_unknown_parts_is_refused(run, tmp_path):
    save_bundle(convert(run[0]), tmp_path / "bundle")
    file = tmp_path / "bundle" / "config.json"
    file.write_text(file.read_text().replace('"gelu"', '"relu"'))
    with pytest.raises(CheckpointError, match=r"config\.json: video_model: .*activation 'relu'"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("text", ["{}", "pen-v0: 3", "pen-v0: [1, 0]", "pen-v0: [.nan, 1]"])
def test_statistics_that_make_no_scale(run, tmp_path, text):
    (tmp_path / "adroit.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=r"adroit\.yaml: "):
        convert(run[0], tmp_path / "adroit.yaml")

"""The layout of diffusion_reward: a stand-in of random weights, and its forward pass.

Written on the raw tensors from what the published code does, without this package's networks.
"""

from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F

# What a position of their Sequential holds, for 32 pixels, 4 codes a side and channels
# [32, 32, 64, 64]: attention where the picture has 16 pixels, and in the middle.
ENCODER = [
    ("conv", 3, 32),
    *[("res", 32, 32), ("res", 32, 32), ("down", 32)],
    *[("res", 32, 64), ("attn", 64), ("res", 64, 64), ("attn", 64), ("down", 64)],
    *[("res", 64, 64), ("res", 64, 64), ("down", 64)],
    *[("res", 64, 64), ("attn", 64), ("res", 64, 64)],
    *[("norm", 64), ("swish",), ("conv", 64, 16)],
]
DECODER = [
    *[("conv", 16, 64), ("res", 64, 64), ("attn", 64), ("res", 64, 64)],
    *[("res", 64, 64), ("res", 64, 64), ("up", 64)],
    *[("res", 64, 64), ("res", 64, 64), ("up", 64)],
    *[("res", 64, 32), ("attn", 32), ("res", 32, 32), ("attn", 32), ("up", 32)],
    *[("res", 32, 32), ("res", 32, 32)],
    *[("norm", 32), ("swish",), ("conv", 32, 3)],
]
CODES, DIM, GRID, WIDTH, HEADS, LAYERS, BLOCK_SIZE = 24, 16, 4, 32, 2, 2, 80
FRAMES, SKIP = 3, 3  # a window, the scored frame included; frames between two of it
TOKENS = FRAMES * GRID**2

CODEC_YAML = """
latent_dim: 16
code_dim: 16
num_codebook_vectors: 24
channels:
- 32
- 32
- 64
- 64
resolution: ${image_size}
latent_size: 4
image_channels: 3
beta: 0.25
device: cuda
"""
VQGAN_YAML = f"cwd: ${{hydra:runtime.output_dir}}\nimage_size: 32\ndomain: adroit\n{CODEC_YAML}"
VIDEOGPT_YAML = (
    f"domain: adroit\ncodec:{CODEC_YAML.replace(chr(10), chr(10) + '  ')}\n"
    """transformer:
  vocab_size: ${codec.num_codebook_vectors}
  block_size: 80
  n_layer: 2
  n_head: 2
  n_embd: 32
  use_vqemb: ${use_vqemb}
  code_dim: ${codec.code_dim}
pkeep: 0.8
sos_token: 2
num_frames: 2
frame_skip: 3
use_vqemb: true
image_size: 32
"""
)
State = dict[str, torch.Tensor]


def random_codec() -> State:
    """Weights far from an initialisation, norms and the unused projections included."""
    state: State = OrderedDict()

    def conv(name: str, a: int, b: int, k: int) -> None:
        state[f"{name}.weight"] = torch.randn(b, a, k, k) / (a * k * k) ** 0.5
        state[f"{name}.bias"] = 0.3 * torch.randn(b)

    def norm(name: str, width: int) -> None:
        state[f"{name}.weight"] = 1 + 0.3 * torch.randn(width)
        state[f"{name}.bias"] = 0.3 * torch.randn(width)

    for half, layers in (("encoder", ENCODER), ("decoder", DECODER)):
        for number, (kind, *widths) in enumerate(layers):
            name = f"{half}.model.{number}"
            if kind == "conv":
                conv(name, *widths, 3)
            elif kind in ("down", "up"):
                conv(f"{name}.conv", *widths, *widths, 3)
            elif kind == "norm":
                norm(f"{name}.gn", *widths)
            elif kind == "attn":
                norm(f"{name}.gn.gn", *widths)
                for part in ("q", "k", "v", "proj_out"):
                    conv(f"{name}.{part}", *widths, *widths, 1)
            elif kind == "res":
                a, b = widths
                norm(f"{name}.block.0.gn", a)
                conv(f"{name}.block.2", a, b, 3)
                norm(f"{name}.block.3.gn", b)
                conv(f"{name}.block.5", b, b, 3)
                if a != b:
                    conv(f"{name}.channel_up", a, b, 1)
    conv("quant_conv", DIM, DIM, 1)
    conv("post_quant_conv", DIM, DIM, 1)
    z = latents(video(4, seed=1), state).flatten(0, 2)
    state["codebook.embedding.weight"] = z[torch.randperm(len(z))[:CODES]]
    return state


def random_transformer() -> State:
    state: State = OrderedDict()

    def linear(name: str, a: int, b: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = 0.2 * torch.randn(b, a), torch.randn(b) / 3

    def norm(name: str) -> None:
        state[f"{name}.weight"] = 1 + 0.3 * torch.randn(WIDTH)
        state[f"{name}.bias"] = 0.3 * torch.randn(WIDTH)

    state["pos_emb"] = torch.zeros(1, BLOCK_SIZE, WIDTH)
    state["pos_emb"][:, :TOKENS] = 0.5 * torch.randn(TOKENS, WIDTH)
    linear("tok_emb", DIM, WIDTH)
    # small inputs, so that the constant inside the norms is seen
    for name in ("pos_emb", "tok_emb.weight", "tok_emb.bias"):
        state[name] *= 0.02
    for number in range(LAYERS):
        block = f"blocks.{number}"
        norm(f"{block}.ln1")
        norm(f"{block}.ln2")
        state[f"{block}.attn.mask"] = torch.ones(1, 1, BLOCK_SIZE, BLOCK_SIZE).tril()
        for part in ("key", "query", "value", "proj"):
            linear(f"{block}.attn.{part}", WIDTH, WIDTH)
        linear(f"{block}.mlp.0", WIDTH, 4 * WIDTH)
        linear(f"{block}.mlp.2", 4 * WIDTH, WIDTH)
    norm("ln_f")
    state["head.weight"] = 0.3 * torch.randn(CODES, WIDTH)
    return state


def save(state: State, file) -> None:
    """As `torch.save(module.state_dict())` does, which notes versions in an attribute."""
    state = OrderedDict(state)
    state._metadata = OrderedDict({"": {"version": 1}})
    torch.save(state, file)


def video(length: int, seed: int = 0) -> np.ndarray:
    """Blocks that come and go: (T, 32, 32, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (length, 4, 4, 3))
    return coarse.repeat(8, 1).repeat(8, 2).astype(np.uint8)


# === their forward pass ===


def conv(x, s, name, stride=1):
    weight = s[f"{name}.weight"]
    padding = weight.shape[-1] // 2 if stride == 1 else 0
    return F.conv2d(x, weight, s[f"{name}.bias"], stride, padding)


def group_norm(x, s, name):
    return F.group_norm(x, 32, s[f"{name}.gn.weight"], s[f"{name}.gn.bias"], 1e-6)


def attention_of_pixels(x, s, name):
    h = group_norm(x, s, f"{name}.gn")
    q, k, v = (conv(h, s, f"{name}.{part}").flatten(2) for part in "qkv")  # (B, C, HW)
    scores = torch.einsum("bci,bcj->bij", q, k) / x.shape[1] ** 0.5
    mixed = torch.einsum("bij,bcj->bci", scores.softmax(-1), v)
    return x + mixed.view_as(x)  # proj_out takes no part


def stack(x, s, half, layers):
    for number, (kind, *_) in enumerate(layers):
        name = f"{half}.model.{number}"
        if kind == "conv":
            x = conv(x, s, name)
        elif kind == "down":
            x = conv(F.pad(x, (0, 1, 0, 1)), s, f"{name}.conv", stride=2)
        elif kind == "up":
            x = conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), s, f"{name}.conv")
        elif kind == "norm":
            x = group_norm(x, s, name)
        elif kind == "swish":
            x = x * x.sigmoid()
        elif kind == "attn":
            x = attention_of_pixels(x, s, name)
        elif kind == "res":
            h = group_norm(x, s, f"{name}.block.0")
            h = conv(h * h.sigmoid(), s, f"{name}.block.2")
            h = group_norm(h, s, f"{name}.block.3")
            h = conv(h * h.sigmoid(), s, f"{name}.block.5")
            skip = conv(x, s, f"{name}.channel_up") if f"{name}.channel_up.weight" in s else x
            x = skip + h
    return x


def latents(frames, s):
    """uint8 (T, H, W, 3) -> (T, h, w, DIM)."""
    x = torch.from_numpy(frames).permute(0, 3, 1, 2) / 127.5 - 1
    return conv(stack(x, s, "encoder", ENCODER), s, "quant_conv").permute(0, 2, 3, 1)


def encode(frames, s):
    """uint8 (T, H, W, 3) -> codes (T, h, w)."""
    z = latents(frames, s)
    return torch.cdist(z.flatten(0, 2), s["codebook.embedding.weight"]).argmin(1).view(z.shape[:3])


def decode(codes, s):
    z = s["codebook.embedding.weight"][codes].permute(0, 3, 1, 2)
    return stack(conv(z, s, "post_quant_conv"), s, "decoder", DECODER)


def token_log_probs(codes, codec, s):
    """Codes (B, T, h, w) -> ln p of every token (B, T, h, w)."""
    tokens = codes.flatten(1)
    embedded = codec["codebook.embedding.weight"][tokens]
    start = torch.full((len(codes), 1, DIM), 2.0)  # sos_token
    x = torch.cat([start, embedded], 1)[:, :-1]
    x = x @ s["tok_emb.weight"].T + s["tok_emb.bias"]
    L = x.shape[1]
    x = x + s["pos_emb"][:, :L]

    def linear(x, name):
        return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), s[f"{name}.weight"], s[f"{name}.bias"], 1e-5)

    for number in range(LAYERS):
        block = f"blocks.{number}"
        h = norm(x, f"{block}.ln1")
        q, k, v = (
            linear(h, f"{block}.attn.{part}").unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(2, 3) / (WIDTH // HEADS) ** 0.5
        scores = scores.masked_fill(s[f"{block}.attn.mask"][..., :L, :L] == 0, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = x + linear(mixed, f"{block}.attn.proj")
        h = linear(norm(x, f"{block}.ln2"), f"{block}.mlp.0")
        h = h * 0.5 * (1 + torch.erf(h / 2**0.5))
        x = x + linear(h, f"{block}.mlp.2")
    logits = norm(x, "ln_f") @ s["head.weight"].T
    return logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0].view(codes.shape)

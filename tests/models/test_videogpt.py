import pytest
import torch
import torch.nn.functional as F

from conftest import GRID, random_video_model
from viper_gym.likelihood.precision import cast_for_inference
from viper_gym.models.kv_cache import KVCache
from viper_gym.models.transformer import TaskNorm
from viper_gym.models.videogpt_config import VideoGPTConfig


def codes(batch: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(16, (batch, frames, 2, 2), generator=torch.Generator().manual_seed(seed))


def test_log_prob_is_causal(layout):
    """Changing frame t never changes the log-probability of earlier frames, only of later ones."""
    model = random_video_model(**layout)
    x, task = codes(2, 4), torch.tensor([0, 1])
    before = model.log_prob(x, task)
    y = x.clone()
    y[:, 2] = (y[:, 2] + 1) % 16
    after = model.log_prob(y, task)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 3], after[:, 3])


def test_probabilities_sum_to_one_over_whole_frames(layout):
    """Summing p over every possible last frame of a tiny model gives 1: a real likelihood."""
    model = random_video_model(**layout, length=2, classes=0, codebook_size=3)
    context = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    grid = torch.cartesian_prod(*[torch.arange(3)] * 4).view(81, 1, 2, 2)
    x = torch.cat([context.expand(81, -1, -1, -1), grid], 1)
    total = model.log_prob(x)[:, 1].sum((1, 2)).exp().sum()
    assert torch.isclose(total, torch.tensor(1.0), atol=1e-4)


def test_a_window_of_one_frame_generates_without_context():
    model = random_video_model(length=1)
    for context in (0, 1, 3):
        codes = torch.zeros(2, context, GRID, GRID, dtype=torch.int64)
        assert model.generate(codes, 3, torch.tensor([0, 1])).shape == (2, 3, GRID, GRID)


def test_shapes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="multiple of num_heads, got 24 and 5"):
        VideoGPTConfig(embed_dim=24, num_heads=5)
    with pytest.raises(ValueError, match="sequence_length must be 1 or more frames, got 0"):
        VideoGPTConfig(sequence_length=0)


@pytest.mark.parametrize("length", [2, 3])
def test_whole_frames_are_generated_as_often_as_log_prob_says(layout, length):
    """Each of the 81 that there are: one behind a context, and then one behind that."""
    n, shape = 40_000, {"classes": 0, "codebook_size": 3, "num_layers": 1}
    model = random_video_model(2, length, **shape, **layout)  # seed 2: no frame is nearly certain
    every = torch.cartesian_prod(*[torch.arange(3)] * 4).view(81, 1, 2, 2)
    context = every[:1]
    drawn = model.generate(
        context.expand(n, -1, -1, -1), 2, generator=torch.Generator().manual_seed(1)
    )
    first, second = (drawn.flatten(2) @ torch.tensor([27, 9, 3, 1])).unbind(1)  # numbers in `every`
    assert _off(model, [context, every], first) < 1.5
    usual = int(first.mode().values)
    # a window of two frames has lost the context by then
    before = [context, every[usual : usual + 1]][1 - length :]
    assert _off(model, [*before, every], second[first == usual]) < 1.5


def _off(model, frames: list[torch.Tensor], numbers: torch.Tensor) -> float:
    """Shares of frames beside their probabilities: how many standard deviations they are off.

    Chance alone makes it 0.8.
    """
    rows = len(frames[-1])
    windows = torch.cat([f.expand(rows, -1, -1, -1) for f in frames], 1)
    p = model.log_prob(windows)[:, -1].sum((1, 2)).exp()
    share = torch.bincount(numbers, minlength=rows) / len(numbers)
    return float((p - share).abs().sum() / (p * (1 - p) / len(numbers)).sqrt().sum())


def test_task_changes_the_likelihood(layout):
    model = random_video_model(**layout)
    x = codes(1, 4)
    assert not torch.allclose(
        model.log_prob(x, torch.tensor([0])), model.log_prob(x, torch.tensor([1]))
    )
    with pytest.raises(ValueError, match="needs task index"):
        model.log_prob(x)


def test_cache_equals_full_window(layout):
    model = random_video_model(**layout)
    x, task = codes(3, 4), torch.tensor([0, 1, 0])
    cache = KVCache.for_config(model.config, 3, torch.device("cpu"), torch.float32)
    parts = [model.extend(x[:, a:b], cache, task) for a, b in ((0, 1), (1, 3), (3, 4))]
    assert torch.allclose(torch.cat(parts, 1), model.log_prob(x, task), atol=1e-5)


def test_rows_of_a_cache_are_independent(layout):
    model = random_video_model(**layout)
    x = codes(2, 4)
    cache = KVCache.for_config(model.config, 2, torch.device("cpu"), torch.float32)
    one, two = torch.tensor([0]), torch.tensor([1])
    model.extend(x[1:, :2], cache, one, rows=two)
    first = model.extend(x[:1, :3], cache, one, rows=one)
    second = model.extend(x[1:, 2:], cache, one, rows=two)
    full = model.log_prob(x, torch.tensor([0, 0]))
    assert torch.allclose(first, full[:1, :3], atol=1e-5)
    assert torch.allclose(second, full[1:, 2:], atol=1e-5)


def test_a_copied_code_is_likelier_than_without_the_gate():
    """The gate adds to one logit: that of the code which the cell had a frame before."""
    model = random_video_model(local_frames=1, copy=True)
    x, task = codes(1, 2), torch.tensor([0])
    logits = model.logits(x, task).view(2, 4, 16)
    model.copy.weight.zero_()
    model.copy.bias.fill_(0.0)
    plain = model.logits(x, task).view(2, 4, 16)
    model.copy.bias.fill_(2.5)
    gated = model.logits(x, task).view(2, 4, 16)
    assert not torch.allclose(logits[1], plain[1])
    assert torch.equal(gated[0], plain[0])  # nothing comes before the first frame
    added = (gated - plain)[1]
    assert torch.allclose(added.gather(1, x[0, 0].view(4, 1)), torch.tensor(2.5), atol=1e-5)
    assert torch.isclose(added.sum(), torch.tensor(10.0), atol=1e-4)


def test_copying_needs_something_to_copy():
    with pytest.raises(ValueError, match="local_frames"):
        random_video_model(copy=True)


def test_the_norm_of_one_row_is_that_of_a_batch():
    norm = TaskNorm(8, 3)
    torch.nn.init.normal_(norm.scale)
    torch.nn.init.normal_(norm.bias)
    x, task = torch.randn(3, 5, 8), torch.tensor([2, 0, 1])
    alone = torch.cat([norm(x[i : i + 1], task[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(alone, norm(x, task))


def test_one_row_of_several_is_a_slice_and_the_others_stay():
    """A stride's cache of one environment: passes of a single row, some of them into used rows."""
    model = random_video_model()
    x, task = codes(3, 3), torch.tensor([0, 1, 0])
    together = KVCache.for_config(model.config, 3, torch.device("cpu"), torch.float32)
    alone = KVCache.for_config(model.config, 3, torch.device("cpu"), torch.float32)
    for t in range(3):
        expected = model.extend(x[:, t : t + 1], together, task)
        for row in (2, 0, 1):
            some = torch.tensor([row])
            found = model.extend(x[some, t : t + 1], alone, task[some], some)
            assert torch.allclose(found, expected[some], atol=1e-5)
    assert torch.allclose(alone.keys, together.keys, atol=1e-5)


def test_the_folded_activation_is_the_same_function():
    model = random_video_model()
    x, task = codes(2, 4), torch.tensor([0, 1])
    expected = model.log_prob(x, task)
    for block in model.blocks:
        block.fold_activation()
        block.fold_activation()  # once only
        assert block.activation is F.silu
    assert torch.allclose(model.log_prob(x, task), expected, atol=1e-5)
    assert not torch.equal(model.log_prob(x, task), expected)  # other products


def test_a_model_of_bf16_weights_casts_by_itself():
    model = random_video_model(local_frames=2)
    x, task = codes(2, 4), torch.tensor([0, 1])
    expected = model.log_prob(x, task)
    half = cast_for_inference(model, torch.bfloat16)
    found = half.log_prob(x, task)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(half.log_prob(x, task), found, atol=1e-6)
    assert found.dtype == torch.float32 and 0 < float((found - expected).abs().max()) < 0.05
    assert half.generate(x, 2, task).shape == (2, 2, GRID, GRID)

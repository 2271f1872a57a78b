"""Two engines, one definition."""

import numpy as np
import pytest
import torch

from conftest import random_video_model
from viper_gym.likelihood.batch import batch_log_prob
from viper_gym.likelihood.joint import joint_value
from viper_gym.likelihood.streaming import StreamingLikelihood
from viper_gym.models.context import ContextPolicy

POLICIES = [
    ContextPolicy("exact"),
    ContextPolicy("refresh", 1),
    ContextPolicy("refresh"),
    ContextPolicy("refresh", 3),
    ContextPolicy("exact", mode="joint"),
    ContextPolicy("exact", mode="joint", window=2),
    ContextPolicy("refresh", window=3),
    ContextPolicy("exact", window=1),
    ContextPolicy("refresh", window=1),
]


def random_codes(envs: int, frames: int) -> torch.Tensor:
    return torch.randint(16, (envs, frames, 2, 2), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.kind}-{p.keep}-{p.mode}-{p.window}")
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("envs", [1, 3])
def test_streaming_equals_batch(policy, stride, envs, layout):
    model = random_video_model(**layout, length=4)
    codes, task = random_codes(envs, 21), torch.arange(envs) % 2
    batch = batch_log_prob(model, codes, task, stride, policy, batch_size=5)
    stream = StreamingLikelihood(model, envs, stride, policy, task)
    live = torch.stack([stream.score(codes[:, t]) for t in range(21)], 1)
    assert torch.allclose(live, batch, atol=1e-4)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.kind}-{p.keep}-{p.mode}-{p.window}")
def test_what_repeats_is_scored_once_and_counted_everywhere(policy, monkeypatch):
    """Pictures that stand still, in two tasks and with a motion between: numbers as streamed."""
    model = random_video_model(length=4)
    codes = random_codes(1, 1).repeat(3, 24, 1, 1)
    codes[2, 9:12] = random_codes(1, 3)
    task = torch.tensor([0, 1, 0])
    seen, log_prob = [], model.log_prob

    def counting(windows, *arguments, **options):
        seen.append(len(windows))
        return log_prob(windows, *arguments, **options)

    monkeypatch.setattr(model, "log_prob", counting)
    batch = batch_log_prob(model, codes, task, 1, policy)
    repeats = sum(seen)
    stream = StreamingLikelihood(model, 3, 1, policy, task)
    live = torch.stack([stream.score(codes[:, t]) for t in range(24)], 1)
    assert torch.allclose(live, batch, atol=1e-4)
    assert not torch.allclose(batch[0], batch[1])
    seen.clear()
    batch_log_prob(model, random_codes(3, 24), task, 1, policy)
    assert repeats < 0.6 * sum(seen)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: f"{p.kind}-{p.keep}-{p.mode}-{p.window}")
@pytest.mark.parametrize(("stride", "envs"), [(1, 5), (2, 16), (4, 5)])
def test_partial_resets_start_fresh_episodes(policy, stride, envs, layout):
    """Environments reset at random; each episode scores as if it were streamed alone."""
    model = random_video_model(**layout, length=4)
    steps = 40
    generator = torch.Generator().manual_seed(0)
    codes, task = random_codes(envs, steps), torch.arange(envs) % 2
    stream = StreamingLikelihood(model, envs, stride, policy, task)
    starts = [[0] for _ in range(envs)]
    live, contexts = [], []
    for t in range(steps):
        reset = torch.rand(envs, generator=generator) < 0.1
        if t and reset.any():
            stream.reset(reset)
            for env in reset.nonzero()[:, 0].tolist():
                starts[env].append(t)
        live.append(stream.score(codes[:, t]))
        contexts.append(stream.context_frames())
    scores, context = torch.stack(live, 1), torch.stack(contexts, 1).numpy()
    assert sum(map(len, starts)) > envs  # some did reset
    for env in range(envs):
        for first, last in zip(starts[env], [*starts[env][1:], steps], strict=True):
            alone = batch_log_prob(
                model, codes[env : env + 1, first:last], task[env : env + 1], stride, policy
            )
            assert torch.allclose(scores[env, first:last], alone[0], atol=1e-4)
            said = policy.context_frames(np.arange(last - first), stride, 4)
            assert (context[env, first:last] == said).all()


def test_order_of_environments_commutes(layout):
    model = random_video_model(**layout, length=4)
    codes, task = random_codes(6, 15), torch.arange(6) % 2
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    a = StreamingLikelihood(model, 6, 2, ContextPolicy(), task)
    b = StreamingLikelihood(model, 6, 2, ContextPolicy(), task[order])
    for t in range(15):
        assert torch.allclose(a.score(codes[:, t])[order], b.score(codes[order, t]), atol=1e-5)


def test_a_shorter_window_holds_fewer_keys():
    model = random_video_model()
    held = [
        StreamingLikelihood(
            model, 1, 1, ContextPolicy("refresh", window=w), torch.zeros(1, dtype=torch.int64)
        ).state_bytes
        for w in (2, 4)
    ]
    assert model.config.sequence_length == 4 and held[0] == held[1] / 2


def test_exact_is_the_sliding_window(layout):
    """Entry t equals the last frame of the window of the L newest frames of its phase."""
    model = random_video_model(**layout, length=4)
    codes, task, stride = random_codes(1, 19), torch.tensor([1]), 2
    scores = batch_log_prob(model, codes, task, stride, ContextPolicy("exact"))
    for t in range(19):
        window = codes[:, t % stride : t + 1 : stride][:, -4:]
        assert torch.allclose(scores[0, t], model.log_prob(window, task)[0, -1], atol=1e-5)


def test_joint_has_no_jump_when_the_window_fills(layout):
    """Constant codes under a model that ignores context: joint values are the same from the second
    frame on; of the first nothing is known of what comes behind it."""
    model = random_video_model(**layout, length=4, classes=0)
    with torch.no_grad():
        model.head.weight.zero_()
        if model.copy is not None:
            model.copy.weight.zero_()
            model.copy.bias.zero_()
    codes = torch.full((1, 9, 2, 2), 5)
    scores = batch_log_prob(model, codes, None, 1, ContextPolicy("exact", mode="joint"))
    single = model.log_prob(codes[:, :1])[0, 0]
    assert torch.allclose(scores[0, 1:], 4 * single.expand_as(scores[0, 1:]), atol=1e-5)
    assert torch.allclose(scores[0, 0], single, atol=1e-5)


def test_the_frame_without_context_counts_once_in_joint_values():
    """It has most of the nats: n times the mean of what is there would be far too much."""
    scores = torch.tensor([[-40.0, -2.0, -3.0, -1.0]] * 4)[..., None, None]
    values = joint_value(scores, torch.arange(4), 4)[:, 0, 0]
    assert values.tolist() == [-40.0, -46.0, -47.5, -46.0]


def test_joint_needs_the_exact_window():
    with pytest.raises(ValueError, match="exact"):
        ContextPolicy("refresh", mode="joint").kept(4)
    with pytest.raises(ValueError, match="keep must be in 1"):
        ContextPolicy("refresh", keep=4).kept(4)


@pytest.mark.parametrize("stride", [1, 2])
def test_environments_may_be_given_in_any_order(stride):
    model = random_video_model()
    codes, task = random_codes(3, 6), torch.tensor([0, 1, 0])
    order = torch.tensor([2, 0, 1])
    streams = [StreamingLikelihood(model, 3, stride, ContextPolicy(), task) for _ in range(2)]
    for t in range(6):
        expected = streams[0].score(codes[:, t])
        found = streams[1].score(codes[order, t], order)
        assert torch.allclose(found, expected[order], atol=1e-5)


@pytest.mark.parametrize("name", ["keep", "window"])
@pytest.mark.parametrize("given", [2.5, 2.0, "2", True, float("nan")])
def test_frames_of_a_window_are_whole_numbers(name, given):
    with pytest.raises(ValueError, match=rf"{name} must be a whole number of frames, got "):
        ContextPolicy(**{name: given})
    assert ContextPolicy(**{name: np.int64(2)}).kept(4) in (1, 2)

"""A bonus that was saved goes on as if it had never stopped."""

import numpy as np
import pytest
import torch

from viper_gym.bonus.disagreement import Disagreement, DisagreementConfig
from viper_gym.bonus.memory import RecentMemory
from viper_gym.bonus.networks import move, on_cpu
from viper_gym.bonus.rnd import RND, RNDConfig
from viper_gym.types import Bonus, Transition

# small memories, so that they wrap around; shares below one, so that draws matter
MAKERS = {
    "rnd": lambda seed: RND(40, RNDConfig(memory=30, update_proportion=0.5, seed=seed)),
    "disagreement": lambda seed: Disagreement(
        config=DisagreementConfig(memory=30, update_proportion=0.5)
    ),
}


def play(bonus, rng: np.random.Generator, count: int) -> np.ndarray:
    values = []
    for _ in range(count):
        frames = rng.integers(0, 256, (2, 4, 40, 40, 3), dtype=np.uint8)
        transition = Transition(frames[0], rng.normal(size=(4, 1)).astype(np.float32), frames[1])
        values.append(bonus.compute(transition))
        bonus.update(transition)
    return np.array(values)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("count", [0, 3, 12])
def test_state_dict(name, count, tmp_path):
    bonus = MAKERS[name](0)
    assert isinstance(bonus, Bonus)
    play(bonus, np.random.default_rng(0), count)
    torch.save(bonus.state_dict(), tmp_path / "bonus.pt")
    expected = play(bonus, np.random.default_rng(1), 12)  # the file is a snapshot
    twin = MAKERS[name](5)  # of another seed, with a life of its own
    if count:
        play(twin, np.random.default_rng(2), 4)
    twin.load_state_dict(torch.load(tmp_path / "bonus.pt", weights_only=True))
    assert np.array_equal(play(twin, np.random.default_rng(1), 12), expected)


@pytest.mark.parametrize("name", MAKERS)
def test_moving_keeps_what_was_learned(name):
    expected = play(MAKERS[name](0), np.random.default_rng(0), 24)
    bonus, rng = MAKERS[name](0), np.random.default_rng(0)
    before = play(bonus, rng, 12)
    network = bonus.predictor if name == "rnd" else bonus.ensemble
    move(torch.device("cpu"), (network,), bonus._optimizer)
    assert np.array_equal(np.concatenate([before, play(bonus, rng, 12)]), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", MAKERS)
def test_a_state_goes_from_one_device_to_another(name):
    bonus, rng = MAKERS[name](0), np.random.default_rng(0)
    play(bonus, rng, 6)
    bonus.to("cuda")
    play(bonus, rng, 6)
    state = bonus.state_dict()
    there = MAKERS[name](0)
    there.to("cuda")
    there.load_state_dict(state)
    here = MAKERS[name](0)
    here.load_state_dict(state)  # read where there is no GPU
    values = [play(b, np.random.default_rng(1), 12) for b in (here, there)]
    assert np.allclose(*values, atol=1e-2)


def test_tensors_of_a_state_are_copies_and_its_shape_stays():
    state = {"a": [torch.ones(2), (1, 2.0)], "b": {"c": torch.zeros(1), "d": None}}
    copy = on_cpu(state)
    state["a"][0].zero_()
    assert copy["a"][0].tolist() == [1.0, 1.0] and copy["a"][1] == (1, 2.0)
    assert copy["b"]["c"].device.type == "cpu" and copy["b"]["d"] is None


def test_two_that_share_a_state_do_not_share_their_future():
    a, b = MAKERS["rnd"](0), MAKERS["rnd"](1)
    play(a, np.random.default_rng(0), 4)
    state = a.state_dict()
    b.load_state_dict(state)
    play(b, np.random.default_rng(3), 4)
    expected = play(a, np.random.default_rng(1), 8)
    b.load_state_dict(state)
    assert np.array_equal(play(b, np.random.default_rng(1), 8), expected)


def test_a_state_of_other_random_matrices_is_refused():
    bonus = MAKERS["disagreement"](0)
    play(bonus, np.random.default_rng(0), 1)
    with pytest.raises(ValueError, match=r"seed 0.* 4"):
        Disagreement(config=DisagreementConfig(seed=4)).load_state_dict(bonus.state_dict())


def test_memory_keeps_the_newest():
    memory = RecentMemory(5, seed=0)
    for start, count in ((0, 3), (3, 4), (7, 12)):
        memory.add(np.arange(start, start + count))
        (drawn,) = memory.draw(500)
        assert set(drawn) == set(range(max(0, start + count - 5), start + count))
    with pytest.raises(ValueError, match="not one of 6 samples"):
        RecentMemory(6, seed=0).load_state_dict(memory.state_dict())


@pytest.mark.parametrize("name", MAKERS)
def test_the_callers_precision_changes_nothing(name):
    expected = play(MAKERS[name](0), np.random.default_rng(0), 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(play(MAKERS[name](0), np.random.default_rng(0), 12), expected)
    bonus = MAKERS[name](0)
    frames = np.zeros((4, 40, 40, 3), np.uint8)
    bonus.update(transition=Transition(frames, np.zeros((4, 1), np.float32), frames))
    torch.set_default_dtype(torch.float64)
    try:
        again = play(MAKERS[name](0), np.random.default_rng(0), 12)
        assert torch.get_default_dtype() == torch.float64
        assert again == pytest.approx(expected, abs=1e-6)
    finally:
        torch.set_default_dtype(torch.float32)

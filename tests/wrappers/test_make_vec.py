"""`gym.make_vec` of the registered ids, and Atari's own vector environment."""

import os
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

import viper_gym  # noqa: F401
from conftest import SIZE, random_video_model, toy_bundle
from viper_gym.errors import FrameMismatch
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.wrappers.vector import ViperVectorRewardWrapper

ID = "viper_gym:viper/dmc-cup_catch-v0"  # this form also works in spawned workers


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    """Rewards (5, 2) of single environments."""
    columns = []
    for seed in (7, 8):
        env = gym.make(ID, device="cpu", dtype="fp32")
        env.reset(seed=seed)
        columns.append([env.step(np.full(2, 0.3, np.float32))[1] for _ in range(5)])
    return np.array(columns).T


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"observation": "state"},
        {"asynchronous": True},
        {"vectorization_mode": "sync"},
        {"vectorization_mode": "async", "vector_kwargs": {"context": "spawn"}},
    ],
    ids=["one call", "one call, state", "one call, processes", "sync", "async"],
)
def test_make_vec_gives_the_single_environments_rewards(reference, options):
    envs = gym.make_vec(ID, 2, device="cpu", dtype="fp32", **options)
    envs.reset(seed=7)
    rewards = [envs.step(np.full((2, 2), 0.3, np.float32))[1] for _ in range(5)]
    envs.close()
    assert np.array(rewards) == pytest.approx(reference, abs=1e-4)


@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_resets_within_the_step_still_reward_the_last_frame(observation):
    """The reward at the end of an episode is that of the bare environment's last frame."""
    options = {"device": "cpu", "dtype": "fp32", "reward_scale": "raw"}
    envs = gym.make_vec(ID, 1, observation=observation, autoreset_mode="SameStep", **options)
    single = gym.make(ID, **options)
    envs.reset(seed=7)
    single.reset(seed=7)
    over = False
    while not over:
        _, rewards, _, truncated, info = envs.step(np.full((1, 2), 0.3, np.float32))
        _, expected, _, over, _ = single.step(np.full(2, 0.3, np.float32))
        assert bool(truncated[0]) == over
    assert rewards[0] == pytest.approx(expected, abs=1e-3)
    assert "viper/return" in info and "viper/frame" not in info["final_info"]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_atari_vector_environments(mode):
    """Every reward is the likelihood of the recorded frames of one episode."""
    ale_py = pytest.importorskip("ale_py", reason="needs the extra 'atari'")
    model = VideoRewardModel(toy_bundle(random_video_model()), device="cpu", dtype="fp32")
    shape = {"grayscale": False, "stack_num": 2, "img_height": SIZE, "img_width": SIZE}
    envs = ale_py.AtariVectorEnv(
        "pong", 3, autoreset_mode=mode, max_num_frames_per_episode=40, **shape
    )
    envs = ViperVectorRewardWrapper(envs, model, "a", reward_scale="raw")
    first, _ = envs.reset(seed=1)
    episodes = [[frame] for frame in first[:, -1]]  # per environment, the frames so far
    rng, over, scored = np.random.default_rng(0), np.zeros(3, bool), 0
    for _ in range(25):
        observations, rewards, terminated, truncated, info = envs.step(rng.integers(0, 6, 3))
        for i in range(3):
            if mode == "NextStep" and over[i]:
                assert rewards[i] == 0
                assert not info.get("_viper/reward", np.zeros(3, bool))[i]
                episodes[i] = [observations[i, -1]]
                continue
            ends = mode == "SameStep" and (terminated | truncated)[i]
            shown = info["final_obs"][i] if ends else observations[i]
            episodes[i].append(shown[-1])
            expected = model.log_prob(np.stack(episodes[i])[None], "a")[0, -1]
            assert rewards[i] == pytest.approx(expected, abs=1e-3)
            scored += 1
            if ends:
                episodes[i] = [observations[i, -1]]
        over = terminated | truncated
    assert scored > 40


def test_grey_atari_says_what_to_do():
    ale_py = pytest.importorskip("ale_py", reason="needs the extra 'atari'")
    model = VideoRewardModel(toy_bundle(random_video_model()), device="cpu", dtype="fp32")
    envs = ViperVectorRewardWrapper(ale_py.AtariVectorEnv("pong", 1), model, "a")
    with pytest.raises(FrameMismatch, match="colour"):
        envs.reset()


FORKED = """
import gymnasium as gym, viper_gym
env = gym.make("viper/dmc-cup_catch-v0", checkpoint=None)
env.reset()  # draws
envs = gym.make_vec("viper/dmc-cup_catch-v0", 1, vectorization_mode="async", checkpoint=None,
                    vector_kwargs={"context": "fork"})
try:
    envs.reset()
finally:
    envs.close(terminate=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_drawing_in_a_fork_is_refused_where_it_would_hang():
    ran = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=120
    )
    assert "was forked from one that had drawn" in ran.stderr and ran.returncode

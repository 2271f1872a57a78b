"""The registered ids with the bundled checkpoint: offline, real reward."""

import json
import shutil
from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import viper_gym
from viper_gym import ViperRewardWrapper, registration
from viper_gym.bonus.rnd import RND
from viper_gym.checkpoints.bundle import read_config
from viper_gym.checkpoints.index import read_index
from viper_gym.checkpoints.resolve import resolve
from viper_gym.errors import CheckpointError, PreprocessingMismatch, UnknownTask
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.models.context import ContextPolicy
from viper_gym.wrappers.bonus import BonusRewardWrapper
from viper_gym.wrappers.hold import HoldAction

# suite -> module of its extra, where the others' are not enough
NEEDS = {"atari": "ale_py", "metaworld": "metaworld"}


def env_ids():
    """Every id; a test of one whose extra is missing is skipped."""
    for entry in read_index().values():
        missing = entry.suite in NEEDS and find_spec(NEEDS[entry.suite]) is None
        skip = pytest.mark.skipif(missing, reason=f"needs the extra '{entry.suite}'")
        for task in entry.tasks:
            yield pytest.param(f"viper/{entry.suite}-{task}-v0", marks=skip)


IDS = list(env_ids())


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("env_id", IDS)
def test_every_id_steps_with_a_real_reward(env_id):
    env = gym.make(env_id, device="cpu")
    env.reset(seed=0)
    env.action_space.seed(0)
    rewards, infos = [], []
    for _ in range(20):
        _, reward, _, _, info = env.step(env.action_space.sample())
        rewards.append(reward)
        infos.append(info)
    assert np.ptp(rewards) > 0
    values = np.array([info["viper/log_prob"] for info in infos])
    suite, task = env_id.removeprefix("viper/").removesuffix("-v0").split("-")
    if read_config(resolve(suite, task=task)).contrast:  # log likelihood ratios, of either sign
        assert np.isfinite(values).all() and np.abs(values).max() < 500
    else:
        assert (values < 0).all()
    env.close()


@pytest.mark.filterwarnings(
    "error::UserWarning",  # Gymnasium's; pytest's own may come from an earlier test's rubbish
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:.*is different from the unwrapped version",
    "ignore:.*A Box observation space .* is -?infinity",  # velocities
)
@pytest.mark.parametrize(
    ("env_id", "observation"),
    [
        ("viper/dmc-cartpole_swingup-v0", "pixels"),
        *(pytest.param(*p.values, "state", marks=p.marks) for p in IDS),
    ],
)
def test_check_env_passes_and_seeds_reproduce(env_id, observation):
    env = gym.make(env_id, observation=observation, device="cpu")
    check_env(env.unwrapped)
    while not isinstance(env, ViperRewardWrapper):
        env = env.env
    check_env(env)
    runs = []
    for _ in range(2):
        env.reset(seed=3)
        discrete = isinstance(env.action_space, gym.spaces.Discrete)
        action = 1 if discrete else np.full(env.action_space.shape, 0.5, np.float32)
        runs.append([env.step(action)[1] for _ in range(25)])
    assert runs[0] == runs[1]


@pytest.mark.filterwarnings(
    "error::UserWarning",  # Gymnasium's; pytest's own may come from an earlier test's rubbish
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:.*is different from the unwrapped version",
    "ignore:.*not having a spec",  # of an environment that was not made by its id
)
def test_check_env_passes_on_a_wrapped_env():
    from viper_gym.envs.dmc import DMCEnv

    check_env(ViperRewardWrapper(DMCEnv("cup_catch"), "dmc", "cup_catch", device="cpu"))


@pytest.mark.parametrize("clip", [None, "calibrated", (0, np.float32(1.5)), [0.0, 1.5]])
def test_spec_survives_json_and_make(clip):
    options = {"bonus": "rnd", "beta": np.float32(0.5), "reward_clip": clip}
    env = gym.make("viper_gym:viper/dmc-reacher_easy-v0", **options)
    if isinstance(clip, tuple):  # of an id Gymnasium keeps what it was given
        env.spec.kwargs["reward_clip"], env.spec.kwargs["beta"] = (0.0, 1.5), 0.5
    else:
        env.spec.kwargs["beta"] = 0.5
    spec = gym.envs.registration.EnvSpec.from_json(env.spec.to_json())
    again = gym.make(spec)
    assert again.get_wrapper_attr("task") == "reacher_easy"
    assert again.get_wrapper_attr("beta") == 0.5


def test_specs_of_bonuses_and_held_actions_take_numpys_numbers():
    env = gym.make("viper/dmc-cup_catch-v0", checkpoint=None)
    env = HoldAction(BonusRewardWrapper(env, "rnd", beta=np.float32(0.1)), np.int64(2))
    gym.envs.registration.EnvSpec.from_json(env.spec.to_json())


@pytest.mark.parametrize(
    ("checkpoint", "bonus"), [("dmc", RND(64)), ("model", None), ("model", RND(64))]
)
def test_spec_of_objects_says_what_they_were_loaded_from(checkpoint, bonus):
    if checkpoint == "model":
        checkpoint = VideoRewardModel.from_pretrained("dmc", device="cpu", dtype="fp32")
    options = {"checkpoint": checkpoint, "bonus": bonus, "device": "cpu", "dtype": "fp32"}
    env = gym.make("viper_gym:viper/dmc-cup_catch-v0", **options)
    assert env.get_wrapper_attr("bonus") is bonus
    assert checkpoint == "dmc" or env.get_wrapper_attr("reward_model") is checkpoint
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    rewards = []
    for e in (env, again):
        e.reset(seed=0)
        rewards.append([e.step(np.zeros(2, np.float32))[4]["viper/reward"] for _ in range(5)])
    assert rewards[0] == rewards[1]
    assert type(again.get_wrapper_attr("bonus")) is type(bonus)


def test_a_spec_that_cannot_say_how_a_model_was_loaded_does_not_make_another_reward():
    policy = ContextPolicy("exact", mode="joint")
    model = VideoRewardModel.from_pretrained(
        "dmc", task="cup_catch", policy=policy, device="cpu", dtype="fp32"
    )
    env = gym.make("viper/dmc-cup_catch-v0", checkpoint=model, reward_scale="raw")
    with pytest.raises(CheckpointError, match="VideoRewardModel"):
        gym.make(env.spec)
    plain = VideoRewardModel.from_pretrained("dmc", task="cup_catch", device="cpu", dtype="fp32")
    again = gym.make(gym.make("viper/dmc-cup_catch-v0", checkpoint=plain).spec)
    assert again.get_wrapper_attr("reward_model").dtype == torch.float32


def test_another_render_quality_is_refused():
    with pytest.raises(PreprocessingMismatch, match=r"render_quality.*'fast'.*'full'"):
        gym.make("viper/dmc-cartpole_swingup-v0", render_quality="full")


def test_an_action_may_be_held_longer_where_no_checkpoint_minds():
    env = gym.make("viper/dmc-cup_catch-v0", checkpoint=None, observation="state", action_repeat=8)
    env.reset(seed=0)
    steps, over = 0, False
    while not over:
        over = env.step(env.action_space.sample())[3]
        steps += 1
    assert steps == 125  # of 1000 control steps
    with pytest.raises(PreprocessingMismatch, match=r"action_repeat.*2.*8"):
        gym.make("viper/dmc-cup_catch-v0", action_repeat=8)


def test_without_a_checkpoint_the_bare_environment_is_made():
    env = gym.make("viper/dmc-cup_catch-v0", checkpoint=None, observation="state")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(env.action_space.sample())
    assert 0 <= reward <= 2 and "viper/reward" not in info
    assert env.unwrapped.preprocessing["image_size"] == 64


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_a_task_that_nothing_published_serves_wants_a_checkpoint_of_ones_own(make, tmp_path):
    env_id = "viper/dmc-hopper_stand-v0"
    with pytest.raises(CheckpointError, match="no published checkpoint serves dmc hopper_stand"):
        make(env_id)
    shutil.copytree(resolve("dmc-3"), own := tmp_path / "own")  # any will do by that name
    config = (own / "config.json").read_text()
    (own / "config.json").write_text(config.replace("walker_walk", "hopper_stand"))
    env = make(env_id, checkpoint=str(own))
    env.reset(seed=0)
    assert np.isfinite(env.step(env.action_space.sample())[1]).all()
    env.close()


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_arguments_that_do_nothing_without_a_checkpoint_are_refused(make):
    with pytest.raises(TypeError, match="there is no argument observaton"):
        make("viper/dmc-cup_catch-v0", checkpoint=None, bonus="rnd", observaton="state")
    with pytest.raises(TypeError, match="no use for beta, bonus"):
        make("viper/dmc-cup_catch-v0", checkpoint=None, bonus="rnd", beta=0.5)
    with pytest.raises(TypeError, match="no use for revision"):
        make("viper/dmc-cup_catch-v0", checkpoint=None, revision="main")
    with pytest.raises(TypeError, match="no use for reward_task"):
        make("viper/dmc-cup_catch-v0", checkpoint=None, reward_task="cup_catch")


def test_another_tasks_videos_may_pay():
    other, env_id = {"reward_task": "cartpole_swingup"}, "viper/dmc-cartpole_balance-v0"
    env = gym.make(env_id, device="cpu", **other)
    envs = gym.make_vec(env_id, 1, device="cpu", **other)
    frames = [env.reset(seed=0)[0]]
    envs.reset(seed=0)
    paid, paid_vector = [], []
    env.action_space.seed(0)
    for _ in range(12):
        action = env.action_space.sample()
        observation, reward, *_ = env.step(action)
        frames.append(observation)
        paid.append(reward)
        paid_vector.append(envs.step(action[None])[1][0])
    model = VideoRewardModel.from_pretrained("dmc", task="cartpole_swingup", device="cpu")
    clip = np.stack(frames)[None]
    found = model.compute_reward(clip, "cartpole_swingup")[0]
    np.testing.assert_allclose(paid, found, atol=0.02)
    np.testing.assert_allclose(paid_vector, paid, atol=1e-5)
    own = VideoRewardModel.from_pretrained("dmc", task="cartpole_balance", device="cpu")
    assert np.abs(own.compute_reward(clip, "cartpole_balance")[0] - paid).max() > 0.1
    env.close()
    envs.close()
    with pytest.raises(CheckpointError, match="serves dmc hopper_stand"):
        gym.make(env_id, reward_task="hopper_stand")
    with pytest.raises(UnknownTask, match="cartpole_swingup"):
        gym.make(env_id, checkpoint=resolve("dmc", task="cartpole_balance"), **other)
    with pytest.raises(PreprocessingMismatch, match="fovy"):
        gym.make(env_id, reward_task="cup_catch")


def test_vector_episodes_may_be_cut_and_end_with_their_returns():
    envs = gym.make_vec("viper/dmc-cup_catch-v0", 2, max_episode_steps=3, device="cpu")
    envs.reset(seed=0)
    for _ in range(3):
        *_, truncated, info = envs.step(envs.action_space.sample())
    assert truncated.all() and info["_viper/return"].all()
    envs.close()


def test_public_names():
    for name in viper_gym.__all__:
        assert getattr(viper_gym, name) is not None
    with pytest.raises(AttributeError):
        viper_gym.nothing  # noqa: B018


def test_max_episode_steps_counts_the_agents_steps_whichever_way_it_is_made():
    kwargs = {"checkpoint": None, "hold": 2, "max_episode_steps": 3}
    env = gym.make("viper/dmc-cup_catch-v0", **kwargs)
    envs = gym.make_vec("viper/dmc-cup_catch-v0", 1, **kwargs)
    env.reset(seed=0)
    envs.reset(seed=0)
    single = [env.step(env.action_space.sample())[3] for _ in range(3)]
    vector = [bool(envs.step(envs.action_space.sample())[3][0]) for _ in range(3)]
    assert single == vector == [False, False, True]
    env.close()
    envs.close()


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_the_view_of_a_task_may_be_another_one(make):
    options = {"checkpoint": None, "view": {"image_size": 84, "fovy": None}}
    env = make("viper/dmc-cup_catch-v0", **options)
    frames, _ = env.reset(seed=0)
    assert frames.shape[-3:] == (84, 84, 3)
    env.close()
    with pytest.raises(PreprocessingMismatch, match=r"fovy.*60\.0.*None"):
        make("viper/dmc-cup_catch-v0", view={"fovy": None})
    with pytest.raises(TypeError, match="can be chosen, not zoom"):
        make("viper/dmc-cup_catch-v0", view={"zoom": 2})
    with pytest.raises(TypeError, match="of a view of atari image_size can be chosen, not fovy"):
        make("viper/atari-pong-v0", checkpoint=None, view={"fovy": 20.0})


def test_a_camera_that_is_named_replaces_a_free_one():
    pytest.importorskip("metaworld", reason="needs the extra 'metaworld'")
    frames = []
    for view in ({}, {"camera": 1}):
        env = gym.make("viper/metaworld-reach-v0", checkpoint=None, view=view)
        frames.append(env.reset(seed=0)[0])
        env.close()
    assert (frames[0] != frames[1]).any()


def test_unknown_tasks_and_suites_are_named():
    with pytest.raises(UnknownTask, match="unknown dmc task 'nope'"):
        registration.make("dmc", "nope", checkpoint=None)
    with pytest.raises(UnknownTask, match="unknown suite 'chess'"):
        registration.make("chess", "x")


def test_a_checkpoint_that_does_not_say_how_its_videos_were_drawn_is_warned_of(tmp_path):
    shutil.copytree(resolve("dmc-3"), own := tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "preprocessing": {}}))
    with pytest.warns(UserWarning, match="does not say how its videos of 'walker_walk' were drawn"):
        gym.make("viper/dmc-walker_walk-v0", checkpoint=str(own)).close()


def test_public_names_are_told_once_for_type_checkers_and_once_for_use():
    assert set(viper_gym.__all__) == {"__version__", *viper_gym._PUBLIC}
    assert all(getattr(viper_gym, name).__name__ == name for name in viper_gym._PUBLIC)

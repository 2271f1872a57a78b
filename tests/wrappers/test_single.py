import gc
import json
import math
import pickle
import time
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import AddRenderObservation
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from brightness import brightness_model
from conftest import (
    SIZE,
    CodedEnv,
    Ones,
    coded_frame,
    random_video_model,
    small_bundle,
    toy_bundle,
    with_offsets,
)
from viper_gym.checkpoints.bundle import save_bundle
from viper_gym.errors import CheckpointError, FrameMismatch, PreprocessingMismatch, UnknownTask
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.wrappers.bonus import BonusRewardWrapper
from viper_gym.wrappers.frames import FrameInInfo
from viper_gym.wrappers.preprocessing import check_preprocessing
from viper_gym.wrappers.single import ViperRewardWrapper
from viper_gym.wrappers.vector import ViperVectorRewardWrapper
from viper_gym.wrappers.vector_bonus import BonusVectorRewardWrapper


def reward_model(stride: int = 1, length: int = 4) -> VideoRewardModel:
    bundle = toy_bundle(random_video_model(length=length), stride)
    return VideoRewardModel(bundle, device="cpu", dtype="fp32")


def play(env: gym.Env, episodes: int = 1, seed: int = 0) -> list[list[tuple[float, dict]]]:
    played = []
    for episode in range(episodes):
        env.reset(seed=seed + episode)
        steps, done = [], False
        while not done:
            _, reward, terminated, truncated, info = env.step(0)
            steps.append((reward, info))
            done = terminated or truncated
        played.append(steps)
    return played


@pytest.mark.parametrize("pixels", [True, False])
def test_known_probabilities_give_the_known_reward_at_the_right_step(pixels):
    """step() scores the frame it returned: left cells code the episode, right ones the step."""
    env = ViperRewardWrapper(CodedEnv(pixels=pixels), brightness_model(), reward_scale="raw")
    log_p = torch.log_softmax(torch.arange(16.0) / 4, 0)
    for episode, steps in enumerate(play(env, episodes=3)):
        assert len(steps) == 7
        for t, (reward, info) in enumerate(steps, start=1):
            expected = float(2 * log_p[episode] + 2 * log_p[t])
            assert reward == pytest.approx(expected, abs=1e-4)
            assert info["viper/log_prob"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_number_of_context_frames_is_corrected_for_at_every_step(stride):
    """Live rewards are those of the whole episode's likelihoods, less each number's offset."""
    bundle = with_offsets(toy_bundle(random_video_model(), stride))
    model = VideoRewardModel(bundle, device="cpu", dtype="fp32")
    by_context = bundle.config.calibration["a"].by_context
    for steps in play(ViperRewardWrapper(CodedEnv(length=23), model, "a"), episodes=2):
        log_prob = np.array([info["viper/log_prob"] for _, info in steps])
        rewards = [reward for reward, _ in steps]
        # windows of 4 frames, of which 2 are kept: 0 1 2 3 2 3 2 3 …
        context = [t // stride if t // stride < 4 else 2 + t // stride % 2 for t in range(1, 24)]
        assert rewards == pytest.approx(list((log_prob - np.array(by_context)[context] + 20) / 10))
        whole = model.scaled(np.concatenate([[0.0], log_prob]), "a")
        assert rewards == pytest.approx(list(whole))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_windows_never_cross_episodes(stride):
    """Rewards of the second episode are those of its own frames scored alone."""
    model = reward_model(stride)
    env = ViperRewardWrapper(CodedEnv(length=11), model, "b", reward_scale="raw")
    for episode, steps in enumerate(play(env, episodes=3)):
        frames = np.stack([coded_frame(episode, t) for t in range(12)])
        expected = model.log_prob(frames[None], "b")[0, 1:]
        assert np.allclose([r for r, _ in steps], expected, atol=1e-4)


def test_scale_bonus_and_task_reward_are_mixed_and_reported():
    class Constant:
        updates = 0

        def compute(self, transition):
            return np.full(len(transition.frame), 0.5, np.float32)

        def update(self, transition):
            self.updates += len(transition.frame)

        def state_dict(self):
            return {}

    bonus = Constant()
    env = ViperRewardWrapper(
        CodedEnv(), brightness_model(), bonus=bonus, beta=0.2, task_reward_weight=0.1
    )
    (steps,) = play(env)
    for reward, info in steps:
        scaled = (info["viper/log_prob"] + 20) / 10  # the toy calibration: -20 -> 0, -10 -> 1
        assert info["viper/reward"] == pytest.approx(scaled)
        assert info["viper/bonus"] == pytest.approx(0.1)
        assert info["viper/task_reward"] == 2.0
        assert reward == pytest.approx(scaled + 0.1 + 0.2)
        assert all(type(v) is float for k, v in info.items() if k.startswith("viper/"))
    assert bonus.updates == 7
    last = steps[-1][1]
    assert last["viper/task_return"] == 14.0
    assert 0 < last["viper/time_share"] <= 1
    assert last["viper/return"] == pytest.approx(sum(i["viper/reward"] for _, i in steps))
    assert all("viper/return" not in info for _, info in steps[:-1])


def test_early_termination_under_a_negative_scale_warns_once():
    env = ViperRewardWrapper(CodedEnv(terminate=True), reward_model(), "a")
    with pytest.warns(UserWarning, match="ends episodes early"):
        play(env)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(env)
        play(ViperRewardWrapper(CodedEnv(terminate=True), reward_model(), "a", reward_clip=(0, 1)))


def test_same_seed_and_actions_give_the_same_rewards():
    a, b = (
        [r for r, _ in play(ViperRewardWrapper(CodedEnv(), reward_model(2), "a"))[0]]
        for _ in range(2)
    )
    assert a == b
    assert all(math.isfinite(r) for r in a)


def test_unknown_task_names_the_known_ones():
    with pytest.raises(UnknownTask, match=r"a, b; got 'c'"):
        ViperRewardWrapper(CodedEnv(), reward_model(), "c")


def test_a_task_without_a_scale_is_named_when_wrapping():
    model = reward_model()
    model.config.calibration.pop("a")
    with pytest.raises(CheckpointError, match="no calibration for 'a'"):
        ViperRewardWrapper(CodedEnv(), model, "a")
    ViperRewardWrapper(CodedEnv(), model, "a", reward_scale="raw").reset()


def test_frames_of_another_size_are_refused():
    class Big(CodedEnv):
        def render(self):
            return np.zeros((32, 32, 3), np.uint8)

    env = ViperRewardWrapper(Big(pixels=False), reward_model(), "a")
    with pytest.raises(FrameMismatch, match=r"16, 16, 3.*\(1, 32, 32, 3\)"):
        env.reset()


def test_missing_render_mode_is_explained():
    class Blind(CodedEnv):
        def render(self):
            return None

    env = ViperRewardWrapper(Blind(pixels=False), reward_model(), "a")
    with pytest.raises(FrameMismatch, match="rgb_array"):
        env.reset()


def test_preprocessing_mismatch_names_both_values():
    class Filmed(CodedEnv):
        preprocessing = {"camera": 2, "action_repeat": 4}

    model = reward_model()
    model.config.preprocessing["a"] = {"camera": 0, "action_repeat": 4}
    with pytest.raises(PreprocessingMismatch, match=r"camera.*0.*2"):
        ViperRewardWrapper(Filmed(), model, "a")


def test_recorded_arguments_are_plain_and_no_model_is_copied():
    model = reward_model()
    env = ViperRewardWrapper(CodedEnv(), model, "a", reward_clip=(0, 1))
    recorded = env._saved_kwargs
    json.dumps(recorded)
    assert env.reward_model is model


def test_a_spec_makes_the_same_rewards_again(tmp_path, monkeypatch):
    """Of a folder that is called like an alias, too."""
    save_bundle(small_bundle(), tmp_path / "dmc")
    monkeypatch.chdir(tmp_path)
    gym.register("Coded-v0", entry_point=CodedEnv, disable_env_checker=True)
    try:
        env = ViperRewardWrapper(
            gym.make("Coded-v0"), Path("dmc"), "a", reward_scale="per_token",
            reward_clip=(-9, -1), beta=0.5, task_reward_weight=0.25, device=torch.device("cpu"),
        )  # fmt: skip
        again = gym.make(env.spec)
    finally:
        del gym.registry["Coded-v0"]
    json.dumps(env._saved_kwargs)
    assert again._saved_kwargs == env._saved_kwargs
    assert env._saved_kwargs.items() >= {"beta": 0.5, "task_reward_weight": 0.25}.items()
    assert [r for r, _ in play(env)[0]] == [r for r, _ in play(again)[0]]


def test_the_share_of_time_is_that_of_rewards():
    class Slow(Ones):
        def compute(self, transition):
            time.sleep(0.02)
            return super().compute(transition)

    class SlowEnv(CodedEnv):
        def step(self, action):
            time.sleep(0.1)
            return super().step(action)

    shares = []
    for env, bonus in ((CodedEnv(20), Slow()), (SlowEnv(20), None)):
        rewarded = ViperRewardWrapper(env, reward_model(), "a", bonus=bonus)
        shares.append(play(rewarded)[0][-1][1]["viper/time_share"])
    assert shares[0] > 0.5 > shares[1]


def test_an_environment_that_a_video_pays_is_not_paid_again():
    model = reward_model()
    inner = FrameInInfo(ViperRewardWrapper(CodedEnv(), model, "a"))
    with pytest.raises(ValueError, match=r"a video model's already.*checkpoint=None"):
        ViperRewardWrapper(inner, model, "a")
    with pytest.raises(ValueError, match="a video model's already"):
        ViperVectorRewardWrapper(SyncVectorEnv([lambda: inner]), model, "a")
    envs = ViperVectorRewardWrapper(SyncVectorEnv([CodedEnv]), model, "a")
    with pytest.raises(ValueError, match="a video model's already"):
        ViperVectorRewardWrapper(envs, model, "a")


def test_a_bonus_around_a_video_reward_leaves_what_is_told_of_the_task():
    made = lambda: ViperRewardWrapper(CodedEnv(), reward_model(), "a", bonus=Ones(), beta=0.25)  # noqa: E731
    (expected,) = play(made())
    (steps,) = play(BonusRewardWrapper(made(), Ones(), beta=0.5))
    envs = BonusVectorRewardWrapper(
        ViperVectorRewardWrapper(
            SyncVectorEnv([CodedEnv]), reward_model(), "a", bonus=Ones(), beta=0.25
        ),
        Ones(),
        beta=0.5,
    )
    envs.reset(seed=0)
    for (paid, info), (video, told) in zip(steps, expected, strict=True):
        *_, over, infos = envs.step(np.zeros(1, int))
        for name in ("viper/task_reward", "viper/task_return"):
            assert info.get(name) == told.get(name)
            assert (name in infos) == (name in told)
            assert name not in told or infos[name][0] == told[name]
        assert (info["viper/bonus"], told["viper/bonus"]) == (0.75, 0.25)
        assert infos["viper/bonus"] == pytest.approx([0.75])
        assert paid == pytest.approx(video + 0.5)
    assert over.all()


def test_a_task_reward_that_is_no_number_is_nothing_where_its_weight_is_0():
    class Broken(CodedEnv):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, math.nan, *rest

    rewards = [r for r, _ in play(ViperRewardWrapper(Broken(), reward_model(), "a"))[0]]
    assert rewards == [r for r, _ in play(ViperRewardWrapper(CodedEnv(), reward_model(), "a"))[0]]
    bonuses = [r for r, _ in play(BonusRewardWrapper(Broken(), Ones(), task_reward_weight=0))[0]]
    assert bonuses == [1.0] * len(rewards)
    envs = ViperVectorRewardWrapper(SyncVectorEnv([Broken]), reward_model(), "a")
    envs.reset(seed=0)
    assert envs.step(np.zeros(1, int))[1] == pytest.approx(rewards[:1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": "1"}, "beta must be a finite number, got '1'"),
        ({"beta": math.nan}, "beta must be a finite number"),
        ({"task_reward_weight": None}, "task_reward_weight must be a finite number, got None"),
        ({"reward_clip": (None, 1)}, "reward_clip must be a lower and a higher bound"),
        ({"reward_clip": 1.0}, "reward_clip must be a lower and a higher bound, got 1.0"),
        ({"reward_clip": (1, 0)}, "reward_clip must be a lower and a higher bound"),
    ],
)
def test_values_that_cannot_be_are_said_when_wrapping(options, message):
    with pytest.raises(ValueError, match=message):
        ViperRewardWrapper(CodedEnv(), reward_model(), "a", **options)
    if "beta" in options:
        env = ViperRewardWrapper(CodedEnv(), reward_model(), "a")
        with pytest.raises(ValueError, match=message):
            env.beta = options["beta"]
        with pytest.raises(ValueError, match=message):
            BonusRewardWrapper(CodedEnv(), **options)


def test_numbers_of_numpy_are_recorded_as_pythons():
    env = ViperRewardWrapper(
        CodedEnv(), reward_model(), "a", beta=np.float32(0.5), reward_clip=np.array([-1, 2])
    )  # fmt: skip
    recorded = json.loads(json.dumps(env._saved_kwargs))
    assert recorded["beta"] == 0.5 and recorded["reward_clip"] == [-1.0, 2.0]


def test_grey_pictures_in_a_stack_are_not_taken_for_colours():
    grey = gym.wrappers.GrayscaleObservation(CodedEnv())
    stacked = gym.wrappers.FrameStackObservation(grey, 3)
    expected = [r for r, _ in play(ViperRewardWrapper(CodedEnv(), reward_model(), "a"))[0]]
    assert [r for r, _ in play(ViperRewardWrapper(stacked, reward_model(), "a"))[0]] == expected


@pytest.mark.parametrize("late", ["DelayObservation", "MaxAndSkipObservation"])
def test_wrappers_inside_that_change_what_is_compared_are_told_of(late):
    class Says(CodedEnv):
        preprocessing = {"camera": 0}

    env = getattr(gym.wrappers, late)(Says(), 2)
    with pytest.warns(UserWarning, match=f"{late} inside the reward"):
        ViperRewardWrapper(env, reward_model(), "a")
    with pytest.warns(UserWarning, match=f"{late} inside the reward"):
        ViperVectorRewardWrapper(SyncVectorEnv([lambda: env]), reward_model(), "a")


def test_step_before_reset_is_an_error():
    with pytest.raises(gym.error.ResetNeeded):
        ViperRewardWrapper(CodedEnv(), reward_model(), "a").step(0)


def test_unpickled_wrapper_gives_the_same_rewards(tmp_path):
    env = ViperRewardWrapper(CodedEnv(), reward_model(), "a")
    twin = pickle.loads(pickle.dumps(env))
    assert [r for r, _ in play(env)[0]] == [r for r, _ in play(twin)[0]]


@pytest.mark.parametrize("vector", ["no", "yes", "wrapped"])
def test_another_renderer_in_the_process_changes_no_frame_of_gymnasiums_mujoco(vector, monkeypatch):
    """Its renderer goes on in whichever OpenGL context was made current last."""
    monkeypatch.setenv("MUJOCO_GL", "egl")  # Gymnasium does not look for one without a display

    def hopper():
        return gym.make("Hopper-v5", render_mode="rgb_array", width=SIZE, height=SIZE)

    def rewards(disturb: bool) -> list[float]:
        if vector == "wrapped":
            inner = RecordEpisodeStatistics(SyncVectorEnv([hopper]))
            envs = ViperVectorRewardWrapper(inner, reward_model(), "a")
        elif vector == "yes":
            envs = ViperVectorRewardWrapper(SyncVectorEnv([hopper]), reward_model(), "a")
        else:
            envs = ViperRewardWrapper(hopper(), reward_model(), "a")
        envs.reset(seed=0)
        other, found = gym.make("HalfCheetah-v5", render_mode="rgb_array"), []
        for _ in range(3):
            if disturb:
                other.reset(seed=0)
                other.render()
            found.append(
                float(np.ravel(envs.step(np.zeros_like(envs.action_space.sample()))[1])[0])
            )
        other.close()
        envs.close()
        return found

    assert rewards(disturb=True) == rewards(disturb=False)


@pytest.mark.parametrize("observed", [False, True])
def test_environments_that_were_closed_change_no_frame_of_gymnasiums_mujoco(observed, monkeypatch):
    """What they drew into is freed later, in the context of whoever draws then."""
    monkeypatch.setenv("MUJOCO_GL", "egl")

    def hopper():
        env = gym.make("Hopper-v5", render_mode="rgb_array", width=SIZE, height=SIZE)
        env = AddRenderObservation(env) if observed else env
        return ViperRewardWrapper(env, reward_model(), "a")

    def rewards(disturb: bool) -> list[float]:
        env, other, found = hopper(), None, []
        env.reset(seed=0)
        for _ in range(4):
            if disturb:
                other = None
                gc.collect()
                other = hopper()
                other.reset(seed=1)
                other.step(np.zeros(3, np.float32))
                other.close()
            found.append(float(env.step(np.zeros(3, np.float32))[1]))
        env.close()
        return found

    assert rewards(disturb=True) == rewards(disturb=False)


def test_autoreset_inside_is_refused():
    inside = gym.wrappers.TimeLimit(gym.wrappers.Autoreset(CodedEnv()), 100)
    with pytest.raises(ValueError, match=r"put it outside, Autoreset\(ViperRewardWrapper"):
        ViperRewardWrapper(inside, reward_model(), "a")
    with pytest.raises(ValueError, match="put it outside"):
        BonusRewardWrapper(inside, "rnd")
    with pytest.raises(ValueError, match="put it outside"):
        ViperVectorRewardWrapper(SyncVectorEnv([lambda: inside]), reward_model(), "a")
    outside = gym.wrappers.Autoreset(ViperRewardWrapper(CodedEnv(), reward_model(), "a"))
    outside.reset(seed=0)
    outside.step(0)


def test_an_attribute_of_the_users_by_the_name_of_ours_says_nothing():
    class Own(CodedEnv):
        def preprocessing(self):
            return "of images"

    env = ViperRewardWrapper(Own(), reward_model(), "a")
    assert [r for r, _ in play(env)[0]] == [
        r for r, _ in play(ViperRewardWrapper(CodedEnv(), reward_model(), "a"))[0]
    ]


def test_loading_a_model_draws_no_random_number_of_the_users():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    VideoRewardModel.from_pretrained("dmc", task="cup_catch", device="cpu")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("bonus", [None, "rnd"])
def test_what_was_begun_in_inference_mode_goes_on_outside_and_back(bonus):
    big = {"bonus": bonus, "beta": 0.5, "device": "cpu"}
    env = gym.make("viper/dmc-cup_catch-v0", **big)
    with torch.inference_mode():
        env.reset(seed=0)
        for _ in range(10):
            env.step(np.zeros(2, np.float32))
    for _ in range(10):
        env.step(np.zeros(2, np.float32))
    env.reset(seed=0)
    with torch.inference_mode(), torch.no_grad():
        assert np.isfinite(env.step(np.zeros(2, np.float32))[1])
    env.close()


def test_a_frame_in_info_is_scored_and_taken_out():
    """Three grey pictures in a stack look like one of three colours."""

    class Grey(CodedEnv):
        def reset(self, **options):
            return np.zeros_like(super().reset(**options)[0]), {}

        def step(self, action):
            observation, *rest = super().step(action)
            return np.zeros_like(observation), *rest

    def played(env):
        (steps,) = play(ViperRewardWrapper(env, reward_model(), "a"))
        assert all("viper/frame" not in info for _, info in steps)
        return [reward for reward, _ in steps]

    assert played(FrameInInfo(Grey())) == pytest.approx(played(CodedEnv()))
    assert played(Grey()) != pytest.approx(played(CodedEnv()))


class Larger(gym.ObservationWrapper):
    """Renders at another size, of other proportions."""

    def __init__(self, env, height, width):
        super().__init__(env)
        self.height, self.width = height, width
        self.observation_space = gym.spaces.Box(0, 255, (height, width, 3), np.uint8)

    def observation(self, observation):
        rows = np.repeat(observation, self.height // SIZE, 0)
        return np.repeat(rows, self.width // SIZE, 1)


def test_frames_of_the_size_that_videos_were_resized_from_are_resized_as_they_were():
    expected = play(ViperRewardWrapper(CodedEnv(), reward_model(), "a", reward_scale="raw"))
    model = reward_model()
    model.config.preprocessing["a"] = {"resized_from": [2 * SIZE, 4 * SIZE]}
    large = ViperRewardWrapper(
        Larger(CodedEnv(), 2 * SIZE, 4 * SIZE), model, "a", reward_scale="raw"
    )
    assert [r for r, _ in play(large)[0]] == [r for r, _ in expected[0]]
    other = ViperRewardWrapper(Larger(CodedEnv(), 2 * SIZE, 2 * SIZE), model, "a")
    with pytest.raises(FrameMismatch, match="own size, or at 32x64, which the training videos had"):
        other.reset()
    unknown = ViperRewardWrapper(Larger(CodedEnv(), 2 * SIZE, 2 * SIZE), reward_model(), "a")
    with pytest.raises(FrameMismatch, match=r"render at the model's own size$"):
        unknown.reset()


def test_frames_drawn_small_are_told_from_those_that_videos_were_resized_from():
    model = reward_model()
    model.config.preprocessing["a"] = {"resized_from": [2 * SIZE, 4 * SIZE]}
    env = ViperRewardWrapper(CodedEnv(), model, "a", reward_scale="raw")
    with pytest.warns(
        UserWarning, match=f"were resized from {2 * SIZE}x{4 * SIZE}, this env"
    ) as got:
        env.reset()
        env.reset()
    assert len(got) == 1


def test_black_first_frames_are_warned_of():
    class Dark(gym.ObservationWrapper):
        def observation(self, observation):
            return (observation / 255.0).astype(np.uint8)

        def render(self):
            return self.observation(super().render())

    with pytest.warns(UserWarning, match="are black .* multiplied by 255"):
        ViperRewardWrapper(Dark(CodedEnv()), reward_model(), "a", reward_scale="raw").reset()


def test_an_environment_that_does_not_say_how_it_draws_is_warned_of_once():
    model = reward_model()
    model.config.preprocessing["a"] = {"camera": 0, "action_repeat": 2, "image_size": SIZE}
    with pytest.warns(
        UserWarning, match="the model's videos of 'a' have camera 0, action_rep"
    ) as got:
        ViperVectorRewardWrapper(SyncVectorEnv([CodedEnv] * 3), model, "a", reward_scale="raw")
    assert len(got) == 1

    class Says(gym.Wrapper):
        preprocessing = {"camera": 0, "action_repeat": 2}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ViperRewardWrapper(Says(CodedEnv()), model, "a", reward_scale="raw")


@pytest.mark.parametrize("side", ["free_camera", "see_through"])
def test_a_view_that_only_one_side_has_is_a_mismatch(side):
    for recorded, actual in (({side: [1]}, {}), ({}, {side: [1]})):
        with pytest.raises(PreprocessingMismatch, match=side):
            check_preprocessing({"camera": 0, **actual}, {"camera": 0, **recorded}, "a")
    check_preprocessing({"camera": 0}, {"fovy": 3.0}, "a")


def test_what_belongs_to_loading_is_refused_for_a_loaded_model():
    for option in ({"device": "cuda:7"}, {"dtype": "bf16"}, {"revision": "abc"}):
        with pytest.raises(ValueError, match="this model is loaded already"):
            ViperRewardWrapper(CodedEnv(), reward_model(), "a", **option)


def test_rewards_of_a_whole_video_take_bounds_as_live_ones_do():
    frames = np.stack([coded_frame(0, t) for t in range(8)])[None]
    model, options = reward_model(), {"reward_scale": "raw"}
    free = model.compute_reward(frames, "a", **options)
    low, high = (float(x) for x in np.quantile(free, [0.3, 0.7]))
    options["reward_clip"] = (low, high)
    env = ViperRewardWrapper(CodedEnv(), model, "a", **options)
    live = [reward for reward, _ in play(env)[0]]
    assert model.compute_reward(frames, "a", **options)[0] == pytest.approx(live, abs=1e-3)
    assert min(live) == low and max(live) == high

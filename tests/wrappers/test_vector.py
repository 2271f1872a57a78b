"""The vector wrappers give the numbers of the single one, whatever resets when."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper

from conftest import CodedEnv, coded_frame, random_video_model, toy_bundle, with_offsets
from viper_gym.errors import FrameMismatch, PreprocessingMismatch
from viper_gym.likelihood.reward_model import VideoRewardModel
from viper_gym.types import STEP_INFO
from viper_gym.wrappers.frames import FrameInInfo
from viper_gym.wrappers.single import ViperRewardWrapper
from viper_gym.wrappers.vector import ViperVectorRewardWrapper, said_of_frames

sb3 = pytest.importorskip("viper_gym.wrappers.sb3", reason="needs the extra 'sb3'")
from stable_baselines3.common.vec_env import DummyVecEnv  # noqa: E402

LENGTHS = (5, 7, 9)
STEPS = 40


@pytest.fixture(scope="module")
def model() -> VideoRewardModel:
    bundle = with_offsets(toy_bundle(random_video_model(), stride=2))
    return VideoRewardModel(bundle, device="cpu", dtype="fp32")


def expected(model: VideoRewardModel, env: CodedEnv, task: str, options: dict) -> list[dict]:
    """Infos of as many whole episodes of the single wrapper as STEPS hold."""
    length = env.length
    env = ViperRewardWrapper(env, model, task, **options)
    infos = []
    for _ in range(STEPS // length):
        env.reset()
        for _ in range(length):
            *_, info = env.step(0)
            infos.append(info)
    return infos


class Copying(CodedEnv):
    """Gymnasium's vector environments keep the last observation by reference."""

    def _observe(self):
        return super()._observe().copy()


def makers(pixels: bool, n: int = 3, kind: type[CodedEnv] = Copying) -> list:
    """n environments with episodes of different length and different frames."""
    return [lambda i=i: kind(LENGTHS[i % 3], pixels=pixels, first=5 * i) for i in range(n)]


def as_it_is(env: gym.Env) -> gym.Env:
    return env


def same_numbers(a: dict, b: dict) -> None:
    for key, value in b.items():
        if key.startswith("viper/") and key != "viper/time_share":
            assert a[key] == pytest.approx(value, abs=1e-4), key


@pytest.mark.parametrize("kind", ["gymnasium", "sb3"])
def test_bounds_and_the_tasks_share_are_those_of_the_single_wrapper(kind, model):
    raw = ViperRewardWrapper(Copying(9), model, "a", reward_scale="raw")
    raw.reset()
    paid = [raw.step(0)[1] for _ in range(6)]
    low, high = np.quantile(paid, [0.3, 0.7])
    options = {
        "reward_scale": "raw", "reward_clip": (low, high), "task_reward_weight": 0.25, "task": "a"
    }  # fmt: skip
    single = ViperRewardWrapper(Copying(9), model, **options)
    single.reset()
    if kind == "sb3":
        envs = sb3.ViperVecEnvWrapper(DummyVecEnv([lambda: Copying(9)]), model, **options)
    else:
        envs = ViperVectorRewardWrapper(SyncVectorEnv([lambda: Copying(9)]), model, **options)
    envs.reset()
    expected = [single.step(0)[1] for _ in range(6)]
    got = [float(envs.step(np.zeros(1, int))[1][0]) for _ in range(6)]
    assert got == pytest.approx(expected, abs=1e-4)
    assert expected != pytest.approx(paid) and len(set(np.round(expected, 3))) > 2


def test_a_vector_wrappers_own_pictures_are_scored():
    class Brighter(VectorWrapper):
        def render(self):
            return tuple(np.full_like(frame, 200) for frame in self.env.render())

    rewards = []
    model = VideoRewardModel(toy_bundle(random_video_model()), device="cpu", dtype="fp32")
    for wrap in (Brighter, as_it_is):
        envs = wrap(SyncVectorEnv(makers(pixels=False, n=1)))
        envs = ViperVectorRewardWrapper(envs, model, "a", reward_scale="raw")
        _, info = envs.reset()
        assert not any("viper/frame" in name for name in info)
        rewards.append(float(envs.step(np.zeros(1, int))[1][0]))
    bright = np.full((1, 2, 16, 16, 3), 200, np.uint8)
    assert rewards[0] == pytest.approx(model.log_prob(bright, "a")[0, 1], abs=1e-3)
    assert rewards[1] != pytest.approx(rewards[0], abs=1e-3)


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize(
    ("pixels", "mode", "kind", "wrap"),
    [
        (True, AutoresetMode.NEXT_STEP, Copying, as_it_is),
        (True, AutoresetMode.NEXT_STEP, CodedEnv, as_it_is),
        (False, AutoresetMode.NEXT_STEP, Copying, as_it_is),
        (False, AutoresetMode.NEXT_STEP, Copying, FrameInInfo),
        (True, AutoresetMode.SAME_STEP, Copying, as_it_is),
        (True, AutoresetMode.SAME_STEP, CodedEnv, FrameInInfo),  # it overwrites the last image
        (False, AutoresetMode.SAME_STEP, CodedEnv, FrameInInfo),
        (True, AutoresetMode.DISABLED, CodedEnv, as_it_is),
        (False, AutoresetMode.DISABLED, Copying, as_it_is),
    ],
)
def test_gymnasium_vector_equals_single(model, pixels, mode, kind, wrap, n):
    tasks = ["ab"[i % 2] for i in range(n)]
    envs = SyncVectorEnv(
        [lambda m=m: wrap(m()) for m in makers(pixels, n, kind)], autoreset_mode=mode
    )
    envs = ViperVectorRewardWrapper(envs, model, tasks, reward_scale="per_token")
    envs.reset(seed=0)
    seen: list[list[dict]] = [[] for _ in range(n)]
    for _ in range(STEPS):
        _, rewards, terminated, truncated, infos = envs.step(np.zeros(n, int))
        assert "viper/frame" not in {**infos, **infos.get("final_info", {})}
        assert set(STEP_INFO) <= set(infos)  # also where nobody is rewarded because all reset
        for i in range(n):
            keys = [k for k in infos if k.startswith("viper/") and infos[f"_{k}"][i]]
            if keys:
                seen[i].append({k: infos[k][i] for k in keys})
                assert rewards[i] == pytest.approx(infos["viper/reward"][i])
            else:
                assert mode == AutoresetMode.NEXT_STEP
                assert rewards[i] == 0
        over = terminated | truncated
        if mode == AutoresetMode.DISABLED and over.any():
            envs.reset(options={"reset_mask": over})
    for i, make in enumerate(makers(pixels, n, kind)):
        single = expected(model, make(), tasks[i], {"reward_scale": "per_token"})
        count = min(len(single), len(seen[i]))
        assert count >= STEPS - 2 * LENGTHS[i % 3]
        for a, b in zip(seen[i][:count], single[:count], strict=True):
            assert set(a) == {k for k in b if k.startswith("viper/")}
            same_numbers(a, b)


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize(
    ("pixels", "kind", "wrap"),
    [
        (True, Copying, as_it_is),
        (True, CodedEnv, FrameInInfo),  # it overwrites the last image that SB3 hands on
        (False, CodedEnv, FrameInInfo),
    ],
    ids=["pixels", "reused buffer", "state"],
)
def test_sb3_equals_single(model, pixels, kind, wrap, n):
    from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

    venv = DummyVecEnv([lambda m=m: wrap(m()) for m in makers(pixels, n, kind)])
    venv = VecMonitor(sb3.ViperVecEnvWrapper(venv, model, "b"))
    venv.reset()
    seen: list[list[dict]] = [[] for _ in range(n)]
    for _ in range(STEPS):
        _, rewards, _, infos = venv.step(np.zeros(n, int))
        for i, info in enumerate(infos):
            assert "viper/frame" not in info
            assert rewards[i] == pytest.approx(info["viper/reward"], abs=1e-5)
            seen[i].append(dict(info))
    for i, make in enumerate(makers(pixels, n, kind)):
        single = expected(model, make(), "b", {})
        assert len(single) > STEPS / 2
        for a, b in zip(seen[i], single, strict=False):
            same_numbers(a, b)
        monitored = [info["episode"]["r"] for info in seen[i] if "episode" in info]
        assert monitored == pytest.approx(
            [s["viper/return"] for s in single if "viper/return" in s], abs=1e-3
        )


class Counting:
    """A bonus that is the number of the environment."""

    def __init__(self):
        self.batches = []

    def compute(self, transition):
        return np.arange(len(transition.frame), dtype=np.float32)

    def update(self, transition):
        self.batches.append(len(transition.frame))

    def state_dict(self):
        return {}


def test_one_bonus_learns_from_all_environments(model):
    bonus = Counting()
    envs = ViperVectorRewardWrapper(
        SyncVectorEnv(makers(True)), model, "a", reward_scale="raw", bonus=bonus, beta=2.0
    )
    envs.reset(seed=0)
    _, rewards, _, _, infos = envs.step(np.zeros(3, int))
    assert rewards - infos["viper/log_prob"] == pytest.approx([0.0, 2.0, 4.0])
    assert bonus.batches == [3]


def test_render_of_same_step_resets_is_refused(model):
    envs = SyncVectorEnv(makers(False), autoreset_mode=AutoresetMode.SAME_STEP)
    envs = ViperVectorRewardWrapper(envs, model, "a")
    with pytest.raises(FrameMismatch, match=r"FrameInInfo.*NEXT_STEP"):
        envs.reset()


def test_a_last_observation_that_was_overwritten_is_warned_of_once(model):
    envs = SyncVectorEnv(makers(True, kind=CodedEnv), autoreset_mode=AutoresetMode.SAME_STEP)
    envs = ViperVectorRewardWrapper(envs, model, "a", reward_scale="raw")
    envs.reset(seed=0)
    with pytest.warns(UserWarning, match="FrameInInfo") as record:
        for _ in range(12):
            envs.step(np.zeros(3, int))
    assert len(record) == 1


def test_sb3_without_frames_says_how_to_get_them(model):
    from stable_baselines3.common.vec_env import DummyVecEnv

    venv = sb3.ViperVecEnvWrapper(DummyVecEnv(makers(False)), model, "a")
    with pytest.raises(FrameMismatch, match="FrameInInfo"):
        venv.reset()


def test_number_of_tasks_must_fit(model):
    with pytest.raises(ValueError, match="3 environments, but 2 tasks"):
        ViperVectorRewardWrapper(SyncVectorEnv(makers(True)), model, ["a", "b"])


def test_preprocessing_of_every_environment_is_checked(model):
    class Filmed(CodedEnv):
        preprocessing = {"camera": 2}

    model.config.preprocessing["b"] = {"camera": 0}
    try:
        with pytest.raises(PreprocessingMismatch, match=r"camera.*0.*2"):
            ViperVectorRewardWrapper(SyncVectorEnv([Filmed, Filmed]), model, ["a", "b"])
    finally:
        del model.config.preprocessing["b"]


def test_step_before_reset_is_an_error(model):
    envs = ViperVectorRewardWrapper(SyncVectorEnv(makers(True)), model, "a")
    from stable_baselines3.common.vec_env import DummyVecEnv

    venv = sb3.ViperVecEnvWrapper(DummyVecEnv(makers(True)), model, "a")
    for vector in (envs, venv):
        with pytest.raises(gym.error.ResetNeeded):
            vector.step(np.zeros(3, int))


def test_weight_of_the_bonus_can_be_changed_between_steps(model):
    from stable_baselines3.common.vec_env import DummyVecEnv

    options = {"task": "a", "bonus": Counting(), "beta": 0.5}
    for vector in (
        ViperVectorRewardWrapper(SyncVectorEnv(makers(True)), model, **options),
        sb3.ViperVecEnvWrapper(DummyVecEnv(makers(True)), model, **options),
    ):
        vector.reset()
        assert vector.beta == 0.5
        vector.beta = 3.0
        _, rewards, *_, infos = vector.step(np.zeros(3, int))
        if isinstance(infos, dict):
            infos = [{k: infos[k][i] for k in infos} for i in range(3)]
        assert [i["viper/bonus"] for i in infos] == [0.0, 3.0, 6.0]
        assert rewards == pytest.approx([i["viper/reward"] + i["viper/bonus"] for i in infos])


def test_reset_mask_starts_only_those_episodes(model):
    envs = SyncVectorEnv(makers(True), autoreset_mode=AutoresetMode.DISABLED)
    envs = ViperVectorRewardWrapper(envs, model, "a", reward_scale="raw")
    envs.reset(seed=0)
    for _ in range(3):
        envs.step(np.zeros(3, int))
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    _, rewards, *_ = envs.step(np.zeros(3, int))
    for i, (episode, t) in enumerate([(0, 4), (6, 1), (10, 4)]):
        frames = np.stack([coded_frame(episode, k) for k in range(t + 1)])
        assert rewards[i] == pytest.approx(model.log_prob(frames[None], "a")[0, -1], abs=1e-4)


def test_early_ends_under_negative_rewards_are_warned_of_once(model):
    from stable_baselines3.common.vec_env import DummyVecEnv

    envs = SyncVectorEnv([lambda: Copying(3, terminate=True)])
    envs = ViperVectorRewardWrapper(envs, model, "a")
    venv = sb3.ViperVecEnvWrapper(DummyVecEnv([lambda: Copying(3, terminate=True)]), model, "a")
    envs.reset(seed=0)
    venv.reset()
    for vector in (envs, venv):
        with pytest.warns(UserWarning, match="reward_clip") as record:
            for _ in range(8):
                vector.step(np.zeros(1, int))
        assert len(record) == 1


def test_time_limits_are_no_early_ends(model, recwarn):
    envs = ViperVectorRewardWrapper(SyncVectorEnv(makers(True)), model, "a")
    envs.reset(seed=0)
    for _ in range(10):
        envs.step(np.zeros(3, int))
    assert not recwarn.list


def test_a_vector_that_cannot_be_asked_one_by_one_says_how_it_draws():
    """ale-py's own, for instance, has no `call`."""

    class Whole(VectorEnv):
        num_envs = 3
        preprocessing = {"action_repeat": 4}

    assert said_of_frames(VectorWrapper(Whole())) == [{"action_repeat": 4}] * 3
    Whole.preprocessing = "something of the user's"
    assert said_of_frames(Whole()) == [None] * 3

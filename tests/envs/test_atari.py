"""Atari with the real emulator: protocol, masks, and an expert that looks ahead."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from viper_gym.benchmark.suite_episodes import suite_episodes
from viper_gym.data.episodes import Episode
from viper_gym.data.masks import load_masks, read_mask, write_mask
from viper_gym.data.rollout import record_episode
from viper_gym.data.videos import load_folder
from viper_gym.envs.atari import ATARI_GAMES, NOOPS, AtariEnv, atari_game, game_mask
from viper_gym.envs.behaviours import Held
from viper_gym.envs.collect import by_vectors, collect
from viper_gym.envs.game_policy import GamePolicy
from viper_gym.envs.lookahead import Lookahead, LookaheadConfig
from viper_gym.envs.suite import find_suite
from viper_gym.errors import UnknownTask

pytest.importorskip("ale_py", reason="needs the extra 'atari'")


@pytest.mark.parametrize("observation", ["pixels", "state"])
def test_environment_checker(observation):
    check_env(AtariEnv("pong", observation), skip_render_check=True)


def test_seeds_decide_and_games_do_not_all_begin_alike():
    env = AtariEnv("boxing")
    runs = []
    for seed in (1, 1, 2):
        first, _ = env.reset(seed=seed)
        frames = [first, *(env.step(3)[0] for _ in range(20))]
        runs.append(np.stack(frames))
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    assert env.render().shape == (64, 64, 3) and env.render().dtype == np.uint8
    starts = {env.reset(seed=s)[0].tobytes() for s in range(6)}
    assert len(starts) > 1 and NOOPS == 30


def test_actions_are_held_and_sometimes_stick():
    """Freeway's hen walks up 4 frames a step; without sticking it would be the same every time."""
    env = AtariEnv("freeway", observation="state")
    up = env.emulator_actions.index(next(a for a in env.emulator_actions if a.name == "UP"))
    heights = set()
    for seed in range(8):
        before = env.reset(seed=seed)[0][14]  # byte 14: how far up the hen is
        for _ in range(3):
            state, *_ = env.step(up)
        heights.add(float(state[14] - before))
    assert len(heights) > 1 and max(heights) > 0
    with pytest.raises(UnknownTask, match="known: assault, atlantis"):
        atari_game("chess")
    with pytest.raises(UnknownTask, match="no picture of its scene"):
        env.nothing_in_view()


# Where in the machine's memory games keep what they draw: the score, and time or lives left.
SCORE = {
    "assault": (0, 1, 2),
    "atlantis": (33, 34, 35),
    "boxing": (18, 19),
    "defender": (28, 29, 30, 31, 32, 33),
    "freeway": (103,),
    "kangaroo": (39, 40),
    "pong": (13, 14),
    "zaxxon": (104, 105),
}
LEFT = {"boxing": (17,), "defender": (66,), "kangaroo": (45,)}


@pytest.mark.parametrize("game", ATARI_GAMES)
def test_a_score_is_drawn_behind_the_mask_and_nowhere_else(game):
    """From one state of the machine, with other digits in its memory and with its own."""
    env, shown = AtariEnv(game), game_mask(game) == 1
    env.reset(seed=0)
    env.step(0)  # no other action is left that could stick
    state = env.emulator.cloneSystemState()

    def drawn(place: int, value: int | None = None) -> tuple[np.ndarray, float]:
        env.emulator.restoreSystemState(state)
        if value is not None:
            env.emulator.setRAM(place, value)
        frame, reward, *_ = env.step(0)
        return frame, reward

    for place in (*SCORE[game], *LEFT.get(game, ())):
        as_it_was, nothing = drawn(place)
        others = [drawn(place, value) for value in (0x01, 0x05, 0x08, 0x12)]
        changed = np.any([frame != as_it_was for frame, _ in others], (0, 3))  # (64, 64)
        assert changed[~shown].any() and not changed[shown].any(), np.flatnonzero(changed.any(1))
        points = {reward for _, reward in others}  # what the emulator takes for points
        assert nothing == 0.0 and (points == {0.0}) == (place not in SCORE[game])


def test_masks_leave_most_of_the_picture():
    for game in ATARI_GAMES:
        mask = game_mask(game)
        assert mask.shape == (64, 64) and set(np.unique(mask)) == {0, 1}
        assert 0.75 < mask.mean() < 1


@pytest.mark.parametrize(("game", "steps", "ahead"), [("boxing", 80, 8), ("freeway", 120, 1)])
def test_the_expert_scores_where_random_play_does_not(game, steps, ahead):
    env = AtariEnv(game, observation="state")
    expert, random = Lookahead(env), Held(env.action_space.n)
    returns = []
    for policy in (expert, random):
        episode = record_episode(by_vectors(env), policy, seed=0, length=steps)
        returns.append(episode.task_return)
    assert returns[0] >= returns[1] + ahead


def test_a_seed_decides_an_experts_episode():
    """The copies in which it plays futures are seeded too."""
    runs = []
    for _ in range(2):
        env = AtariEnv("boxing", observation="state")
        runs.append(record_episode(by_vectors(env), Lookahead(env), seed=4, length=60).frames)
    assert np.array_equal(*runs)


def test_looking_ahead_leaves_the_game_as_it_was():
    """Also the last action, to which the next may stick: the hen stays where it is."""
    env = AtariEnv("freeway", observation="state")
    env.reset(seed=0)
    expert = Lookahead(env, LookaheadConfig(single=3, drawn=2, horizon=5))
    expert.reset(np.random.default_rng(0))
    for _ in range(60):
        before = env.state()
        assert expert._best(np.zeros(0, int)).shape == (5,)
        assert np.array_equal(env.state(), before)
        state, *_ = env.step(0)
        assert state[14] == before[14]  # how far up the hen is


def test_small_actions_are_left_out_where_a_button_is_pressed_or_not(tmp_path):
    counts = {"zero": 1, "small": 1, "empty": 1}
    found = suite_episodes("pong", counts, tmp_path, 0, workers=0, suite="atari")
    assert list(found) == ["zero"]
    with pytest.raises(UnknownTask, match="'small' is nothing that suite 'atari' can show"):
        collect("pong", "small", 1, tmp_path, first_seed=0, workers=0, suite="atari")


def test_a_mask_that_is_there_is_kept(tmp_path):
    path = tmp_path / "pong" / "mask.png"
    write_mask(np.ones((64, 64)), path)
    collect("pong", "zero", 1, tmp_path, first_seed=0, workers=0, suite="atari")
    assert read_mask(path, 64).all()


def test_collected_games_carry_their_mask_into_training(tmp_path):
    [path] = collect("pong", "random", 1, tmp_path, first_seed=0, workers=0, suite="atari")
    episode = Episode.load(path)
    hidden = game_mask("pong") == 0
    assert episode.frames[:, hidden].any()  # recorded whole, hidden when loaded
    assert np.array_equal(load_masks(tmp_path, 64)["pong"], game_mask("pong"))
    [loaded] = load_folder(tmp_path, 64, min_frames=8)["pong"]
    assert not loaded.frames[:, hidden].any()
    assert episode.meta["task"] == "pong" and episode.task_return < 0
    assert isinstance(find_suite("atari").make("pong").action_space, gym.spaces.Discrete)


def test_pongs_expert_holds_out_where_random_play_loses():
    env = by_vectors(AtariEnv("pong", observation="state"))
    expert, random = find_suite("atari").expert("pong", env.unwrapped), Held(env.action_space.n)
    runs = [record_episode(env, expert, seed=2, length=400) for _ in range(2)]
    beaten = record_episode(env, random, seed=2, length=400)
    assert runs[0].task_return >= beaten.task_return + 6
    # nothing is remembered of the game before
    assert np.array_equal(runs[0].frames, runs[1].frames)
    with pytest.raises(UnknownTask, match="no policy is bundled for atari game 'boxing'"):
        GamePolicy("boxing")

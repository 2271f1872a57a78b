import numpy as np

from viper_gym.envs.behaviours import Held, Noisy, Switch, plan_episode


class _Always:
    """A policy of games: always the same button."""

    def __init__(self, button: int, buttons: int):
        self.action = np.eye(buttons, dtype=np.float32)[button]

    def reset(self, rng: np.random.Generator) -> None:
        pass

    def __call__(self, state: np.ndarray) -> np.ndarray:
        return self.action


def test_noise_replaces_every_button_equally_often():
    kept, first = [], []
    for button in (0, 5):
        policy = Noisy(_Always(button, 6), 1.0)
        policy.reset(np.random.default_rng(0))
        chosen = np.array([policy(np.zeros(0)).argmax() for _ in range(4000)])
        kept.append((chosen == button).mean())
        first.append((chosen == 1).mean())
    assert abs(kept[0] - kept[1]) < 0.03 and abs(first[0] - first[1]) < 0.03
    assert 0.3 < kept[0] < 0.7


def test_held_actions_stay_for_a_while_and_rest_is_recorded_behind_the_expert():
    for seed in range(20):
        held = plan_episode("held", None, 2, seed)
        held.policy.reset(np.random.default_rng(seed))
        actions = np.array([held.policy(np.zeros(1)) for _ in range(held.length)])
        changes = np.flatnonzero(np.any(np.diff(actions, axis=0), axis=1)) + 1
        assert len(actions) == 500 and set(np.diff(changes)) <= {20, 62, 125}
        assert np.abs(actions).max() > 0.1
        rest = plan_episode("rest", Held(2, 1.0), 2, seed)
        assert isinstance(rest.warmup, Switch)
        rest.warmup.reset(np.random.default_rng(seed))
        before = np.array([rest.warmup(np.zeros(1)) for _ in range(rest.warmup_steps)])
        acted = np.flatnonzero(before.any(1))
        assert 20 <= acted[-1] + 1 < 150 and acted[-1] + 1 + 41 == rest.warmup_steps
        assert rest.length == 500 - rest.warmup_steps
        rest.policy.reset(np.random.default_rng(seed))
        assert not rest.policy(np.zeros(1)).any()

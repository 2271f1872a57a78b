import numpy as np

from viper_gym.envs.behaviours import Noisy


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

"""Rewards for episodes that are over (the authors' way), in place of the environment's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from viper_gym.agents.replay import FrameReplay

Relabel = Callable[[np.ndarray], np.ndarray]
"""frames of an episode, uint8 (T, H, W, 3) from its first -> rewards of its steps (T - 1,)"""


class LaterRewards:
    """Rewards the newest episodes of a replay.

    Args:
        replay: which was made with `labels_later`.
        relabel: what episodes are rewarded by.
        num_envs: environments.
        add_rewards: the environments' own rewards are an exploration bonus, and are added.
    """

    def __init__(self, replay: FrameReplay, relabel: Relabel, num_envs: int, add_rewards: bool):
        self.relabel, self._replay, self._add = relabel, replay, add_rewards
        self._bonuses: list[list[float]] = [[] for _ in range(num_envs)]  # of the newest episodes

    def step(self, rewards: np.ndarray, first: np.ndarray, over: np.ndarray) -> list[float]:
        """After every step that the replay has been given.

        Args:
            rewards: float (n,), the environments' own.
            first: bool (n,), the step was an episode's first.
            over: bool (n,), the episode had ended before, and the step only reset.

        Returns:
            What episodes of which the last frame is in the replay now were rewarded with, without
            bonus.
        """
        returns = [self.label(int(env)) for env in np.flatnonzero(over)]
        for env in np.flatnonzero(~over):
            if first[env]:
                self._bonuses[env].clear()
            self._bonuses[env].append(float(rewards[env]))
        return returns

    def label(self, env: int) -> float:
        """Reward the newest episode of an environment as far as it has come; gives its return.

        Raises:
            ReplayError: its first frames are overwritten already.
        """
        frames = self._replay.newest_episode(env)
        bonuses = self._bonuses[env][: len(frames) - 1]
        if len(frames) < 2 or len(bonuses) < len(frames) - 1:  # of a run that this one resumes
            return 0.0
        rewards = self.relabel(frames)
        self._replay.set_rewards(env, rewards + self._add * np.array(bonuses))
        return float(np.sum(rewards))

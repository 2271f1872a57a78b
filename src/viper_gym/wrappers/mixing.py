"""One definition of the mixed reward, for every wrapper: r = scale(ln p) + beta * bonus."""

from __future__ import annotations

from dataclasses import dataclass

from viper_gym.likelihood.scaling import RewardScale
from viper_gym.types import (
    INFO_BONUS,
    INFO_LOG_PROB,
    INFO_REWARD,
    INFO_TASK_REWARD,
    RewardTerms,
)


@dataclass(frozen=True)
class Mix:
    """Weights of the parts (paper Eq. 6); the task reward has none unless asked for."""

    scale: RewardScale
    beta: float = 1.0
    task_reward_weight: float = 0.0

    def __call__(self, log_prob: float, bonus: float, task: float) -> RewardTerms:
        """Nats of the frame, normalised bonus and task reward -> the parts and their sum."""
        viper = float(self.scale(log_prob))  # type: ignore[arg-type]
        weighted = self.beta * float(bonus)
        total = viper + weighted + self.task_reward_weight * task
        return RewardTerms(float(log_prob), viper, weighted, float(task), float(total))


def info_of(terms: RewardTerms) -> dict[str, float]:
    """The info keys of every step, Python floats."""
    return {
        INFO_LOG_PROB: terms.log_prob,
        INFO_REWARD: terms.viper,
        INFO_BONUS: terms.bonus,
        INFO_TASK_REWARD: terms.task,
    }

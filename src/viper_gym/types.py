"""Protocols and small named tuples shared by all layers.

Letters used in shape comments: B batch, T frames, H W C image, N tokens a frame,
h w token grid, K codebook size, D width.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

INFO_LOG_PROB = "viper/log_prob"
INFO_REWARD = "viper/reward"
INFO_BONUS = "viper/bonus"
INFO_TASK_REWARD = "viper/task_reward"
INFO_RETURN = "viper/return"
INFO_TASK_RETURN = "viper/task_return"
INFO_TIME_SHARE = "viper/time_share"

RESIZED = "resized_from"
"""key of what is recorded of videos: [height, width] that `pictures.resize` was given"""


class StateReader(Protocol):
    """An environment whose low-dimensional state can be read (what oracles act on)."""

    def state(self) -> np.ndarray: ...


class Policy(Protocol):
    """Maps a state vector to an action in [-1, 1]; `reset` starts an episode."""

    def reset(self, rng: np.random.Generator) -> None: ...

    def __call__(self, state: np.ndarray) -> np.ndarray: ...


class Transition(NamedTuple):
    """One step of each of m environments; both frames belong to the same episode."""

    previous: np.ndarray  # uint8 (m, H, W, 3), what was shown when the agent acted
    action: np.ndarray  # float32 (m, A), flattened; one-hot where actions are discrete
    frame: np.ndarray  # uint8 (m, H, W, 3), what the step showed
    # float32 (m, D): the frozen tokenizer's code vectors of both frames; None without a video model
    previous_features: np.ndarray | None = None
    features: np.ndarray | None = None


@runtime_checkable
class Bonus(Protocol):
    """An exploration bonus: `compute` scores steps, `update` learns from them.

    Every wrapper calls `compute` and then `update` once a step, with the same transition. The
    arrays are copies and may be kept. Steps that only reset an environment are left out.
    """

    def compute(self, transition: Transition) -> np.ndarray:
        """float32 (m,), already normalised by running statistics."""
        ...

    def update(self, transition: Transition) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...


class RewardTerms(NamedTuple):
    """The parts of the mixed rewards of m environments; float64 (m,) each."""

    log_prob: np.ndarray  # nats of the frame
    viper: np.ndarray  # scaled reward, without bonus
    bonus: np.ndarray  # beta * bonus
    task: np.ndarray  # the environment's own reward
    total: np.ndarray  # what the agent receives


STEP_INFO = {
    INFO_LOG_PROB: "log_prob",
    INFO_REWARD: "viper",
    INFO_BONUS: "bonus",
    INFO_TASK_REWARD: "task",
}
"""info key of every step -> field of `RewardTerms`"""

SUCCESS_INFO = ("success", "is_success")
"""info keys by which environments tell that a task is solved (Meta-World's, Gymnasium-Robotics')"""

"""Does a bundled checkpoint pay an expert, and not for standing still, on this machine?"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from viper_gym.diagnosis.findings import ChildFailed, Finding, in_child
from viper_gym.diagnosis.suites import first_installed


class Trial(NamedTuple):
    """An expert that is paid, and for how long: its last steps, when it has done the task."""

    suite: str
    task: str
    steps: int
    expert: str
    """what it does"""
    idle: str
    """what doing nothing is"""


TRIALS = {
    # the oracle balances after some 60 steps, the script has closed the door after 57
    "dm_control": Trial("dmc", "cartpole_swingup", 120, "balancing", "hanging"),
    "metaworld": Trial("metaworld", "door_close", 100, "closing the door", "standing still"),
}
"""by the module that has to be installed"""
UNKNOWN = "panda_lift"  # of robosuite, of which no bundled checkpoint knows a task
TAIL = 40  # steps
REPEATED = 30
TOLERANCE = 1e-3  # of rewards, between two runs of the same seed and actions


def check(timeout: float, folder: str | None = None) -> list[Finding]:
    """Play and score the expert and a hanging pole, in a child.

    Args:
        timeout: seconds.
        folder: of a bundle that knows the task; that of its id if left out.
    """
    simulator = first_installed((*TRIALS, "robosuite"))
    if simulator is None:
        todo = 'for dm_control tasks: pip install "viper-gym[dmc]"'
        found = "not tried: no simulator that a bundled checkpoint knows is installed"
        return [Finding("reward", "note", found, todo)]
    known = simulator in TRIALS
    name, given = ("play", [simulator]) if known else ("score_unknown", [])
    try:
        answer = in_child(f"{__name__}:{name}", folder or "", *given, timeout=timeout)
    except ChildFailed as error:
        todo = "see the lines above; if they are fine, reinstall viper-gym"
        return [Finding("reward", "problem", f"no reward could be computed: {error}", todo)]
    return judge(**answer, trial=TRIALS[simulator]) if known else judge_unknown(answer)


def play(folder: str = "", simulator: str = "dm_control") -> dict[str, float]:
    """Mean reward a step of an expert and of doing nothing; to be run in a child.

    Returns:
        expert and still: scaled rewards (0 the best cheap behaviour, 1 the expert); difference:
        the largest one between two runs of the same episode.
    """
    from viper_gym.checkpoints.resolve import resolve
    from viper_gym.envs.suite import find_suite
    from viper_gym.wrappers.single import ViperRewardWrapper

    trial = TRIALS[simulator]
    suite, task = find_suite(trial.suite), trial.task
    bare: Any = suite.make(task)
    policy = suite.expert(task, bare)
    env = ViperRewardWrapper(bare, folder or resolve(trial.suite, task=task), task)
    still = np.zeros(env.action_space.shape or (), np.float32)

    def rewards(expert: bool, steps: int) -> np.ndarray:
        env.reset(seed=0)
        policy.reset(np.random.default_rng(0))
        return np.array(
            [env.step(policy(bare.state()) if expert else still)[1] for _ in range(steps)]
        )

    expert, again = rewards(True, trial.steps), rewards(True, REPEATED)
    return {
        "expert": float(expert[-TAIL:].mean()),
        "still": float(rewards(False, TAIL)[TAIL // 2 :].mean()),
        "difference": float(np.abs(expert[:REPEATED] - again).max()),
    }


def score_unknown(folder: str = "") -> float:
    """Score robosuite's frames with the bundle of another task; to be run in a child.

    What comes out says nothing of the task, but frames are drawn and likelihoods are finite.

    Returns:
        The largest difference between two runs of the same episode, as a share of the largest
        likelihood (nats).
    """
    from viper_gym.envs.suite import find_suite
    from viper_gym.likelihood.reward_model import VideoRewardModel

    other = TRIALS["dm_control"].task
    model = VideoRewardModel.from_pretrained(folder or "dmc", task=other)
    env = find_suite("robosuite").make(UNKNOWN)

    def scores() -> np.ndarray:
        frames = [env.reset(seed=0)[0]]
        env.action_space.seed(0)
        frames += [env.step(env.action_space.sample())[0] for _ in range(REPEATED)]
        return model.log_prob(np.stack(frames)[None], other)

    first, again = scores(), scores()
    return float(np.abs(first - again).max() / np.abs(first).max())


def judge_unknown(difference: float) -> list[Finding]:
    """The line on frames that no bundled checkpoint knows."""
    found = (
        f"likelihoods of robosuite's {UNKNOWN} are finite (no bundled checkpoint knows its tasks, "
        "so no reward is compared)"
    )
    return _repeats(found, difference)


def judge(
    expert: float, still: float, difference: float, trial: Trial = TRIALS["dm_control"]
) -> list[Finding]:
    """Is the expert on its side of the middle of the scale, standing still on the other?"""
    found = (
        f"{trial.task}: {trial.expert} earns {expert:.2f} a step (expert level 1), "
        f"{trial.idle} {still:.2f}"
    )
    if not (expert > 0.5 > still):  # NaN fails, too
        todo = "frames look unlike the training videos, or the weights are damaged: see above"
        return [Finding("reward", "problem", f"{found}: not what the model was made for", todo)]
    return _repeats(found, difference)


def _repeats(found: str, difference: float) -> list[Finding]:
    if not difference <= TOLERANCE:
        found = f"{found}; the same episode differs by {difference:.3f} when repeated"
        todo = "this machine's rendering is not deterministic: expect the last digits to vary"
        return [Finding("reward", "note", found, todo)]
    return [Finding("reward", "ok", f"{found}; repeats exactly")]

"""Does the bundled checkpoint pay an expert, and not for standing still, on this machine?"""

from __future__ import annotations

from importlib.util import find_spec

from viper_gym.diagnosis.findings import ChildFailed, Finding, in_child

TASK = "cartpole_swingup"
STEPS, TAIL = 120, 40  # the oracle balances after some 60 steps
REPEATED = 30
TOLERANCE = 1e-3  # of rewards, between two runs of the same seed and actions


def check(timeout: float, folder: str | None = None) -> list[Finding]:
    """Play and score the expert and a hanging pole, in a child.

    Args:
        timeout: seconds.
        folder: of a bundle that knows cartpole_swingup; that of its id if left out.
    """
    if find_spec("dm_control") is None:
        todo = 'for dm_control tasks: pip install "viper-gym[dmc]"'
        return [Finding("reward", "note", "not tried: dm_control is not installed", todo)]
    try:
        levels = in_child(f"{__name__}:play", folder or "", timeout=timeout)
    except ChildFailed as error:
        todo = "see the lines above; if they are fine, reinstall viper-gym"
        return [Finding("reward", "problem", f"no reward could be computed: {error}", todo)]
    return judge(**levels)


def play(folder: str = "") -> dict[str, float]:
    """Mean reward a step of balancing and of hanging still; to be run in a child.

    Returns:
        expert and still: scaled rewards (0 the best cheap behaviour, 1 the expert); difference:
        the largest one between two runs of the same episode.
    """
    import numpy as np

    from viper_gym.checkpoints.resolve import resolve
    from viper_gym.envs.dmc import DMCEnv
    from viper_gym.envs.oracle import Oracle
    from viper_gym.wrappers.single import ViperRewardWrapper

    bare, oracle = DMCEnv(TASK), Oracle(TASK)
    env = ViperRewardWrapper(bare, folder or resolve("dmc", task=TASK), TASK)

    def rewards(expert: bool, steps: int) -> np.ndarray:
        env.reset(seed=0)
        still = np.zeros(1, np.float32)
        return np.array(
            [env.step(oracle(bare.state()) if expert else still)[1] for _ in range(steps)]
        )

    expert, again = rewards(True, STEPS), rewards(True, REPEATED)
    return {
        "expert": float(expert[-TAIL:].mean()),
        "still": float(rewards(False, TAIL)[TAIL // 2 :].mean()),
        "difference": float(np.abs(expert[:REPEATED] - again).max()),
    }


def judge(expert: float, still: float, difference: float) -> list[Finding]:
    """Is the expert on its side of the middle of the scale, standing still on the other?"""
    found = f"{TASK}: balancing earns {expert:.2f} a step (expert level 1), hanging {still:.2f}"
    if not (expert > 0.5 > still):  # NaN fails, too
        todo = "frames look unlike the training videos, or the weights are damaged: see above"
        return [Finding("reward", "problem", f"{found}: not what the model was made for", todo)]
    if not difference <= TOLERANCE:
        found = f"{found}; the same episode differs by {difference:.3f} when repeated"
        todo = "this machine's rendering is not deterministic: expect the last digits to vary"
        return [Finding("reward", "note", found, todo)]
    return [Finding("reward", "ok", f"{found}; repeats exactly")]

"""Can RLBench start, and is it the one that the adapter was written against?"""

from __future__ import annotations

from viper_gym.diagnosis.findings import ChildFailed, Finding, in_child
from viper_gym.envs.rlbench_installation import INSTALL, missing_parts

_COMPARE = "viper_gym.envs.rlbench_installation:contract_differences"


def check(timeout: float) -> list[Finding]:
    """Compare names and parameters in a child: Qt ends a process that has no display.

    Args:
        timeout: seconds for RLBench's import.
    """
    missing = missing_parts()
    if missing:
        return [Finding("rlbench", "note", f"cannot start without {'; '.join(missing)}", INSTALL)]
    try:
        differences = in_child(_COMPARE, timeout=timeout)
    except ChildFailed as error:
        return [Finding("rlbench", "problem", f"cannot be imported: {error}", INSTALL)]
    if differences:
        found = "not the RLBench 1.2.0 that the adapter was written against: "
        return [Finding("rlbench", "problem", found + "; ".join(differences), INSTALL)]
    return [Finding("rlbench", "ok", "every call of the adapter fits it")]

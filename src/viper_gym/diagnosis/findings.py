"""What a check finds, and how checks are kept from taking each other down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from viper_gym.errors import ViperGymError

# not `python -m`, which looks for every module in the working directory first
_CHILD = """
import sys
sys.path[:] = [place for place in sys.path if place]
from viper_gym.diagnosis.child import main
main()
"""
Status = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """One line of the report."""

    check: str
    status: Status  # note: works, but worth knowing; problem: something will not work
    found: str
    todo: str = ""


class ChildFailed(ViperGymError):
    """A child process raised, crashed or did not answer; the message says which."""


def in_child(
    target: str,
    *arguments: str | int | float,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Call a function in a fresh interpreter, where it can hang or crash without harm.

    Args:
        target: "module:function"; what it returns must be JSON.
        arguments: of the function.
        timeout: seconds; the child is killed then.
        environment: variables changed for the child.

    Raises:
        ChildFailed: naming the error, the signal or the time.
    """
    command = [sys.executable, "-c", _CHILD, target, json.dumps(arguments)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise ChildFailed(f"no answer within {timeout:g} s") from error
    if done.returncode < 0:
        raise ChildFailed(f"crashed with {signal.Signals(-done.returncode).name}")
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode:
        raise ChildFailed(lines[-1] if lines else f"exit status {done.returncode}")
    # libraries greet on stdout: the answer is its last line
    return json.loads(done.stdout.strip().splitlines()[-1])


def guarded(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """The findings of a check; one that raises is itself a problem."""
    try:
        return check()
    except Exception as error:  # whatever is broken, the other checks must still run
        message = f"{type(error).__name__}: {error}"
        return [Finding(name, "problem", f"the check itself failed: {message}", "report this")]

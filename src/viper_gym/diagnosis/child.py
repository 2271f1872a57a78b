"""The other end of `in_child`, which gives it MODULE:FUNCTION and its arguments as JSON."""

from __future__ import annotations

import json
import sys
from importlib import import_module


def main() -> None:
    module, name = sys.argv[1].split(":")
    try:
        answer = getattr(import_module(module), name)(*json.loads(sys.argv[2]))
    except Exception as error:  # the parent shows one line, not a traceback
        text = " ".join(str(error).split())
        sys.exit(f"{type(error).__name__}: {text}")
    sys.stdout.write("\n" + json.dumps(answer) + "\n")

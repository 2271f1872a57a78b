"""Names and values as a user types them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def decode_values(given: Mapping[str, str]) -> dict[str, Any]:
    """Values are JSON (0.5, null, [1, 2]) where they can be, else words."""
    decoded: dict[str, Any] = {}
    for name, text in given.items():
        try:
            decoded[name] = json.loads(text)
        except json.JSONDecodeError:
            decoded[name] = text
    return decoded

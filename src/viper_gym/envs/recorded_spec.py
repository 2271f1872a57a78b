"""How an environment's spec stays free of loaded models, which Gymnasium would copy."""

from __future__ import annotations

from typing import Any


class RecordedSpec:
    """Put before `gym.Env` among the bases of an environment."""

    _spec: Any = None
    spec_kwargs: dict[str, Any] | None = None
    """what the spec records in place of objects that the environment was made with"""

    @property
    def spec(self) -> Any:
        """Gymnasium's record of how this was made."""
        return self._spec

    @spec.setter
    def spec(self, spec: Any) -> None:
        if spec is not None and self.spec_kwargs:
            spec.kwargs = {**spec.kwargs, **self.spec_kwargs}
        self._spec = spec

"""What a pipeline file says, as plain values, once its keys are checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from taxi_nb.pipeline._matrix import Matrix


@dataclass
class StepForm:
    """A step of the file; times are in seconds, memory in bytes."""

    notebook: str
    name: str | None
    params: dict[str, Any]
    matrix: dict[str, list[Any]]
    needs: list[str] | None
    timeout: float | None
    retries: int
    memory: float | None
    cpus: float | None

    @property
    def table(self) -> Matrix:
        """Its matrix, with the rules of its axes."""
        return Matrix(self.matrix)

    @property
    def group(self) -> str:
        """Its name, without the values of its matrix."""
        return self.name or Path(self.notebook).stem


@dataclass
class PipelineForm:
    """The whole file."""

    experiment: str | None
    tracking_uri: str | None
    artifact_root: str | None
    results: str | None
    month: str | None
    params: dict[str, Any]
    checks: dict[str, Any]
    notify: Any
    review: str | None
    timeout: float | None
    steps: list[StepForm]

    @classmethod
    def of(cls, keys: Mapping[str, Any]) -> Self:
        """Take what `checked_keys` returns."""
        return cls(**{**keys, "steps": [StepForm(**step) for step in keys["steps"]]})

    def as_json(self) -> str | None:
        """Return it as JSON; None if that would not be the same: JSON has no dates, nor other keys.

        >>> form = dict.fromkeys(PipelineForm.__annotations__) | {"steps": []}
        >>> PipelineForm.of({**form, "params": {"seed": 1}}).as_json()[:20]
        '{"experiment": null,'
        >>> PipelineForm.of({**form, "params": {1: "seed"}}).as_json() is None
        True
        """
        keys = asdict(self)
        try:
            text = json.dumps(keys)
        except TypeError:
            return None
        return text if json.loads(text) == keys else None

"""What a pipeline file (params/*.yaml) says once it is checked, and the mistakes that one has."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from taxi_nb.pipeline._recipients import Recipient
from taxi_nb.plain_data import shortened
from taxi_nb.tracking.names import CHECKS_VARIABLE, PROMOTE_VARIABLE

if TYPE_CHECKING:
    from taxi_nb.located_yaml import Location


class Subject(Protocol):
    """What those know who wrote the notebooks: a pipeline file is checked with it."""

    # What a parameters cell may import, such as ``taxi_nb.Month``, and the pydantic type it is.
    types: Mapping[str, Any]

    def checks(
        self, written: Mapping[str, Any], /
    ) -> tuple[Collection[str], Sequence[tuple[Location, str]]]:
        """Return the names of a file's checks, and what is wrong: where, and a sentence."""

    def mistakes(
        self, declared: Mapping[str, str], values: Mapping[str, Any], /
    ) -> Iterable[tuple[str, str]]:
        """Yield what is wrong with values of such types taken together: a name, a sentence."""


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is and what would be right."""

    file: str
    line: int | None
    key: str
    message: str

    def __post_init__(self) -> None:
        """Keep the beginning of what is long: a message may quote a value."""
        for part, most in (("file", 300), ("key", 300), ("message", 1_000)):
            object.__setattr__(self, part, shortened(getattr(self, part), most))

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class PipelineFileError(ValueError):
    """All the mistakes of a pipeline file at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Step:
    """One execution of one notebook."""

    # ``03_train`` or, of a matrix, ``03_train[lasso]``.
    name: str
    # The name without the matrix values; `needs` may name it.
    group: str
    notebook: Path
    # Only names that the notebook declares.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    # Names of the steps that have to be done before.
    needs: tuple[str, ...] = ()
    # Seconds that the whole notebook may take.
    timeout: float | None = None
    retries: int = 0
    # Bytes that its kernel may use, and processors to keep free for it.
    memory: float | None = None
    cpus: float | None = None
    # Whether the file names its `needs`: it then runs again whenever one of them does.
    # Otherwise it waits for all before it, and what it uses of them is recorded.
    needs_are_declared: bool = False
    # The parameters whose values its matrix gives: their number decides which steps there are.
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """A checked pipeline file: nothing in it can fail before a notebook runs."""

    name: str
    file: Path
    root: Path
    experiment: str | None
    tracking_uri: str | None
    artifact_root: str | None
    # Where results are shared: a folder, or an address that fsspec knows.
    results: str | None
    steps: tuple[Step, ...]
    # The ``NAME=VALUE`` that it was read with.
    overrides: tuple[str, ...] = ()
    # What the file's relative months were relative to; it is among the overrides.
    month: str | None = None
    # The parameters of which a value is relative to it.
    relative: frozenset[str] = frozenset()
    # A run that is open already and is to be the pipeline's.
    mlflow_run: str | None = None
    # The environment variables that parameters name as ``env:NAME``.
    secrets: frozenset[str] = frozenset()
    # What data have to pass, as the file says it.
    checks: Mapping[str, Any] = field(default_factory=dict)
    # The checks that are let pass this time, each with the reason.
    accepted: Mapping[str, str] = field(default_factory=dict)
    # Whether its decisions may change which model is to be used.
    promotes: bool = True
    # Who is told how a run ended.
    recipients: tuple[Recipient, ...] = ()
    # Whether a person has to approve a run before its model may be champion.
    needs_review: bool = False

    @property
    def variables(self) -> dict[str, str | None]:
        """The environment variables by which its steps learn what it allows; None: not set.

        A step that asks for one has it among its inputs, so that it runs again when it changes.
        """
        return {CHECKS_VARIABLE: self._checks(), PROMOTE_VARIABLE: None if self.promotes else "no"}

    def _checks(self) -> str | None:
        if not self.checks:
            return None
        text = json.dumps({"checks": self.checks, "accepted": self.accepted}, sort_keys=True)
        # What is noted of a variable is without what would be a secret of an address.
        for sign in "?#@":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        return text

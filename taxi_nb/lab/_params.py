"""`%params`: a notebook's parameters as a pipeline would give them, and `%plan`: what would run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.lab._words import usage
from taxi_nb.project import path_within, project_file, project_root
from taxi_nb.tracking.origin import Origin

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from taxi_nb.pipeline.planned import Plan
    from taxi_nb.pipeline.spec import Pipeline, Step

PLAN_USAGE = "%plan FILE [NAME=VALUE ...], such as %plan params/green-2021.yaml"
USAGE = "%params FILE [STEP] [NAME=VALUE ...], such as %params params/green-2021.yaml"


@dataclass(frozen=True)
class GivenParameters:
    """The parameters that a pipeline gives a step; they show themselves as a table."""

    file: str
    step: str
    values: Mapping[str, Any]
    others: tuple[str, ...]  # Executions of the same notebook that could have been meant.
    kept: tuple[str, ...]  # The parameters that stay at the notebook's own values.
    checks: tuple[str, ...] = ()  # What data have to pass that are loaded from now on.

    def __str__(self) -> str:
        lines = [f"{name} = {value!r}" for name, value in self.values.items()]
        return "\n".join([f"# As {self.file} gives them to {self.step}", *lines, *self._notes()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align: left'>{escape(name)}</th>"
            f"<td style='text-align: left'><code>{escape(repr(value))}</code></td></tr>"
            for name, value in self.values.items()
        )
        notes = "".join(f"<p>{escape(note.removeprefix('# '))}</p>" for note in self._notes())
        title = f"Set as {escape(self.file)} gives them to <b>{escape(self.step)}</b>:"
        return f"<p>{title}</p><table>{rows}</table>{notes}"

    def _notes(self) -> list[str]:
        notes = []
        if self.kept:
            notes.append(f"# As the parameters cell has them: {', '.join(self.kept)}")
        if self.checks:
            notes.append(f"# Checks of the data, as in the file: {', '.join(self.checks)}")
        if self.others:
            notes.append(f"# This notebook is executed as {', '.join(self.others)}, too")
        return notes


def set_parameters(shell: InteractiveShell, line: str) -> GivenParameters:
    """Set a shell's variables as a pipeline would give them, for the line after ``%params``.

    Mistakes are a `UsageError`, which IPython shows without a traceback.
    """
    words = shlex.split(line)
    overrides = [word for word in words if "=" in word]
    places = [word for word in words if "=" not in word]
    if not 1 <= len(places) <= 2:
        raise usage(USAGE)
    pipeline = read(Path(places[0]), overrides)
    step, *others = _candidates(pipeline, places[1] if len(places) == 2 else None)
    shell.push(dict(step.parameters))  # type: ignore[no-untyped-call]
    set_variables(pipeline)
    from taxi_nb.pipeline.parameters import declared_parameters

    return GivenParameters(
        file=path_within(pipeline.root, pipeline.file),
        step=step.name,
        values=step.parameters,
        others=tuple(other.name for other in others),
        kept=tuple(n for n in declared_parameters(step.notebook) if n not in step.parameters),
        checks=tuple(pipeline.checks),
    )


def plan_of(line: str) -> Plan:
    """Plan a pipeline, as ``taxi-nb plan`` does, for the line after ``%plan``."""
    from taxi_nb.pipeline.memory import Memory
    from taxi_nb.pipeline.plan import plan
    from taxi_nb.tracking.store_errors import StoreError

    file, *overrides = shlex.split(line) or [""]
    if not file or not all("=" in override for override in overrides):
        raise usage(PLAN_USAGE)
    try:
        pipeline = read(Path(file), overrides)
        return plan(pipeline, Memory(pipeline))
    except StoreError as error:
        raise usage(str(error)) from None


def set_variables(pipeline: Pipeline) -> None:
    """Set the variables that a pipeline sets for its steps, such as the checks of data."""
    for name, value in pipeline.variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def read(file: Path, overrides: Sequence[str]) -> Pipeline:
    """Read a pipeline file; its mistakes are a `UsageError`."""
    from taxi_nb.pipeline.pipeline_file import read_pipeline
    from taxi_nb.pipeline.spec import PipelineFileError
    from taxi_nb.training.notebook_parameters import PARAMETERS
    from taxi_nb.trips.newest_month import newest_month_of

    try:
        return read_pipeline(
            project_file(file),
            project_root(),
            overrides,
            newest_month_of,
            subject=PARAMETERS,
        )
    except PipelineFileError as error:
        raise usage("\n".join([f"{file} has mistakes", str(error)])) from None


def _candidates(pipeline: Pipeline, wanted: str | None) -> list[Step]:
    """Return the executions that are meant, the chosen one first."""
    names = ", ".join(step.name for step in pipeline.steps)
    if wanted is not None:
        if found := [step for step in pipeline.steps if wanted in (step.name, step.group)]:
            return found
        raise usage(f"{pipeline.file.name} has no step {wanted!r}; it has {names}")
    here, root = Origin.here(), pipeline.root
    if here.kind != "NOTEBOOK":
        raise usage(f"which notebook this is cannot be told here; name a step, one of {names}")
    found = [step for step in pipeline.steps if path_within(root, step.notebook) == here.name]
    if not found:
        raise usage(f"{pipeline.file.name} does not run {here.name}; name a step, one of {names}")
    return found

"""Pipeline runs on disk: a run with its files, and the runs before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.record import RUN_FILE, RunRecord, StepResult
from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.project import file_inside
from taxi_nb.tracking.names import RUN_VARIABLES

# More would make the page long and the chart unreadable.
MOST_RUNS = 30


@dataclass(frozen=True)
class RunOnDisk:
    """A run's record and its folder."""

    record: RunRecord
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> RunOnDisk:
        """Read a run's folder; FileNotFoundError without ``run.json``, ValueError if it is bad."""
        return cls(RunRecord.read(file_inside(folder, RUN_FILE)), folder)

    def require_own_files(self) -> None:
        """Raise a ValueError if a file of a step is a link that leads out, or no regular file."""
        for step in self.record.steps:
            for name in filter(None, (step.executed_notebook, step.html, step.inputs)):
                file_inside(self.folder, name)

    @cached_property
    def steps(self) -> dict[str, StepResult]:
        """Return the steps by name."""
        return {step.name: step for step in self.record.steps}

    def with_needs(self, step: str) -> list[str]:
        """Return a step and all that it builds on; where that is not known all before it."""
        names = list(self.steps)
        found, waiting = dict.fromkeys([step]), [step]
        while waiting:
            name = waiting.pop()
            needs = self.steps[name].needs
            before = names[: names.index(name)] if needs is None else needs
            new = [need for need in before if need in self.steps and need not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return list(found)

    @cached_property
    def notebooks(self) -> dict[str, ExecutedNotebook]:
        """Return the executed notebooks that are there, by the step's name."""
        return {
            step.name: ExecutedNotebook(path)
            for step in self.record.steps
            if (path := _inside(self.folder, step.executed_notebook)) is not None
        }

    @cached_property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Return what each step read, where the run has kept that."""
        return {
            step.name: _known(path)
            for step in self.record.steps
            if (path := _inside(self.folder, step.inputs)) is not None
        }

    def variables(self, step: str | None = None) -> dict[str, str | None]:
        """Return the variables that a step, or all, read; None for one that was not set."""
        read: dict[str, str | None] = {}
        for name, inputs in self.inputs.items():
            if step in (None, name):
                read |= inputs.get("variables") or {}
        return {name: read[name] for name in sorted(read) if not name.startswith(RUN_VARIABLES)}

    def sources_of(self, step: str) -> tuple[str, ...]:
        """Return the labels of the data that a step used, or that what it builds on did."""
        if own := self.steps[step].data_source:
            return (own,)
        labels = {self.steps[name].data_source for name in self.with_needs(step)}
        return tuple(sorted(filter(None, labels)))

    @property
    def sources(self) -> list[str]:
        """Return the labels of the data that its steps used."""
        return self.record.sources


def find_run(runs: Path, run: str | None) -> Path | None:
    """Return the folder of a run, by its folder or its id in `runs`; the newest if none is named.

    None if there is no such run.
    """
    run = run or "latest"
    named = (Path(run), runs / run)
    return next((folder.resolve() for folder in named if (folder / RUN_FILE).is_file()), None)


def runs_before(run: RunOnDisk) -> tuple[list[RunOnDisk], list[str]]:
    """Return earlier runs of the same pipeline that ended, oldest first, and the broken ones.

    Those are folders whose record cannot be read, of whichever pipeline: damaged ones must keep
    nobody from running on.
    """
    found, broken = [], []
    for file in run.folder.parent.glob(f"*/{RUN_FILE}"):
        if file.parent.is_symlink() or file.parent.name == run.folder.name:
            continue
        try:
            other = RunOnDisk.read(file.parent)
        except (OSError, ValueError):
            broken.append(file.parent.name)
            continue
        ended = other.record.seconds is not None
        if ended and other.record.pipeline == run.record.pipeline and _when(other) < _when(run):
            found.append(other)
    found.sort(key=_when)
    good = [other for other in found if other.record.status.is_good]
    recent = found[-MOST_RUNS:]
    # However long ago: it is the one to compare with.
    return [*(one for one in good[-1:] if one not in recent), *recent], sorted(broken)


def last_good(earlier: Sequence[RunOnDisk]) -> RunOnDisk | None:
    """Return the last of them that ended well; of a failed one nothing can be said."""
    return next((run for run in reversed(earlier) if run.record.status.is_good), None)


def _when(run: RunOnDisk) -> tuple[str, str]:
    return run.record.started, run.record.id


def _inside(folder: Path, name: str | None) -> Path | None:
    try:
        path = file_inside(folder, name) if name else None
    except ValueError:  # Of a run that others are compared with: it has no such file.
        return None
    return path if path and path.is_file() else None


def _known(path: Path) -> dict[str, Any]:
    """Return a file of inputs; nothing is known where it is broken."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""The record of a pipeline run, as `runs/<id>/run.json` keeps it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._code_digest import digest
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.plain_data import from_plain, plain, restored, shortened, to_json
from taxi_nb.project import is_inside, private_folder, read_regular
from taxi_nb.tracking.judgements import Judgement, worst_first
from taxi_nb.tracking.names import RunStatus
from taxi_nb.tracking.outcomes import Decided, TrainedModel

RUN_FILE = "run.json"
# In bytes. A file's name has 255 at most: parts of it are written beside, under longer ones.
_LONGEST_NAME = 200
_LONGEST_FILE = 160
# In characters, of an error: it is told on a terminal, in records and on pages.
_LONGEST_MESSAGE = 2_000


# A step's files by their names in a record, how each ends, and the run's own, which none may be.
_FILES = {"executed_notebook": ".ipynb", "html": ".html", "inputs": ".json"}
_TAKEN = (RUN_FILE, "index.html")
# What is with a kept result, and not in a run's record.
_KEPT_APART = ("kind", "executed_in", "notebook_size", "digests", "artifacts", "used", "shared")


class Status(StrEnum):
    """How a step, or a run, stands or ended."""

    PENDING = "pending"
    RUNNING = "running"
    OK = "ok"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    TIMEOUT = "timeout"
    KERNEL_DIED = "kernel-died"
    INTERRUPTED = "interrupted"

    @property
    def in_words(self) -> str:
        """What people are told; records keep the word of the first of them."""
        return "up to date" if self is Status.CACHED else str(self)

    @property
    def is_good(self) -> bool:
        """Whether steps that need this one may run."""
        return self in (Status.OK, Status.CACHED)

    @property
    def of_run(self) -> RunStatus:
        """How an MLflow run ends with it."""
        if self.is_good:
            return "FINISHED"
        return "KILLED" if self is Status.INTERRUPTED else "FAILED"


@dataclass(frozen=True)
class StepError:
    """Why a step did not end well; `cell` counts all cells of the executed notebook, from 1."""

    cell: int | None
    type: str
    message: str

    def __post_init__(self) -> None:
        """Keep the beginning of what is long: the executed notebook has all of it."""
        object.__setattr__(self, "type", shortened(self.type, 200))
        object.__setattr__(self, "message", shortened(self.message, _LONGEST_MESSAGE))

    def __str__(self) -> str:
        place = f"cell {self.cell}: " if self.cell else ""
        return f"{place}{self.type}: {self.message}"


@dataclass(frozen=True)
class SharedFile:
    """A file that a shared result consists of."""

    # The sha256 of its content.
    digest: str
    size: int
    # Whether the step wrote it; data that it read are not replaced where they are.
    is_output: bool = False


@dataclass(frozen=True)
class Sharing:
    """Who shared a result, and what belongs to it."""

    by: str
    # Seconds are enough: ``2026-02-03T14:05:01+00:00``.
    when: str
    commit: str | None = None
    # ``run:executed_notebook``, ``run:inputs``, or a path in the project -> the file.
    files: Mapping[str, SharedFile] = field(default_factory=dict)
    # Its name where it is shared.
    entry: str = ""
    # The folder in ``runs/`` that holds it once it was fetched.
    place: str | None = None

    def __str__(self) -> str:
        commit = f", commit {self.commit[:10]}" if self.commit else ""
        return f"shared by {self.by}, {self.when[:16].replace('T', ' ')} UTC{commit}"


@dataclass(frozen=True)
class StepResult:
    """A step's parameters and how it ended. Paths are relative to the run's folder."""

    name: str
    notebook: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    status: Status = Status.PENDING
    seconds: float | None = None
    attempts: int = 0
    mlflow_run_id: str | None = None
    executed_notebook: str | None = None
    html: str | None = None
    error: StepError | None = None
    data_source: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    # Why it ran: ``params.alpha 0.01 -> 0.1``, ``never ran``.
    reason: str | None = None
    # Of a cached step: the id of the pipeline run that executed it.
    reused_from: str | None = None
    # The part of `seconds` until its kernel took the first cell.
    startup_seconds: float | None = None
    # The file of its inputs.
    inputs: str | None = None
    # Of a cached step whose result another machine shared: who, when, from which commit.
    shared_by: str | None = None
    # What checks of the data that it loaded found.
    checks: tuple[Judgement, ...] = ()
    # The steps that have to be done before it; None: older records do not say.
    needs: tuple[str, ...] | None = None
    # Those of them for which it ran, or was skipped.
    because: tuple[str, ...] = ()
    # Of its MLflow run, such as ``training``.
    kind: str | None = field(default=None, compare=False)
    # The pipeline run that executed it: a folder's name in ``runs/``.
    executed_in: str | None = field(default=None, compare=False)
    # Bytes of the executed notebook: half of one is none.
    notebook_size: int | None = field(default=None, compare=False)
    # The sha256 of the kept files, by their names here; results of older commits have none.
    digests: Mapping[str, str] = field(default_factory=dict, compare=False)
    # Bytes of each artifact of its runs and models that is on this machine: path, from the
    # project's folder where it is inside -> size. None: not listed.
    artifacts: Mapping[str, int] | None = field(default=None, compare=False)
    # Its inputs, where they are known.
    used: Inputs | None = field(default=None, compare=False)
    # Where it was made elsewhere: by whom, and which files it consists of.
    shared: Sharing | None = field(default=None, compare=False)

    @property
    def is_left_out(self) -> bool:
        """Whether it would have had to run, and the part that was chosen is without it."""
        return self.status is Status.SKIPPED and self.error is None

    @property
    def is_away(self) -> bool:
        """Whether it was shared and has not been fetched yet."""
        return self.shared is not None and self.shared.place is None

    def recorded(self) -> dict[str, Any]:
        """Return the part that a record keeps: name -> value."""
        kept = {name: value for name, value in vars(self).items() if name not in _KEPT_APART}
        for name, usual in (("shared_by", None), ("checks", ()), ("needs", None), ("because", ())):
            if kept[name] == usual:  # As older commits wrote it.
                del kept[name]
        return {**kept, "parameters": plain(self.parameters)}

    @classmethod
    def of_record(cls, known: Any, **kept_apart: Any) -> StepResult:
        """Make a result again from what `recorded` gave; ValueError if it is none.

        What else is known of it are values of fields that a record does not keep.
        """
        return from_plain(cls, {**_with_parameters(known), **kept_apart}).checked()

    def checked(self) -> StepResult:
        """Return itself; ValueError if its files are not in the run's folder, or of other kinds."""
        for key, suffix in _FILES.items():
            name = getattr(self, key)
            if name is None or (is_inside(name) and name.endswith(suffix) and name not in _TAKEN):
                continue
            raise ValueError(
                f"step {self.name}: {key} must be a file …{suffix} in the run's folder, "
                f"got: {shortened(name, 200)!r}"
            )
        if self.executed_in is not None and not is_run_name(self.executed_in):
            raise ValueError(f"step {self.name}: no run is called {self.executed_in!r:.200}")
        return self


@dataclass(frozen=True)
class RunRecord:
    """A pipeline run: what `run.json` holds."""

    id: str
    pipeline: str
    parameter_file: str
    status: Status
    started: str
    tracking_uri: str
    experiment: str
    mlflow_run_id: str | None
    steps: tuple[StepResult, ...]
    seconds: float | None = None
    experiment_id: str | None = None
    # Who ran it from which state of the project; None where that is not known.
    developer: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    # All models trained by its steps, reused ones included.
    models: tuple[TrainedModel, ...] = ()
    # Whether a model was promoted, and why, in one sentence.
    decision: str | None = None
    # The model to use when the run ended, also where an earlier run trained it.
    champion: str | None = None
    # ``NAME=VALUE`` of ``--set``.
    overrides: tuple[str, ...] = ()
    # Of each kernel's numerical libraries; None: as many as they like.
    threads: int | None = None
    # The step that made the decision, and which it was.
    decided: Decided | None = None
    # The checks that were let pass, with the reasons.
    accepted: Mapping[str, str] = field(default_factory=dict)
    # Whether its decisions could change which model is to be used.
    promotes: bool = True
    # In which unit metrics are, by how their names end: ``rmse`` -> ``seconds``.
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def checks(self) -> list[Judgement]:
        """What the checks of all steps found, the worst first."""
        return worst_first(one for step in self.steps for one in step.checks)

    @property
    def deciding(self) -> StepResult | None:
        """The step that made the decision."""
        name = self.decided.step if self.decided else None
        return next((step for step in self.steps if step.name == name), None)

    @property
    def sources(self) -> list[str]:
        """The labels of the data that its steps used."""
        return sorted({step.data_source for step in self.steps if step.data_source})

    @property
    def settings(self) -> list[str]:
        """What was set beside the pipeline file, as options of the command line."""
        # Some may have been let pass for a single step.
        passed = {one.check: one.reason or "" for one in self.checks if one.verdict == "accepted"}
        accepted = {**passed, **self.accepted}
        return [
            *(word for override in self.overrides for word in ("--set", override)),
            *(word for one in accepted.items() for word in ("--accept", "=".join(one))),
            *(() if self.promotes else ("--no-promote",)),
            *(word for name in self._chosen for word in ("--only", name)),
        ]

    @property
    def left_out(self) -> list[StepResult]:
        """The steps that the part of the pipeline which was chosen is without."""
        return [step for step in self.steps if step.is_left_out]

    @property
    def part(self) -> str | None:
        """What to say of a run of a part of its pipeline; None of a whole one."""
        if not self.left_out:
            return None
        names = ", ".join(step.name for step in self.left_out)
        return f"{len(self.left_out)} of {len(self.steps)} steps left out: {shortened(names, 300)}"

    @property
    def _chosen(self) -> list[str]:
        """The steps of a run of a part: all whose results it has."""
        return [s.name for s in self.steps if not s.is_left_out] if self.left_out else []

    def to_json(self) -> str:
        """Return the text of ``run.json``."""
        plain = {**vars(self), "steps": [step.recorded() for step in self.steps]}
        for name, usual in (("decided", None), ("accepted", {}), ("promotes", True), ("units", {})):
            if plain[name] == usual:  # As older commits wrote it.
                del plain[name]
        return to_json(plain, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, file: Path) -> RunRecord:
        """Read a ``run.json``; OSError if it is no file, ValueError if it is not a record."""
        return cls.from_json(read_regular(file).decode())

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Read the text of `to_json`; ValueError if it is not a record."""
        try:
            known = json.loads(text)
            if isinstance(known, dict) and isinstance(known.get("steps"), list):
                known["steps"] = [*map(_with_parameters, known["steps"])]
            record = from_plain(cls, known)
            for step in record.steps:
                step.checked()
            return record
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not a run record: {str(error).splitlines()[0]}") from None


def _with_parameters(known: Any) -> Any:
    """Give a step its parameters as they were, keys that are no texts among them."""
    if isinstance(known, dict) and "parameters" in known:
        return {**known, "parameters": restored(known["parameters"])}
    return known


@lru_cache(maxsize=4096)
def is_run_name(name: str) -> bool:
    """Return whether a name can be that of a folder in ``runs/``, and of nothing elsewhere."""
    return is_inside(name) and len(Path(name).parts) == 1


def make_run_folder(
    runs: Path, pipeline: str, is_taken: Callable[[str], bool] = lambda name: False
) -> Path:
    """Make a folder that is this run's alone; `is_taken` knows runs whose folders were deleted."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    private_folder(runs)
    for attempt in range(1, 1000):
        folder = runs / (f"{stamp}-{slug(pipeline)}" + (f"-{attempt}" if attempt > 1 else ""))
        if not is_taken(folder.name):
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise FileExistsError(f"no free name for a run in {runs}")


def require_latest(runs: Path) -> None:
    """Raise an OSError if `runs/latest` cannot be the link that it has to be."""
    latest = runs / "latest"
    if latest.is_dir() and not latest.is_symlink():
        raise OSError(
            f"{latest} is a folder, and has to be a link to the newest run, as every run makes it: "
            "move it away, or delete it if it is a copy of a run"
        )


def point_latest_at(folder: Path) -> None:
    """Let `runs/latest` be this run, in one move."""
    aside = folder.parent / f".latest-{folder.name}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(folder.name, target_is_directory=True)
    os.replace(aside, folder.parent / "latest")


def cut_name(name: str, most: int = _LONGEST_NAME) -> str:
    """Return a name of at most `most` bytes; one that is cut ends in a digest, so that it differs.

    >>> cut_name("a" * 300) == cut_name("a" * 301)
    False
    """
    encoded = name.encode()
    if len(encoded) <= most:
        return name
    return f"{encoded[: most - 9].decode('utf-8', 'ignore')}-{digest(name)[:8]}"


@lru_cache(maxsize=4096)
def slug(name: str) -> str:
    """Return a name that every file system and address takes."""
    plain_name = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")
    return cut_name(plain_name, _LONGEST_FILE) if plain_name else digest(name)[:8]


def file_names(steps: list[str]) -> dict[str, str]:
    """Give each step a file name of its own, without suffix; `index` is the page's."""
    names: dict[str, str] = {}
    for step in steps:
        base, number = slug(step), 1
        taken = {"index", *names.values()}
        while (candidate := base if number == 1 else f"{base}-{number}") in taken:
            number += 1
        names[step] = candidate
    return names

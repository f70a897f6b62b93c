"""Which steps of a pipeline have to run, and why.

A step is up to date if a kept result of it was made from the same code, parameters, modules,
files, packages and upstream runs, and is still there. What it used was recorded when it ran
(see `input_recorder`), nothing is declared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from taxi_nb.pipeline.file_digest import FileDigests
from taxi_nb.pipeline.inputs import (
    AskedRuns,
    Inputs,
    UsedFile,
    file_difference,
    installed_versions,
    known_before,
    module_difference,
    static_differences,
)
from taxi_nb.pipeline.parameters import close_to
from taxi_nb.pipeline.remote_file import is_remote, remote_digest, remote_stamp
from taxi_nb.pipeline.results import StepResults, StoredResult
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.secrets.addresses import variable_without_credentials, without_credentials
from taxi_nb.tracking.experiments import artifact_root
from taxi_nb.tracking.store import experiment_name, tracking_uri
from taxi_nb.tracking.stored_runs import finished_runs

RUNS = "runs"
EVERY_STEP = "*"


class UnknownStepError(ValueError):
    """A step was named that the pipeline does not have."""


@dataclass(frozen=True)
class Upstream:
    """How a step stands that others may build on.

    Attributes
    ----------
    run_id : str or None
        The MLflow run of its results; None: it will run.
    kind : str or None
        What its run is, such as ``training``; None: that is not known.
    """

    run_id: str | None
    kind: str | None = None


@dataclass(frozen=True)
class PlannedStep:
    """What is to be done about a step: `result` is used again, or there are `reasons` to run."""

    step: Step
    key: str
    reasons: tuple[str, ...] = ()
    result: StoredResult | None = None

    @property
    def will_run(self) -> bool:
        """Whether it has to run."""
        return self.result is None

    @property
    def reason(self) -> str:
        """All the reasons in one line."""
        return "; ".join(self.reasons)

    def __str__(self) -> str:
        return f"will run: {self.reason}" if self.will_run else "up to date"


@dataclass(frozen=True, repr=False)
class Plan:
    """What is to be done about each step, in the order of the pipeline file."""

    steps: tuple[PlannedStep, ...]

    @property
    def will_run(self) -> list[PlannedStep]:
        """The steps that have to run."""
        return [planned for planned in self.steps if planned.will_run]

    def __str__(self) -> str:
        width = max(len(planned.step.name) for planned in self.steps)
        lines = [f"{planned.step.name:<{width}}  {planned}" for planned in self.steps]
        return "\n".join([*lines, "", self.summary])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align: left'>{escape(planned.step.name)}</td>"
            f"<td style='text-align: left'>{escape(str(planned))}</td></tr>"
            for planned in self.steps
        )
        return f"<table>{rows}</table><p>{self.summary}</p>"

    @property
    def summary(self) -> str:
        """How many steps will run."""
        count = len(self.will_run)
        return f"{count} of {len(self.steps)} steps will run" if count else "nothing will run"

    @property
    def results(self) -> list[StoredResult]:
        """What is used again."""
        return [planned.result for planned in self.steps if planned.result]


class Planner:
    """Compares a pipeline's steps with the results that the project keeps.

    Parameters
    ----------
    pipeline : Pipeline
        As `read_pipeline` checked it.
    uri : str
        The tracking URI: results belong to a store.
    experiment : str
        Name of the MLflow experiment.
    """

    def __init__(self, pipeline: Pipeline, uri: str, experiment: str) -> None:
        self._pipeline = pipeline
        self._uri = uri
        self._store = without_credentials(uri)
        self._experiment = experiment
        self.results = StepResults(pipeline.root / RUNS)
        self.digests = FileDigests(self.results.folder / "digests.json")
        self._candidates: dict[str, list[StoredResult]] = {}

    def plan(self, force: Collection[str] = ()) -> Plan:
        """Decide for each step whether it has to run.

        Parameters
        ----------
        force : collection of str
            Names of steps, or of their groups, that run in any case; `EVERY_STEP`: all.

        Raises
        ------
        UnknownStepError
            If `force` names a step that is not there.
        """
        forced = self._forced(force)
        self._load()
        standing: dict[str, Upstream] = {}
        writers: dict[str, str] = {}
        planned: list[PlannedStep] = []
        for step in self._pipeline.steps:
            made = self.decide(step, standing, writers, is_forced=step.name in forced)
            planned.append(made)
            standing[step.name] = self._standing(made)
            if made.will_run:
                outputs = (c.inputs.outputs for c in self._candidates[step.name])
                writers |= {path: step.name for paths in outputs for path in paths}
        self.digests.save()
        return Plan(tuple(planned))

    def decide(
        self,
        step: Step,
        standing: Mapping[str, Upstream],
        writers: Mapping[str, str] | None = None,
        *,
        is_forced: bool = False,
    ) -> PlannedStep:
        """Decide for one step.

        Parameters
        ----------
        standing : mapping
            How each step stands that comes before it.
        writers : mapping, optional
            Path -> step, of the files that steps will write which have yet to run.
        """
        key = self.before(step).key
        if is_forced:
            return PlannedStep(step, key, ("forced",))
        check = _Check(self, step, standing, writers or {})
        found: list[list[str]] = []
        for candidate in self._candidates[step.name]:
            reasons = list(check.differences(candidate))
            if not reasons:
                return PlannedStep(step, key, result=candidate)
            found.append(reasons)
        return PlannedStep(step, key, tuple(self._why(step, key, found)))

    def before(self, step: Step) -> Inputs:
        """Return what is known of a step before it runs."""
        # Worked out anew each time: a notebook may be edited while others run.
        return known_before(step, self._pipeline, self.digests, self._store, self._experiment)

    def expected_seconds(self, step: Step) -> float:
        """Return how long a step took when it ran last; before that, how long it may take."""
        took = [seconds for c in self._candidates[step.name] if (seconds := c.step.seconds)]
        return took[0] if took else step.timeout or 0.0

    def _why(self, step: Step, key: str, found: list[list[str]]) -> list[str]:
        """Choose what to tell: the differences from the result that is closest."""
        attempt = self.results.attempt(self._pipeline.name, step.name)
        if attempt and attempt.problem and (attempt.key == key or not found):
            return [f"last time {attempt.problem}"]
        return min(found, key=len, default=["never ran"])

    def _standing(self, planned: PlannedStep) -> Upstream:
        if planned.result is not None:
            return Upstream(planned.result.step.mlflow_run_id, planned.result.kind)
        former = self._candidates[planned.step.name]
        return Upstream(None, former[0].kind if former else None)

    def _forced(self, names: Collection[str]) -> set[str]:
        steps = self._pipeline.steps
        known = {EVERY_STEP, *(s.name for s in steps), *(s.group for s in steps)}
        for name in names:
            if name not in known:
                hint = close_to(name, sorted(known - {EVERY_STEP}))
                raise UnknownStepError(f"there is no step named {name!r}{hint}")
        wanted = set(names)
        return {s.name for s in steps if wanted & {EVERY_STEP, s.name, s.group}}

    def _load(self) -> None:
        """Read the results that may be used again, and ask the store for all of them at once."""
        for step in self._pipeline.steps:
            self._candidates[step.name] = self.results.candidates(
                self._pipeline.name, step.name, self.before(step).key
            )
        ids = {
            candidate.step.mlflow_run_id
            for candidates in self._candidates.values()
            for candidate in candidates
            if candidate.step.mlflow_run_id
        }
        self.finished = finished_runs(self._uri, ids)

    @cached_property
    def versions(self) -> dict[str, str]:
        """The installed packages."""
        return installed_versions()

    @cached_property
    def last_writers(self) -> dict[str, str]:
        """Path -> the step that wrote it last, as far as results tell."""
        return {
            path: step.name
            for step in self._pipeline.steps
            for candidate in self._candidates[step.name]
            for path in candidate.inputs.outputs
        }

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self._pipeline.root

    @cached_property
    def ignored(self) -> tuple[Path, ...]:
        """Files and folders below the project that runs make: never inputs."""
        made = not_inputs(self.root, self._store)
        artifacts = artifact_root(self._pipeline.artifact_root) or ""
        is_folder = artifacts.startswith("file:")
        return (*made, Path(url2pathname(urlsplit(artifacts).path))) if is_folder else made


def planner_of(pipeline: Pipeline) -> Planner:
    """Return the planner for a pipeline, in the store and experiment that it will use."""
    uri = pipeline.tracking_uri or tracking_uri()
    return Planner(pipeline, uri, experiment_name(pipeline.experiment))


def not_inputs(root: Path, store: str) -> tuple[Path, ...]:
    """Return the files and folders below a project that runs make, which are never inputs."""
    database = Path(store.removeprefix("sqlite:///")) if store.startswith("sqlite:") else None
    beside = database.parent if database else root
    endings = ("", "-wal", "-shm", "-journal", ".lock") if database else ()
    made = [f"{database.name}{ending}" for ending in endings] if database else []
    return (root / RUNS, *(beside / name for name in (*made, "mlartifacts", "mlruns")))


class _Check:
    """Finds out whether results of one step still hold."""

    def __init__(
        self,
        planner: Planner,
        step: Step,
        standing: Mapping[str, Upstream],
        writers: Mapping[str, str],
    ) -> None:
        self._planner = planner
        self._step = step
        self._standing = standing
        self._writers = writers
        self._before = planner.before(step)
        self._asks_mlflow = planner.digests.notebook(step.notebook).get("asks_mlflow", False)

    def differences(self, result: StoredResult) -> Iterator[str]:
        """Say everything for which a result cannot be used again."""
        inputs = result.inputs
        yield from static_differences(inputs, self._before)
        yield from self._modules(inputs.modules)
        yield from self._files(inputs.files)
        yield from self._folders(inputs.folders)
        yield from self._packages(inputs.packages)
        yield from self._variables(inputs.variables)
        yield from self._needs(inputs)
        yield from self._outputs(inputs.outputs)
        yield from self._results(result)

    def _path(self, shown: str) -> Path:
        return self._planner.root / shown

    def _modules(self, modules: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
        for shown, old in modules.items():
            new = self._planner.digests.definitions(self._path(shown))
            if new != old:
                yield module_difference(shown, old, new)

    def _files(self, files: Mapping[str, UsedFile]) -> Iterator[str]:
        for shown, old in files.items():
            if shown in self._writers and self._writers[shown] != self._step.name:
                yield f"needs {self._writers[shown]}, which will run"
            elif is_remote(shown):
                yield from _remote_difference(shown, old)
            else:
                new = self._planner.digests.content(self._path(shown))
                if new != old.digest:
                    yield file_difference(shown, old, new)

    def _folders(self, folders: Mapping[str, str | None]) -> Iterator[str]:
        for shown, old in folders.items():
            if self._planner.digests.names(self._path(shown), self._planner.ignored) != old:
                yield f"the files in {shown or '.'} are others"

    def _packages(self, packages: Mapping[str, str]) -> Iterator[str]:
        versions = self._planner.versions
        for package, old in packages.items():
            new = versions.get(package)
            if new is None:
                yield f"{package} {old} is no longer installed"
            elif new != old:
                yield f"{package} {old} -> {new}"

    def _variables(self, variables: Mapping[str, str | None]) -> Iterator[str]:
        for name, old in variables.items():
            new = variable_without_credentials(name)
            if new != old:
                yield f"{name} {old or 'unset'} -> {new or 'unset'}"

    def _needs(self, inputs: Inputs) -> Iterator[str]:
        """Compare the runs that it could ask for, those that matter to it."""
        if not inputs.asked and not self._uses_all:
            return
        others = [
            name
            for name in self._step.needs
            if (stands := self._standing[name]).run_id is None
            or stands.run_id != inputs.upstream.get(name)
        ]
        others = [name for name in others if self._matters(name, inputs.asked)]
        will_run = [name for name in others if self._standing[name].run_id is None]
        if will_run:
            yield f"needs {_listed(will_run)}, which will run"
        if ran := [name for name in others if name not in will_run]:
            yield f"needs {_listed(ran)}, which ran since"
        used = {name for asked in inputs.asked for name in asked.used}
        for name in inputs.upstream if self._uses_all else sorted(used):
            if name not in self._step.needs:
                yield f"no longer needs {name}"

    @property
    def _uses_all(self) -> bool:
        """Whether every run counts that it could ask for."""
        return self._step.needs_are_declared or self._asks_mlflow

    def _matters(self, name: str, asked: Iterable[AskedRuns]) -> bool:
        kind = self._standing[name].kind
        return self._uses_all or any(
            name in runs.used or runs.kind is None or kind in (None, runs.kind) for runs in asked
        )

    def _outputs(self, outputs: Mapping[str, str]) -> Iterator[str]:
        for shown, old in outputs.items():
            if self._planner.last_writers.get(shown) != self._step.name:
                continue
            new = self._planner.digests.content(self._path(shown))
            if new != old:
                yield f"{shown}, which it wrote, " + ("is gone" if new is None else "changed")

    def _results(self, result: StoredResult) -> Iterator[str]:
        if result.step.mlflow_run_id not in self._planner.finished:
            yield "its MLflow run is gone"
        if not self._planner.results.has_files_of(result):
            yield "its executed notebook is gone"


def _listed(names: Sequence[str]) -> str:
    shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} others"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _remote_difference(location: str, old: UsedFile) -> Iterator[str]:
    if old.stamp is not None and remote_stamp(location) == old.stamp:
        return
    try:
        new = remote_digest(location)
    except OSError as error:
        yield f"data {old.name or location} cannot be compared: {error}"
        return
    if new != old.digest:
        yield file_difference(location, old, new)

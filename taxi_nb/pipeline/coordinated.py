"""A run whose steps somebody else coordinates: opened, carried out step by step, closed.

Each step is a process of its own, perhaps on a machine of its own. What it has come to is one
file that it alone writes, in the run's folder or, where results are shared, beside them. The run's
record is put together from these files when it is closed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from taxi_nb.close_names import close_to
from taxi_nb.pipeline._record_keeper import RecordKeeper, books_of, open_run
from taxi_nb.pipeline._results import KeptResults
from taxi_nb.pipeline._step_run import RunFolder
from taxi_nb.pipeline.memory import RUNS, Memory
from taxi_nb.pipeline.object_store import ObjectStore
from taxi_nb.pipeline.planned import Plan
from taxi_nb.pipeline.record import (
    RUN_FILE,
    RunRecord,
    Sharing,
    Status,
    StepResult,
    is_run_name,
    make_run_folder,
    slug,
)
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.plain_data import from_plain, plain, to_json
from taxi_nb.project import file_inside, private_folder, read_regular, write_whole
from taxi_nb.tracking.context import authorship
from taxi_nb.tracking.pipeline_runs import is_alive, this_process

_STEPS = ".steps"


class CoordinationError(ValueError):
    """A call does not fit the run: the message says which call comes first."""


class UnknownRunError(CoordinationError):
    """There is no run of this name."""


class CoordinatedRun:
    """The folder of a run, and what its steps have come to.

    With a `store` all of it is there, too, for machines that share no disk: what a step notes is
    written to both, and read from the store. Raises CoordinationError if there is no such run.
    """

    def __init__(self, runs: Path, name: str, store: ObjectStore | None) -> None:
        if not is_run_name(name):
            raise CoordinationError(f"no run is called {name!r:.200}")
        self.folder = runs / name
        self._store = store
        if store is not None:
            self._fetch([RUN_FILE])
        try:
            self.opened = RunRecord.read(self.folder / RUN_FILE)
        except FileNotFoundError:
            place = f" and not in {store.address}" if store else ""
            hint = (
                ""
                if store
                else ("; where machines share no disk, name a place for results in TAXI_NB_RESULTS")
            )
            there = [file.parent.name for file in runs.glob(f"*/{RUN_FILE}")]
            close = close_to(name, there) or f"; `taxi-nb open` makes one{hint}"
            raise UnknownRunError(f"there is no run {name} in {runs}{place}{close}") from None
        except (OSError, ValueError) as error:
            raise CoordinationError(f"{self.folder / RUN_FILE}: {error}") from None
        self.run_id = str(self.opened.mlflow_run_id)
        self.files = RunFolder(self.folder, [step.name for step in self.opened.steps])
        self.recall()

    def recall(self) -> None:
        """Read again what the steps have come to."""
        if self._store is not None:
            self._fetch([f"{_STEPS}/{self._state(step.name).name}" for step in self.opened.steps])
        self._steps: dict[str, StepResult] = {}
        self._by: dict[str, str] = {}
        for step in self.opened.steps:
            self._steps[step.name], self._by[step.name] = self._read(step)

    @property
    def record(self) -> RunRecord:
        """The record, as far as it goes."""
        return replace(self.opened, steps=tuple(self._steps.values()))

    def __getitem__(self, step: str) -> StepResult:
        return self._steps[step]

    def executing(self, step: str) -> str | None:
        """Name the process that carries a step out now, if it is known to live."""
        is_running = self._steps[step].status is Status.RUNNING
        return self._by[step] if is_running and is_alive(self._by[step]) else None

    def update(self, *results: StepResult) -> None:
        """Note what steps have come to; their files go where the run's are."""
        for result in results:
            self._steps[result.name], self._by[result.name] = result, this_process()
            state = {
                "step": result.recorded(),
                "kind": result.kind,
                "executed_in": result.executed_in,
                "shared": result.shared,
                "by": this_process(),
            }
            private_folder(self.folder / _STEPS)
            write_whole(self._state(result.name), to_json(state, indent=1))
            files = self.files.files(result.name).values()
            self.publish(*(file for file in files if file.exists()), self._state(result.name))

    def publish(self, *files: Path) -> None:
        """Copy files of the run's folder to where other machines find them."""
        if self._store is not None:
            for file in files:
                self._store.write(self._object(file.relative_to(self.folder).as_posix()), file)

    def fetch_all(self) -> None:
        """Bring all files of the run that other machines have made."""
        if self._store is not None:
            start = len(self._object(""))
            self._fetch([name[start:] for name in self._store.sizes(self._object("").rstrip("/"))])

    def _fetch(self, names: list[str]) -> None:
        assert self._store is not None
        for name in names:
            content = self._store.read(self._object(name))
            if content is not None:
                write_whole(file_inside(self.folder, name), content)

    def _object(self, name: str) -> str:
        return f"{RUNS}/{self.folder.name}/{name}"

    def _state(self, step: str) -> Path:
        return self.folder / _STEPS / f"{self.files.notebook(step).stem}.json"

    def _read(self, step: StepResult) -> tuple[StepResult, str]:
        try:
            known = json.loads(read_regular(self._state(step.name)))
            shared = known["shared"]
            result = StepResult.of_record(
                known["step"],
                kind=known["kind"],
                executed_in=known["executed_in"],
                shared=from_plain(Sharing, shared) if shared else None,
            )
            return result, str(known["by"])
        except FileNotFoundError:
            return step, ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CoordinationError(f"{self._state(step.name)}: {error}") from None


def open_coordinated(
    pipeline: Pipeline, made: Plan, memory: Memory, name: str | None, tags: Mapping[str, str]
) -> str:
    """Open a run for others to carry out; return its id, the name of its folder in ``runs/``.

    A run of this name that is open already, of the same pipeline, is the one: opening may be
    tried again. Raises CoordinationError if the name is taken by another.
    """
    runs, store = pipeline.root / RUNS, memory.shared.store if memory.shared else None
    if name is not None:
        if name != slug(name) or name.startswith(".") or name == "latest":
            raise CoordinationError(
                f"a run cannot be called {name!r:.200}: letters, digits, '.', '_' and '-' make one"
            )
        private_folder(runs)
        (runs / name).mkdir(exist_ok=True)
        if store is not None or any((runs / name).iterdir()):
            with suppress(UnknownRunError):
                found = CoordinatedRun(runs, name, store)
                require_same(pipeline, found)
                if found.opened.status is not Status.RUNNING:
                    raise CoordinationError(f"run {name} is closed: {found.opened.status}")
                return name
    with books_of(pipeline) as tracking:
        folder = (
            runs / name if name else make_run_folder(runs, pipeline.name, memory.results.speak_of)
        )
        record = open_run(pipeline, made, folder, tracking, tags=tags, is_shared=True)
        RecordKeeper(record, pipeline.file, folder, tracking).write_first()
        if store is not None:
            store.write(f"{RUNS}/{folder.name}/{RUN_FILE}", folder / RUN_FILE)
        return folder.name


def require_same(pipeline: Pipeline, run: CoordinatedRun) -> None:
    """Raise a CoordinationError if a run was opened from another commit or pipeline."""
    commit = authorship()["commit"]
    if run.opened.commit != commit:
        raise CoordinationError(
            f"run {run.folder.name} was opened at commit {run.opened.commit or 'none'}, and this "
            f"is {commit or 'none'}: all its steps have to be of one commit"
        )
    then = {step.name: plain(step.parameters) for step in run.opened.steps}
    now = {step.name: plain(step.parameters) for step in pipeline.steps}
    if then != now:
        other = next(name for name in [*now, *then] if then.get(name) != now.get(name))
        raise CoordinationError(
            f"{pipeline.file.name} is not what run {run.folder.name} was opened with: see {other}"
        )


def require_needs(step: Step, run: CoordinatedRun) -> None:
    """Raise a CoordinationError if a step cannot be begun yet; failed needs are no mistake."""
    if process := run.executing(step.name):
        raise CoordinationError(f"{step.name} is being carried out already, by {process}")
    for name in step.needs:
        if run[name].status in (Status.PENDING, Status.RUNNING, Status.INTERRUPTED):
            state = "has not run" if run[name].status is Status.PENDING else "is not done"
            raise CoordinationError(f"{step.name} needs {name}, which {state} in this run")


def bring_needs(step: Step, pipeline: Pipeline, memory: Memory, run: CoordinatedRun) -> None:
    """Bring what the steps before one wrote, where they ran on another machine."""
    if memory.shared is None:
        return
    needed = (one for one in pipeline.steps if one.name in step.needs)
    for before in (one for one in needed if run[one.name].status.is_good):
        run_id = run[before.name].mlflow_run_id
        if run_id in {result.mlflow_run_id for result in memory.candidates[before.name]}:
            continue
        entries = (entry.result for entry in memory.shared_results(before) if not entry.problem)
        found = next((one for one in entries if one and one.mlflow_run_id == run_id), None)
        if found is None or memory.fetch(before, found) is None:
            raise CoordinationError(
                f"{step.name} needs {before.name}, whose result is neither here nor whole in "
                f"{memory.shared.store.address}"
            )


def close_coordinated(pipeline: Pipeline, run: CoordinatedRun) -> RunRecord:
    """Close a run: what has not run is skipped, and the record says how all of it ended.

    A run that is closed stays as it is. Raises CoordinationError while a step is carried out.
    """
    if run.opened.status is not Status.RUNNING:
        return run.opened
    for step in run.opened.steps:
        if process := run.executing(step.name):
            raise CoordinationError(f"{step.name} is being carried out, by {process}: wait for it")
    run.fetch_all()
    run.recall()
    steps = run.record.steps
    is_good = all(step.status.is_good for step in steps)
    with books_of(pipeline, run.opened.experiment) as tracking:
        began = datetime.fromisoformat(run.opened.started)
        seconds = (datetime.now(UTC) - began).total_seconds()
        keeper = RecordKeeper(run.record, pipeline.file, run.folder, tracking, seconds)
        keeper.finish(Status.OK if is_good else Status.FAILED)
        if all(step.executed_in for step in steps):
            KeptResults(run.folder.parent).note_run(steps, run.folder.name)
    run.publish(run.folder / RUN_FILE, run.folder / "index.html")
    return keeper.record

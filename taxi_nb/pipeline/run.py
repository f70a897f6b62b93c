"""Carries out a pipeline: which step when, its run in MLflow, what is kept of it."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from taxi_nb.pipeline.execute import KernelHandle, import_papermill
from taxi_nb.pipeline.interrupted import Interrupted
from taxi_nb.pipeline.kernels.pool import KernelPool
from taxi_nb.pipeline.plan import RUNS, Plan, PlannedStep, Planner, Upstream, planner_of
from taxi_nb.pipeline.record import (
    RUN_FILE,
    RunRecord,
    Status,
    StepError,
    StepResult,
    file_names,
    make_run_folder,
    point_latest_at,
)
from taxi_nb.pipeline.results import StoredResult
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.pipeline.step_run import StepFiles, StepRunner
from taxi_nb.project import path_within, write_whole
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.secrets.known import KNOWN
from taxi_nb.tracking.context import authorship
from taxi_nb.tracking.names import ARTIFACT_ROOT_VARIABLE, PIPELINE_RUN_TAG, URI_VARIABLE
from taxi_nb.tracking.pipeline_runs import PipelineTracking
from taxi_nb.tracking.store import tracking_uri
from taxi_nb.tracking.store_errors import StoreError, errors_of_store


class Listener(Protocol):
    """Hears how a run goes on; called from several threads."""

    def run_started(self, record: RunRecord, folder: Path) -> None:
        """All steps are known; none has started."""

    def step_started(self, begun: StepResult) -> None:
        """A step's kernel is being started."""

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        """A step is at a cell."""

    def step_ended(self, result: StepResult) -> None:
        """A step has ended, or will not run."""


def run_pipeline(
    pipeline: Pipeline,
    *,
    pool: KernelPool,
    jobs: int = 1,
    listener: Listener,
    planned: tuple[Planner, Plan] | None = None,
) -> tuple[RunRecord, Path]:
    """Execute those of a pipeline's steps that have to run; keep what a reviewer needs.

    The caller holds the project's lock (`project_lock`).

    Parameters
    ----------
    pipeline : Pipeline
        As `read_pipeline` checked it.
    pool : KernelPool
        Where kernels come from; it has been started.
    jobs : int
        How many steps may run at the same time, where none needs the other.
    listener : Listener
        Is told of the progress.
    planned : Planner and Plan, optional
        What is to be done, where the caller has planned already, and by whom.

    Returns
    -------
    record : RunRecord
        Also in ``run.json``.
    folder : Path
        ``runs/<id>``; ``runs/latest`` points at it.

    Raises
    ------
    StoreError
        If the MLflow store cannot be used.
    Interrupted
        After kernels have been ended and all runs closed, when a signal
        handler raised it.
    """
    for variable in pipeline.secrets:
        KNOWN.remember(variable)
    if pipeline.tracking_uri:
        os.environ[URI_VARIABLE] = pipeline.tracking_uri
    if pipeline.artifact_root:
        os.environ[ARTIFACT_ROOT_VARIABLE] = pipeline.artifact_root
    planner, plan = planned or _planned(pipeline)
    with errors_of_store(tracking_uri()):
        run = _Run(pipeline, pool, listener, planner, plan)
        try:
            return run.carry_out(jobs), run.folder
        except StoreError as error:
            raise StoreError(f"{error}. What notebooks made is kept in {run.folder}") from error


def _planned(pipeline: Pipeline) -> tuple[Planner, Plan]:
    planner = planner_of(pipeline)
    return planner, planner.plan()


class _Run:
    """One run of one pipeline, and the only writer of its record."""

    def __init__(
        self,
        pipeline: Pipeline,
        pool: KernelPool,
        listener: Listener,
        planner: Planner,
        plan: Plan,
    ) -> None:
        self.pipeline = pipeline
        self.planner = planner
        self.planned = {planned.step.name: planned for planned in plan.steps}
        self.stored: dict[str, StoredResult] = {}
        self.listener = listener
        self.lock = threading.RLock()
        self.handles: dict[str, KernelHandle] = {}
        self.steps = {step.name: step for step in pipeline.steps}
        self.open_needs = {step.name: list(step.needs) for step in pipeline.steps}
        self.tracking = PipelineTracking(pipeline.experiment)
        self.tracking.close_abandoned()
        self.folder = make_run_folder(
            pipeline.root / RUNS, pipeline.name, is_taken=planner.results.speak_of
        )
        names = file_names(list(self.steps))
        self.files = {step: StepFiles(self.folder, name) for step, name in names.items()}
        self.started = time.perf_counter()
        file = path_within(pipeline.root, pipeline.file)
        self.runner = StepRunner(pipeline, pool, planner, self.tracking, self._open_run(file))
        self.record = self._first_record(file)
        self.settled = {result.name: result for result in self.record.steps}

    def _open_run(self, file: str) -> str:
        tags = {"pipeline": file, PIPELINE_RUN_TAG: self.folder.name}
        return self.tracking.open_run(
            self.folder.name,
            "pipeline",
            tags,
            source=self.pipeline.file,
            run_id=self.pipeline.mlflow_run,
        )

    def _first_record(self, file: str) -> RunRecord:
        return RunRecord(
            id=self.folder.name,
            pipeline=self.pipeline.name,
            parameter_file=file,
            status=Status.RUNNING,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            tracking_uri=without_credentials(self.tracking.uri),
            experiment=self.tracking.experiment,
            experiment_id=self.tracking.experiment_id,
            **authorship(),
            mlflow_run_id=self.runner.parent,
            overrides=self.pipeline.overrides,
            threads=_threads(),
            steps=tuple(
                StepResult(
                    name=step.name,
                    notebook=path_within(self.pipeline.root, step.notebook),
                    parameters=step.parameters,
                    reason=self.planned[step.name].reason or None,
                )
                for step in self.pipeline.steps
            ),
        )

    def carry_out(self, jobs: int) -> RunRecord:
        status, ending = Status.FAILED, "FAILED"
        try:
            self._write_record()
            # If artifacts cannot be kept, no notebook need run for hours to find that out.
            self.tracking.log_files(self.runner.parent, [self.pipeline.file], "pipeline")
            import_papermill()  # While the kernels' server imports what they need.
            point_latest_at(self.folder)
            self.listener.run_started(self.record, self.folder)
            self._execute_all(jobs)
            if all(step.status.is_good for step in self.record.steps):
                status, ending = Status.OK, "FINISHED"
        except (Interrupted, KeyboardInterrupt):
            status, ending = Status.INTERRUPTED, "KILLED"
            raise
        finally:
            self._finish(status, ending)
        return self.record

    def _execute_all(self, jobs: int) -> None:
        waiting = list(self.pipeline.steps)
        running: dict[Future[StepResult], str] = {}
        with self._worker_threads(jobs) as threads:
            while waiting or running:
                self._reuse(waiting)
                for step in self._next(waiting, jobs)[: jobs - len(running)]:
                    waiting.remove(step)
                    running[threads.submit(self._carry_out_step, step)] = step.name
                self._skip_hopeless(waiting)
                done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in done:
                    del running[future]
                    self._settle(future.result())

    @contextmanager
    def _worker_threads(self, jobs: int) -> Iterator[ThreadPoolExecutor]:
        """Give threads that end with the run: on a signal their kernels are ended first."""
        threads = ThreadPoolExecutor(jobs, thread_name_prefix="step")
        try:
            yield threads
        except BaseException:
            with self.lock:
                handles = list(self.handles.values())
            for handle in handles:
                handle.kill(Status.INTERRUPTED)
            raise
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    def _next(self, waiting: list[Step], jobs: int) -> list[Step]:
        """Return the steps that may start: as written or, side by side, the longest first."""
        ready = self._ready(waiting)
        if jobs == 1:
            return ready[:1]
        return sorted(ready, key=self.planner.expected_seconds, reverse=True)

    def _ready(self, waiting: list[Step]) -> list[Step]:
        """Return the steps that may start; each need is looked at until it is met."""
        ready = []
        for step in waiting:
            open_needs = self.open_needs[step.name]
            while open_needs and self.settled[open_needs[-1]].status.is_good:
                open_needs.pop()
            if not open_needs:
                ready.append(step)
        return ready

    def _reuse(self, waiting: list[Step]) -> None:
        """Take over the results of steps that are up to date; one may make the next ready."""
        while current := [
            step for step in self._ready(waiting) if not self._plan_again(step).will_run
        ]:
            for step in current:
                waiting.remove(step)
            self._settle(*map(self._reused, current))

    def _plan_again(self, step: Step) -> PlannedStep:
        """Look once more at a step that was up to date, when all that it needs is done."""
        planned = self.planned[step.name]
        if not planned.will_run:
            standing = {
                name: Upstream(self.settled[name].mlflow_run_id, self._kind(name))
                for name in self.steps
                if self.settled[name].status.is_good
            }
            planned = self.planner.decide(step, standing)
            self.planned[step.name] = planned
        return planned

    def _kind(self, name: str) -> str | None:
        return self.stored[name].kind if name in self.stored else None

    def _reused(self, step: Step) -> StepResult:
        """Point at an earlier result; its files get a second name in this run's folder."""
        result = self.planned[step.name].result
        assert result is not None
        self.stored[step.name] = result
        former = self.folder.parent / result.run
        files = self.files[step.name]
        for name, here in (
            (result.step.executed_notebook, files.notebook),
            (result.step.html, files.page),
            (result.step.inputs, files.inputs),
        ):
            if name is not None:
                _second_name(former / name, here)
        return replace(
            result.step,
            status=Status.CACHED,
            seconds=None,
            startup_seconds=None,
            attempts=0,
            reason=None,
            reused_from=result.run,
            executed_notebook=files.notebook.name,
            html=files.page.name if files.page.exists() else None,
            inputs=files.inputs.name if files.inputs.exists() else None,
        )

    def _skip_hopeless(self, waiting: list[Step]) -> None:
        ended_badly = {
            result.name
            for result in self.settled.values()
            if result.status not in (Status.PENDING, Status.RUNNING) and not result.status.is_good
        }
        if not ended_badly:
            return
        for step in list(waiting):
            culprit = next((name for name in step.needs if name in ended_badly), None)
            if culprit is not None:
                waiting.remove(step)
                reason = StepError(None, "Skipped", f"it needs {culprit}, which did not succeed")
                self._settle(replace(self.settled[step.name], status=Status.SKIPPED, error=reason))
                ended_badly.add(step.name)

    def _settle(self, *results: StepResult) -> None:
        self._update(*results)
        for result in results:
            self.listener.step_ended(result)

    def _update(self, *results: StepResult) -> None:
        with self.lock:
            self.settled |= {result.name: result for result in results}
            self.record = replace(self.record, steps=tuple(self.settled.values()))
            self._write_record()

    def _write_record(self) -> None:
        write_whole(self.folder / RUN_FILE, self.record.to_json())

    def _carry_out_step(self, step: Step) -> StepResult:
        """Try a step as often as it may; runs in a thread of its own."""
        for attempt in range(1, step.retries + 2):
            try:
                result = self._attempt(step, attempt)
            except Exception as error:  # Such as a full disk: the step failed, the run ends well.
                problem = StepError(None, type(error).__name__, str(error))
                result = replace(
                    self.settled[step.name],
                    status=Status.FAILED,
                    error=problem,
                    attempts=attempt,
                    **self.files[step.name].kept(),
                )
            if result.status.is_good or result.status is Status.INTERRUPTED:
                break
        return result

    def _attempt(self, step: Step, attempt: int) -> StepResult:
        begun = replace(
            self.settled[step.name],
            status=Status.RUNNING,
            attempts=attempt,
            reason=self.planned[step.name].reason.replace("which will run", "which ran again"),
        )
        handle = KernelHandle()
        with self.lock:
            self.handles[step.name] = handle
        result, stored = self.runner.attempt(
            step,
            begun,
            self.files[step.name],
            self._upstream(step),
            handle=handle,
            on_run=self._started,
            on_cell=lambda cell, cells: self.listener.cell_started(step.name, cell, cells),
        )
        if stored is not None:
            with self.lock:
                self.stored[step.name] = stored
        return result

    def _started(self, begun: StepResult) -> None:
        self._update(begun)
        self.listener.step_started(begun)

    def _upstream(self, step: Step) -> dict[str, str]:
        return {name: found for name in step.needs if (found := self.settled[name].mlflow_run_id)}

    def _finish(self, status: Status, ending: Any) -> None:
        """Close the books, also when the run was interrupted in the middle of a step."""
        from taxi_nb.pipeline.report.site import write_site

        ended = tuple(_ended(step, status) for step in self.record.steps)
        seconds = round(time.perf_counter() - self.started, 3)
        self.record = replace(self.record, status=status, steps=ended, seconds=seconds)
        self.planner.digests.save()
        run_id = self.runner.parent
        try:
            self.record = replace(self.record, **self._models(ended))
            self._write_record()
            page = write_site(self.folder)
            self.tracking.log_files(run_id, [self.folder / RUN_FILE, page], "pipeline")
            self.tracking.log_metrics(run_id, {"seconds": seconds})
        except Exception:  # Such as a full disk: a run without its page has not finished.
            ending = "FAILED"
            self._note_failure()
            raise
        finally:
            self.tracking.close_run(run_id, ending)
        if len(self.stored) == len(self.pipeline.steps):
            ordered = [self.stored[step.name] for step in self.pipeline.steps]
            self.planner.results.note_run(ordered, self.folder.name)

    def _note_failure(self) -> None:
        """Let record and page on disk say that the run failed, if they can be written."""
        from taxi_nb.pipeline.report.site import write_site

        if self.record.status.is_good:
            self.record = replace(self.record, status=Status.FAILED)
            with suppress(OSError):
                self._write_record()
                write_site(self.folder)

    def _models(self, steps: Sequence[StepResult]) -> dict[str, Any]:
        """Return what the steps trained and decided, as the record keeps it."""
        runs = {step.name: step.mlflow_run_id for step in steps if step.mlflow_run_id}
        try:
            return self.tracking.model_outcomes(runs)
        except StoreError:
            # Record and page come first; when they are logged, the store's loss is told.
            return {}


def _threads() -> int | None:
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else None


def _second_name(file: Path, name: Path) -> None:
    """Give a file of an earlier run a name in another folder, too; a copy where links fail."""
    try:
        os.link(file, name)
    except FileNotFoundError:
        return
    except OSError:
        shutil.copyfile(file, name)


def _ended(step: StepResult, run_status: Status) -> StepResult:
    if step.status is Status.RUNNING:
        return replace(step, status=Status.INTERRUPTED)
    if step.status is Status.PENDING:
        reason = StepError(None, "Skipped", f"the run ended before it: {run_status}")
        return replace(step, status=Status.SKIPPED, error=reason)
    return step

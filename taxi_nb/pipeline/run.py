"""Carries out a pipeline: which step when, its run in MLflow, what is kept of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from taxi_nb import tracking
from taxi_nb.credentials import without_credentials
from taxi_nb.pipeline.execute import Execution, KernelHandle, execute_notebook
from taxi_nb.pipeline.kernels import KernelPool
from taxi_nb.pipeline.record import (
    RUN_FILE,
    ModelResult,
    RunRecord,
    Status,
    StepError,
    StepResult,
    file_names,
    make_run_folder,
    point_latest_at,
    write_aside,
)
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.project import path_within

RUNS = "runs"


class Interrupted(BaseException):
    """A signal asked the pipeline to end."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class Listener(Protocol):
    """Hears how a run goes on; called from several threads."""

    def run_started(self, record: RunRecord, folder: Path) -> None:
        """All steps are known; none has started."""

    def step_started(self, name: str, attempt: int) -> None:
        """A step's kernel is being started."""

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        """A step is at a cell."""

    def step_ended(self, result: StepResult) -> None:
        """A step has ended, or will not run."""


def run_pipeline(
    pipeline: Pipeline, *, pool: KernelPool, jobs: int = 1, listener: Listener
) -> tuple[RunRecord, Path]:
    """Execute a pipeline's steps and keep everything that a reviewer needs.

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

    Returns
    -------
    record : RunRecord
        Also in ``run.json``.
    folder : Path
        ``runs/<id>``; ``runs/latest`` points at it.

    Raises
    ------
    TrackingError
        If the MLflow store cannot be used.
    Interrupted
        After kernels have been ended and all runs closed, when a signal
        handler raised it.
    """
    if pipeline.tracking_uri:
        os.environ[tracking.URI_VARIABLE] = pipeline.tracking_uri
    run = _Run(pipeline, pool, listener)
    with tracking.store_problems_told():
        return run.carry_out(jobs), run.folder


class _Run:
    """One run of one pipeline, and the only writer of its record."""

    def __init__(self, pipeline: Pipeline, pool: KernelPool, listener: Listener) -> None:
        self.pipeline = pipeline
        self.pool = pool
        self.listener = listener
        self.lock = threading.RLock()
        self.handles: dict[str, KernelHandle] = {}
        self.steps = {step.name: step for step in pipeline.steps}
        self.files = file_names(list(self.steps))
        self.tracking = tracking.PipelineTracking(pipeline.experiment)
        self.tracking.close_abandoned()
        self.folder = make_run_folder(pipeline.root / RUNS, pipeline.name)
        self.started = time.perf_counter()
        self.record = self._first_record()

    def _first_record(self) -> RunRecord:
        file = path_within(self.pipeline.root, self.pipeline.file)
        return RunRecord(
            id=self.folder.name,
            pipeline=self.pipeline.name,
            parameter_file=file,
            status=Status.RUNNING,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            tracking_uri=without_credentials(self.tracking.uri),
            experiment=self.tracking.experiment,
            experiment_id=self.tracking.experiment_id,
            **tracking.authorship(),
            mlflow_run_id=self.tracking.open_run(
                self.folder.name, "pipeline", {"pipeline": file, "mlflow.source.name": file}
            ),
            steps=tuple(
                StepResult(
                    name=step.name,
                    notebook=path_within(self.pipeline.root, step.notebook),
                    parameters=step.parameters,
                )
                for step in self.pipeline.steps
            ),
        )

    def carry_out(self, jobs: int) -> RunRecord:
        status, ending = Status.FAILED, "FAILED"
        try:
            self._write_record()
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
                for step in self._ready(waiting)[: jobs - len(running)]:
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

    def _ready(self, waiting: list[Step]) -> list[Step]:
        results = self._results()
        return [step for step in waiting if all(results[n].status.is_good for n in step.needs)]

    def _skip_hopeless(self, waiting: list[Step]) -> None:
        ended_badly = {
            result.name
            for result in self.record.steps
            if result.status not in (Status.PENDING, Status.RUNNING) and not result.status.is_good
        }
        for step in list(waiting):
            culprits = [name for name in step.needs if name in ended_badly]
            if culprits:
                waiting.remove(step)
                reason = StepError(
                    None, "Skipped", f"it needs {culprits[0]}, which did not succeed"
                )
                self._settle(replace(self._result(step.name), status=Status.SKIPPED, error=reason))

    def _result(self, name: str) -> StepResult:
        return self._results()[name]

    def _results(self) -> dict[str, StepResult]:
        return {result.name: result for result in self.record.steps}

    def _settle(self, result: StepResult) -> None:
        self._update(result)
        self.listener.step_ended(result)

    def _update(self, result: StepResult) -> None:
        with self.lock:
            steps = tuple(result if s.name == result.name else s for s in self.record.steps)
            self.record = replace(self.record, steps=steps)
            self._write_record()

    def _write_record(self) -> None:
        write_aside(self.folder / RUN_FILE, self.record.to_json())

    def _carry_out_step(self, step: Step) -> StepResult:
        """Try a step as often as it may; runs in a thread of its own."""
        for attempt in range(1, step.retries + 2):
            try:
                result = self._attempt(step, attempt)
            except Exception as error:  # Such as a full disk: the step failed, the run ends well.
                problem = StepError(None, type(error).__name__, str(error))
                result = replace(
                    self._result(step.name),
                    status=Status.FAILED,
                    error=problem,
                    attempts=attempt,
                )
            if result.status.is_good or result.status is Status.INTERRUPTED:
                break
        return result

    def _attempt(self, step: Step, attempt: int) -> StepResult:
        handle = KernelHandle()
        run_id = self._open_step_run(step)
        started = replace(
            self._result(step.name),
            status=Status.RUNNING,
            attempts=attempt,
            mlflow_run_id=run_id,
        )
        self._update(started)
        self.listener.step_started(step.name, attempt)
        target = self.folder / f"{self.files[step.name]}.ipynb"
        with self.lock:
            self.handles[step.name] = handle
        ending: tracking.RunStatus = "FAILED"
        try:
            execution = execute_notebook(
                step.notebook,
                target,
                step.parameters,
                self.pool.manager(self._environment(step, run_id)),
                timeout=step.timeout,
                handle=handle,
                on_cell=lambda cell, cells: self.listener.cell_started(step.name, cell, cells),
            )
            result = self._land(step, started, execution, target)
            # Not before all of it is kept: what is lost is not finished.
            ending = _mlflow_status(result.status)
            return result
        finally:
            self.tracking.close_run(run_id, ending)

    def _open_step_run(self, step: Step) -> str:
        notebook = path_within(self.pipeline.root, step.notebook)
        tags = {
            "step": step.name,
            "notebook": notebook,
            "pipeline": self.record.parameter_file,
            "mlflow.source.name": notebook,
            "mlflow.source.type": "NOTEBOOK",
        }
        return self.tracking.open_run(step.name, "step", tags, parent=self.record.mlflow_run_id)

    def _environment(self, step: Step, run_id: str) -> dict[str, str]:
        results = self._results()
        upstream = {name: found for name in step.needs if (found := results[name].mlflow_run_id)}
        handed = tracking.step_environment(
            uri=self.tracking.uri,
            experiment=self.tracking.experiment,
            run_id=run_id,
            notebook=path_within(self.pipeline.root, step.notebook),
            upstream=upstream,
        )
        return {**os.environ, "TAXI_NB_ROOT": str(self.pipeline.root), **handed}

    def _land(
        self, step: Step, started: StepResult, execution: Execution, target: Path
    ) -> StepResult:
        """Keep what a step left: its notebook, HTML, parameters and timings."""
        from taxi_nb.pipeline.report.notebook_page import write_notebook_page

        assert started.mlflow_run_id is not None
        kept: list[Path] = []
        if target.exists():
            page = target.with_suffix(".html")
            ended = replace(
                started,
                status=execution.status,
                seconds=execution.seconds,
                error=execution.error,
                executed_notebook=target.name,
            )
            write_notebook_page(target, page, step=ended)
            kept = [target, page]
        self.tracking.log_files(started.mlflow_run_id, kept, "notebook")
        self.tracking.log_files(started.mlflow_run_id, [step.notebook], "notebook/source")
        self.tracking.log_dict(started.mlflow_run_id, dict(step.parameters), "parameters.yaml")
        timings = [asdict(cell) for cell in execution.cells]
        self.tracking.log_dict(started.mlflow_run_id, timings, "cell_seconds.json")
        metrics, data_source = self.tracking.outcome(started.mlflow_run_id)
        return replace(
            started,
            status=execution.status,
            seconds=round(execution.seconds, 3),
            error=execution.error,
            executed_notebook=target.name if kept else None,
            html=kept[1].name if kept else None,
            metrics=metrics,
            data_source=data_source,
        )

    def _finish(self, status: Status, ending: Any) -> None:
        """Close the books, also when the run was interrupted in the middle of a step."""
        from taxi_nb.pipeline.report.site import write_site

        ended = tuple(_ended(step, status) for step in self.record.steps)
        seconds = round(time.perf_counter() - self.started, 3)
        self.record = replace(self.record, status=status, steps=ended, seconds=seconds)
        run_id = self.record.mlflow_run_id
        assert run_id is not None
        try:
            self.record = replace(self.record, **self._models(ended))
            self._write_record()
            page = write_site(self.folder)
            self.tracking.log_files(
                run_id, [self.pipeline.file, self.folder / RUN_FILE, page], "pipeline"
            )
            self.tracking.log_metrics(run_id, {"seconds": seconds})
        except Exception:  # Such as a full disk: a run without its page has not finished.
            ending = "FAILED"
            raise
        finally:
            self.tracking.close_run(run_id, ending)

    def _models(self, steps: Sequence[StepResult]) -> dict[str, Any]:
        """Return what the steps trained and decided, as the record keeps it."""
        runs = {step.name: step.mlflow_run_id for step in steps if step.mlflow_run_id}
        found = self.tracking.model_outcomes(runs)
        models = tuple(
            ModelResult(m.name, m.step, m.run_id, m.metrics, m.version, m.champion)
            for m in found.models
        )
        return {"models": models, "decision": found.decision, "champion": found.champion}


def _ended(step: StepResult, run_status: Status) -> StepResult:
    if step.status is Status.RUNNING:
        return replace(step, status=Status.INTERRUPTED)
    if step.status is Status.PENDING:
        reason = StepError(None, "Skipped", f"the run ended before it: {run_status}")
        return replace(step, status=Status.SKIPPED, error=reason)
    return step


def _mlflow_status(status: Status) -> tracking.RunStatus:
    if status.is_good:
        return "FINISHED"
    return "KILLED" if status is Status.INTERRUPTED else "FAILED"

"""The record of a run while it goes on, in ``run.json`` and in MLflow."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from taxi_nb.pipeline import record
from taxi_nb.pipeline.interrupted import GATE
from taxi_nb.pipeline.killed_run import ended, ending_of, forget_running, note_running
from taxi_nb.pipeline.memory import RUNS
from taxi_nb.pipeline.planned import Plan
from taxi_nb.pipeline.record import RUN_FILE, RunRecord, Status, StepResult
from taxi_nb.pipeline.spec import Pipeline
from taxi_nb.project import path_within, write_whole
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.secrets.known import KNOWN
from taxi_nb.tracking.context import authorship
from taxi_nb.tracking.names import ARTIFACT_ROOT_VARIABLE, PIPELINE_RUN_TAG, URI_VARIABLE
from taxi_nb.tracking.pipeline_runs import PipelineTracking
from taxi_nb.tracking.run_reviews import NEEDS_REVIEW_TAG
from taxi_nb.tracking.store import tracking_uri
from taxi_nb.tracking.store_errors import StoreError, errors_of_store

# The page of a run that goes on may take a tenth of its time.
_SHARE_OF_PAGE = 10


@contextmanager
def books_of(pipeline: Pipeline, experiment: str | None = None) -> Iterator[PipelineTracking]:
    """Give a block the pipeline's store, in which what killed runs left open has been closed.

    The `experiment` is that of a run which was opened, perhaps in a folder of another name.
    A signal waits meanwhile, but for the parts of the block that are `GATE.opened`. What fails in
    the store is a StoreError.
    """
    for variable in pipeline.secrets:
        KNOWN.remember(variable)
    if pipeline.tracking_uri:
        os.environ[URI_VARIABLE] = pipeline.tracking_uri
    if pipeline.artifact_root:
        os.environ[ARTIFACT_ROOT_VARIABLE] = pipeline.artifact_root
    with GATE.closed(), errors_of_store(tracking_uri()):
        tracking = PipelineTracking(experiment or pipeline.experiment)
        tracking.close_abandoned(partial(ending_of, pipeline.root / RUNS))
        yield tracking


def open_run(
    pipeline: Pipeline,
    plan: Plan,
    folder: Path,
    tracking: PipelineTracking,
    *,
    tags: Mapping[str, str] | None = None,
    parent: str | None = None,
    is_shared: bool = False,
) -> RunRecord:
    """Open a pipeline's run in MLflow and return its first record.

    One that `is_shared` by several processes outlives this one; see `coordinated.py`.
    """
    shown = path_within(pipeline.root, pipeline.file)
    run_id = tracking.open_run(
        folder.name,
        "pipeline",
        {
            **(tags or {}),
            **({NEEDS_REVIEW_TAG: "true"} if pipeline.needs_review else {}),
            "pipeline": shown,
            PIPELINE_RUN_TAG: folder.name,
        },
        parent=parent,
        source=pipeline.file,
        run_id=pipeline.mlflow_run,
        is_shared=is_shared,
    )
    return RunRecord(
        id=folder.name,
        pipeline=pipeline.name,
        parameter_file=shown,
        status=Status.RUNNING,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        tracking_uri=without_credentials(tracking.uri),
        experiment=tracking.experiment,
        experiment_id=tracking.experiment_id,
        **authorship(),
        mlflow_run_id=run_id,
        overrides=pipeline.overrides,
        accepted=pipeline.accepted,
        promotes=pipeline.promotes,
        threads=_threads(),
        steps=tuple(
            StepResult(
                name=planned.step.name,
                notebook=path_within(pipeline.root, planned.step.notebook),
                parameters=planned.step.parameters,
                reason=planned.reason or None,
                needs=planned.step.needs,
                because=planned.because,
            )
            for planned in plan.steps
        ),
    )


class RecordKeeper:
    """The only writer of a run's record, from any thread; closes the run in MLflow."""

    def __init__(
        self,
        record: RunRecord,
        file: Path,
        folder: Path,
        tracking: PipelineTracking,
        seconds: float = 0.0,
    ) -> None:
        """Go on with a record; `seconds` have gone by since the run was opened."""
        self._began = time.perf_counter() - seconds
        self.record = record
        self.run_id = str(record.mlflow_run_id)
        self._folder = folder
        self._file = file
        self._tracking = tracking
        self._lock = threading.Lock()
        self._results = {result.name: result for result in record.steps}
        # When the page may be written again, and what will do so.
        self._show_from = 0.0
        self._later: threading.Timer | None = None

    def __getitem__(self, step: str) -> StepResult:
        return self._results[step]

    def begin(self) -> None:
        """Write the first record; no notebook need run for hours if artifacts cannot be kept."""
        note_running(self._folder)  # Before the record: a kill between leaves none that runs.
        self.write_first()
        with self._lock:
            self._show()

    def write_first(self) -> None:
        """Write the first record, and log the pipeline file."""
        self._write()
        self._tracking.log_files(self.run_id, [self._file], "pipeline")
        record.point_latest_at(self._folder)

    def update(self, *results: StepResult) -> None:
        with self._lock:
            self._results |= {result.name: result for result in results}
            self.record = replace(self.record, steps=tuple(self._results.values()))
            self._write()
            self._show()

    def finish(self, status: Status) -> None:
        """Close the books, also when the run was interrupted in the middle of a step."""
        from taxi_nb.pipeline.report.in_mlflow import columns, description, numbers
        from taxi_nb.pipeline.report.site import write_site

        with self._lock:
            if self._later:
                self._later.cancel()
            self._later = None
        steps = tuple(ended(step, status) for step in self.record.steps)
        seconds = round(time.perf_counter() - self._began, 3)
        self.record = replace(self.record, status=status, steps=steps, seconds=seconds)
        ending = status.of_run
        try:
            self.record = replace(self.record, **self._models())
            # The word "ok" comes last: a kill before it leaves a run that did not end.
            page = write_site(self._folder, record=self.record)
            self._tracking.log_text(self.run_id, self.record.to_json(), f"pipeline/{RUN_FILE}")
            self._tracking.log_files(self.run_id, [page], "pipeline")
            self._tracking.log_metrics(self.run_id, {**numbers(self.record), "seconds": seconds})
            self._tracking.describe(self.run_id, description(self.record), columns(self.record))
            self._write()
        except Exception:  # Such as a full disk: a run without its page has not finished.
            ending = "FAILED"
            self._note_failure()
            raise
        finally:
            self._tracking.close_run(self.run_id, ending)
        forget_running(self._folder)

    def _note_failure(self) -> None:
        """Let record and page on disk say that the run failed, if they can be written."""
        from taxi_nb.pipeline.report.site import write_site

        if self.record.status.is_good:
            self.record = replace(self.record, status=Status.FAILED)
        with suppress(OSError):
            self._write()
        with suppress(OSError):
            write_site(self._folder)

    def _models(self) -> dict[str, Any]:
        """Return the models that the steps trained, and what was decided about them."""
        runs = {step.name: step.mlflow_run_id for step in self.record.steps if step.mlflow_run_id}
        try:
            return self._tracking.model_outcomes(runs)
        except StoreError:
            # Record and page come first; when they are logged, the store's loss is told.
            return {}

    def _show(self) -> None:
        """Let the page say how far the run has come, now or soon: of many steps it takes a while.

        Whatever is wrong with it stops no notebook; it is told when the run ends.
        """
        from taxi_nb.pipeline.report.site import write_live_page

        began = time.perf_counter()
        if began < self._show_from:
            if not self._later:
                self._later = threading.Timer(self._show_from - began, self._show_later)
                self._later.daemon = True
                self._later.start()
            return
        with suppress(Exception):
            write_live_page(self._folder, self.record)
        ended = time.perf_counter()
        self._show_from = ended + _SHARE_OF_PAGE * (ended - began)

    def _show_later(self) -> None:
        with self._lock:
            if self._later:  # Otherwise the run has ended meanwhile.
                self._later = None
                self._show()

    def _write(self) -> None:
        write_whole(self._folder / RUN_FILE, self.record.to_json())


def _threads() -> int | None:
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() else None

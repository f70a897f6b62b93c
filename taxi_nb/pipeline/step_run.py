"""One attempt at one step: its run in MLflow, its kernel, what it leaves and what it used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.execute import Execution, KernelHandle, OnCell, execute_notebook
from taxi_nb.pipeline.inputs import Inputs, InputsLostError, RecordedInputs
from taxi_nb.pipeline.kernels.input_recorder import start_recording
from taxi_nb.pipeline.kernels.pool import KernelPool, in_one_order
from taxi_nb.pipeline.plan import Planner
from taxi_nb.pipeline.record import Status, StepResult
from taxi_nb.pipeline.results import StoredResult
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.project import path_within, write_whole
from taxi_nb.tracking.names import PIPELINE_RUN_TAG, STEP_TAG, RunStatus
from taxi_nb.tracking.pipeline_runs import PipelineTracking, step_environment


@dataclass(frozen=True)
class StepFiles:
    """The files of one step in its run's folder."""

    folder: Path
    stem: str

    @property
    def notebook(self) -> Path:
        """The executed notebook."""
        return self.folder / f"{self.stem}.ipynb"

    @property
    def page(self) -> Path:
        """The executed notebook as HTML."""
        return self.folder / f"{self.stem}.html"

    @property
    def inputs(self) -> Path:
        """What the step used."""
        return self.folder / f"{self.stem}.inputs.json"

    @property
    def record(self) -> Path:
        """What the kernel notes while it runs."""
        return self.folder / f".{self.stem}.inputs.jsonl"

    def kept(self) -> dict[str, Any]:
        """Name the executed notebook and its page for a record, where they are on disk."""
        files = {"executed_notebook": self.notebook, "html": self.page}
        return {key: file.name if file.exists() else None for key, file in files.items()}


@dataclass(frozen=True)
class StepRunner:
    """Executes steps of one pipeline run; its methods may be called from several threads.

    Attributes
    ----------
    parent : str
        The pipeline's run in MLflow.
    """

    pipeline: Pipeline
    pool: KernelPool
    planner: Planner
    tracking: PipelineTracking
    parent: str

    def attempt(
        self,
        step: Step,
        begun: StepResult,
        files: StepFiles,
        upstream: Mapping[str, str],
        *,
        handle: KernelHandle,
        on_run: Callable[[StepResult], None],
        on_cell: OnCell,
    ) -> tuple[StepResult, StoredResult | None]:
        """Execute a step once.

        Parameters
        ----------
        step : Step
            What to execute.
        begun : StepResult
            What is known of the attempt so far.
        files : StepFiles
            Where its files go.
        upstream : mapping
            Step -> run id, of the steps that it needs.
        handle : KernelHandle
            Takes charge of the kernel, for another thread to end it.
        on_run, on_cell : callable
            Called when the step's run is open, and when a cell starts.

        Returns
        -------
        result : StepResult
            How it ended.
        stored : StoredResult or None
            The result as it was kept to be used again, if it can be.
        """
        before = self.planner.before(step)
        self._note(step, before, "did not end")
        run_id = self._open_run(step, files.folder)
        begun = replace(begun, mlflow_run_id=run_id)
        on_run(begun)
        files.record.unlink(missing_ok=True)
        ending: RunStatus = "FAILED"
        try:
            execution = execute_notebook(
                step.notebook,
                files.notebook,
                step.parameters,
                self.pool.manager(self._environment(step, run_id, upstream)),
                timeout=step.timeout,
                handle=handle,
                on_cell=on_cell,
                before_cells=start_recording(
                    self.pipeline.root, files.record, self.planner.ignored
                ),
            )
            result = self._land(step, begun, execution, files)
            # Not before all of it is kept: what is lost is not finished.
            ending = _mlflow_status(result.status)
        finally:
            self.tracking.close_run(run_id, ending)
        if result.status is not Status.OK:
            files.record.unlink(missing_ok=True)
            self._note(step, before, "failed")
            return result, None
        return self._keep(step, result, files, before, upstream)

    def _note(self, step: Step, before: Inputs, ending: str) -> None:
        self.planner.results.note(self.pipeline.name, step.name, before.key, ending)

    def _open_run(self, step: Step, folder: Path) -> str:
        tags = {
            "step": step.name,
            "pipeline": path_within(self.pipeline.root, self.pipeline.file),
            STEP_TAG: step.name,
            PIPELINE_RUN_TAG: folder.name,
        }
        return self.tracking.open_run(
            step.name, "step", tags, parent=self.parent, source=step.notebook
        )

    def _environment(self, step: Step, run_id: str, upstream: Mapping[str, str]) -> dict[str, str]:
        handed = step_environment(
            uri=self.tracking.uri,
            experiment=self.tracking.experiment,
            run_id=run_id,
            notebook=path_within(self.pipeline.root, step.notebook),
            upstream=upstream,
        )
        return {**in_one_order(os.environ), "TAXI_NB_ROOT": str(self.pipeline.root), **handed}

    def _land(
        self, step: Step, begun: StepResult, execution: Execution, files: StepFiles
    ) -> StepResult:
        """Keep what a step left: its notebook, HTML, parameters and timings."""
        from taxi_nb.pipeline.report.notebook_page import write_notebook_page

        assert begun.mlflow_run_id is not None
        kept: list[Path] = []
        if files.notebook.exists():
            ended = replace(
                begun,
                status=execution.status,
                seconds=execution.seconds,
                error=execution.error,
                executed_notebook=files.notebook.name,
            )
            write_notebook_page(files.notebook, files.page, step=ended)
            kept = [files.notebook, files.page]
        self.tracking.log_files(begun.mlflow_run_id, kept, "notebook")
        self.tracking.log_dict(begun.mlflow_run_id, dict(step.parameters), "parameters.yaml")
        timings = [asdict(cell) for cell in execution.cells]
        self.tracking.log_dict(begun.mlflow_run_id, timings, "cell_seconds.json")
        metrics, data_source = self.tracking.outcome(begun.mlflow_run_id)
        # After that: what the machine took is no outcome to compare.
        taken = {"wall_seconds": execution.seconds, **execution.usage}
        self.tracking.log_metrics(begun.mlflow_run_id, taken)
        return replace(
            begun,
            status=execution.status,
            seconds=round(execution.seconds, 3),
            startup_seconds=execution.startup_seconds,
            error=execution.error,
            executed_notebook=files.notebook.name if kept else None,
            html=files.page.name if kept else None,
            metrics=metrics,
            data_source=data_source,
        )

    def _keep(
        self,
        step: Step,
        result: StepResult,
        files: StepFiles,
        before: Inputs,
        upstream: Mapping[str, str],
    ) -> tuple[StepResult, StoredResult | None]:
        """Keep what the step used, so that a later run knows whether its results still hold."""
        run_id = result.mlflow_run_id
        assert run_id is not None
        try:
            used = RecordedInputs(files.record, self.pipeline.root, self.planner.digests)
            inputs = used.complete(before, step, upstream, self.planner.ignored)
        except InputsLostError:
            self._note(step, before, "its inputs could not be recorded")
            return result, None
        finally:
            files.record.unlink(missing_ok=True)
        write_whole(files.inputs, json.dumps(inputs.to_dict(), indent=1))
        result = replace(result, inputs=files.inputs.name)
        if self.planner.before(step) != before:
            self._note(step, before, "its notebook was edited while it ran")
            return result, None
        stored = StoredResult(
            run=files.folder.name,
            kind=self.tracking.kind(run_id),
            notebook_size=files.notebook.stat().st_size,
            step=result,
            inputs=inputs,
        )
        self.planner.results.keep(self.pipeline.name, stored)
        return result, stored


def _mlflow_status(status: Status) -> RunStatus:
    if status.is_good:
        return "FINISHED"
    return "KILLED" if status is Status.INTERRUPTED else "FAILED"

"""One attempt at one step: its run in MLflow, its kernel, its files and its inputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._execute import execute_notebook
from taxi_nb.pipeline._execution import Execution, KernelHandle, OnCell
from taxi_nb.pipeline._recorded_inputs import InputsLostError, RecordedInputs
from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.kernels.import_path import modules_of
from taxi_nb.pipeline.kernels.input_recorder import start_recording
from taxi_nb.pipeline.kernels.pool import KernelPool, in_one_order
from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.record import Status, StepResult, file_names
from taxi_nb.pipeline.resources import MemoryLimit
from taxi_nb.pipeline.spec import Pipeline, Step
from taxi_nb.plain_data import to_json
from taxi_nb.project import path_within, write_whole
from taxi_nb.tracking import names
from taxi_nb.tracking.pipeline_runs import PipelineTracking, step_environment
from taxi_nb.tracking.plain_mlflow import HOOK


class RunFolder:
    """``runs/<id>``: where each step's files are."""

    def __init__(self, path: Path, steps: Sequence[str]) -> None:
        self.path = path
        self._stems = file_names(list(steps))

    def notebook(self, step: str) -> Path:
        return self.path / f"{self._stems[step]}.ipynb"

    def page(self, step: str) -> Path:
        return self.path / f"{self._stems[step]}.html"

    def inputs(self, step: str) -> Path:
        return self.path / f"{self._stems[step]}.inputs.json"

    def notes(self, step: str) -> Path:
        """Return the file that the kernel writes its notes to while it runs."""
        return self.path / f".{self._stems[step]}.inputs.jsonl"

    def progress(self, step: str) -> Path:
        """Return the file in which the kernel says how far it has come."""
        return self.path / f".{self._stems[step]}.progress"

    def kept(self, step: str) -> dict[str, Any]:
        """Name a step's files for a record, those that are on disk."""
        files = self.files(step).items()
        return {key: file.name if file.exists() else None for key, file in files}

    def files(self, step: str) -> dict[str, Path]:
        """Return where a step's files are, or are to be, by their names in a record."""
        notebook, page, inputs = self.notebook(step), self.page(step), self.inputs(step)
        return {"executed_notebook": notebook, "html": page, "inputs": inputs}


@dataclass(frozen=True)
class StepRunner:
    """Executes steps of one pipeline run; its methods may be called from several threads."""

    pipeline: Pipeline
    pool: KernelPool
    memory: Memory
    tracking: PipelineTracking
    # The pipeline's run in MLflow.
    parent: str
    folder: RunFolder

    def attempt(
        self,
        step: Step,
        begun: StepResult,
        upstream: Mapping[str, str],
        sources: Sequence[str],
        *,
        handle: KernelHandle,
        on_run: Callable[[StepResult], None],
        on_cell: OnCell,
    ) -> StepResult:
        """Execute a step once; the result has its inputs if it was kept to be used again.

        `begun` is the attempt, as far as it is known; `upstream` has the run ids of the steps
        that it needs, `sources` the labels of the data that it builds on. `handle` takes charge
        of the kernel, for another thread to end it. `on_run` is called when the step's run is
        open, `on_cell` when a cell starts.
        """
        before = self.memory.inputs_before(step)
        notes = self.folder.notes(step.name)
        self._note(step, before, "did not end")
        run_id = self._open_run(step)
        begun = replace(begun, mlflow_run_id=run_id)
        on_run(begun)
        notes.unlink(missing_ok=True)
        ending: names.RunStatus = "FAILED"

        def heard(cell: int, cells: int) -> None:
            on_cell(cell, cells)
            # nbconvert takes a third of a second to import; meanwhile the kernel works.
            import taxi_nb.pipeline.report.notebook_page  # noqa: F401

        try:
            with MemoryLimit(handle, step.memory):
                execution = execute_notebook(
                    step.notebook,
                    self.folder.notebook(step.name),
                    step.parameters,
                    self.pool.manager(self._environment(step, run_id, upstream)),
                    timeout=step.timeout,
                    handle=handle,
                    on_cell=heard,
                    before_cells=(modules_of(self.pipeline.root), self._recording(notes), HOOK),
                )
            result = self._land(step, begun, execution, sources)
            if result.status is Status.OK:
                # Kept before its run is finished: a kill leaves no finished run without a result.
                result = self._keep(step, result, before, upstream)
            else:
                self._note(step, before, "failed")
            ending = result.status.of_run
        finally:
            notes.unlink(missing_ok=True)
            self.folder.progress(step.name).unlink(missing_ok=True)
            self.tracking.close_run(run_id, ending)
        return result

    def _recording(self, notes: Path) -> str:
        return start_recording(self.pipeline.root, notes, self.memory.made_by_runs)

    def _note(self, step: Step, before: Inputs, ending: str) -> None:
        self.memory.results.note(self.pipeline.name, step.name, before.key, ending)

    def _open_run(self, step: Step) -> str:
        tags = {
            "step": step.name,
            "pipeline": path_within(self.pipeline.root, self.pipeline.file),
            names.STEP_TAG: step.name,
            names.PIPELINE_RUN_TAG: self.folder.path.name,
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
        handed[names.PROGRESS_VARIABLE] = str(self.folder.progress(step.name))
        variables = {"TAXI_NB_ROOT": str(self.pipeline.root), **self.pipeline.variables, **handed}
        all_of_them = {**in_one_order(os.environ), **variables}
        return {name: value for name, value in all_of_them.items() if value is not None}

    def _land(
        self, step: Step, begun: StepResult, execution: Execution, sources: Sequence[str]
    ) -> StepResult:
        """Keep notebook, HTML, parameters and timings."""
        from taxi_nb.pipeline.report.notebook_page import write_notebook_page

        run_id = begun.mlflow_run_id
        assert run_id is not None
        notebook, page = self.folder.notebook(step.name), self.folder.page(step.name)
        ended = replace(
            begun,
            status=execution.status,
            seconds=round(execution.seconds, 3),
            startup_seconds=execution.startup_seconds,
            error=execution.error,
        )
        metrics, data_source, checks = self.tracking.outcome(run_id)
        if notebook.exists():
            ended = replace(ended, executed_notebook=notebook.name)
            labels = [data_source] if data_source else sources
            write_notebook_page(notebook, page, step=ended, sources=labels)
            ended = replace(ended, html=page.name)
        kept = [notebook, page] if ended.executed_notebook else []
        self.tracking.log_files(run_id, kept, "notebook")
        self.tracking.log_dict(run_id, dict(step.parameters), names.PARAMETERS_FILE)
        self.tracking.log_dict(run_id, list(execution.cells), "cell_seconds.json")
        # Last: what the machine took is no outcome to compare.
        taken = {names.WALL_METRIC: execution.seconds, **execution.usage}
        self.tracking.log_metrics(run_id, taken)
        return replace(ended, metrics=metrics, data_source=data_source, checks=checks)

    def _keep(
        self, step: Step, result: StepResult, before: Inputs, upstream: Mapping[str, str]
    ) -> StepResult:
        """Keep a result with its inputs, so that a later run knows whether it still holds."""
        run_id, memory = result.mlflow_run_id, self.memory
        assert run_id is not None
        notes = self.folder.notes(step.name)
        try:
            recorded = RecordedInputs(notes, self.pipeline.root, memory.digests)
            inputs = recorded.complete(before, step, upstream, memory.made_by_runs)
        except InputsLostError:
            self._note(step, before, "its inputs could not be recorded")
            return result
        file = self.folder.inputs(step.name)
        write_whole(file, to_json(inputs, indent=1))
        result = replace(result, inputs=file.name)
        if memory.inputs_before(step) != before:
            self._note(step, before, "its notebook was edited while it ran")
            return result
        result = replace(
            result,
            kind=self.tracking.kind(run_id),
            executed_in=self.folder.path.name,
            notebook_size=self.folder.notebook(step.name).stat().st_size,
            digests=self._digests(step),
            artifacts=self._artifacts(run_id),
            used=inputs,
        )
        memory.results.keep(self.pipeline.name, result)
        memory.share(result, self.folder.files(step.name))
        return result

    def _digests(self, step: Step) -> dict[str, str]:
        """Return the digests of what later runs use; a page can be made again from it."""
        files = self.folder.files(step.name)
        kept = {key: files[key] for key in ("executed_notebook", "inputs")}
        found = {key: self.memory.digests.content(file) for key, file in kept.items()}
        return {key: digest for key, digest in found.items() if digest is not None}

    def _artifacts(self, run_id: str) -> dict[str, int]:
        sizes = self.tracking.artifact_sizes(run_id)
        return {path_within(self.pipeline.root, path): size for path, size in sizes.items()}

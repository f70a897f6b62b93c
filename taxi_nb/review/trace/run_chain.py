"""From a run of MLflow, or of a pipeline, to the chain of all that made it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.memory import RUNS
from taxi_nb.pipeline.record import RUN_FILE, RunRecord, StepResult, is_run_name
from taxi_nb.pipeline.report.executed import notebook_content
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.plain_data import from_plain
from taxi_nb.review.trace import nodes
from taxi_nb.review.trace._cells import cells_by_call, cells_by_time
from taxi_nb.review.trace._commands import Recipe, setup_command
from taxi_nb.review.trace.nodes import Node
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking import names
from taxi_nb.tracking.git import files_not_in, is_in_no_remote
from taxi_nb.tracking.run_tree import artifact_bytes, deleted, find_run, logged_at, with_those_above

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class TraceError(LookupError):
    """Something asked for is not there; the message says where it was looked for."""


@dataclass(frozen=True)
class Trace:
    """A chain, and the commands that do it again; `remarks` say what they cannot do."""

    root: Node
    commands: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recorded:
    """A pipeline run's record; `disk` is None if only MLflow still has it."""

    record: RunRecord
    disk: RunOnDisk | None


@dataclass(frozen=True)
class _Place:
    """A run's place in the nesting of runs."""

    run: Run
    above: Sequence[Run]  # The runs that it is nested in, the nearest first.
    pipeline_run: Run | None  # Not among those above.
    recorded: Recorded | None

    @property
    def step_run(self) -> Run:  # Outside a pipeline the run itself.
        return [self.run, *self.above][-1] if self.pipeline_run else self.run

    @property
    def step(self) -> StepResult | None:
        steps = self.recorded.record.steps if self.recorded else ()
        run_id = self.step_run.info.run_id
        return next((step for step in steps if step.mlflow_run_id == run_id), None)

    @property
    def disk(self) -> RunOnDisk | None:
        return self.recorded.disk if self.recorded else None


class RunChains:
    """Leads runs of one store back; the folders of pipeline runs are in the project's."""

    def __init__(self, project: Path, uri: str, client: MlflowClient) -> None:
        self.project, self.uri, self.client = project, uri, client

    def of_run(self, run: Run) -> Trace:
        """Lead a run back to its notebook, to its inputs, and to the run that it is part of."""
        place = self._place(run)
        data = list(nodes.data_nodes(run))
        made_from = [
            self._notebook(place),
            nodes.parameters_node(run if run.data.params else place.step_run),
            *data,
            *self._code_and_environment(place.step_run),
        ]
        missing = [] if data else ["it logged no data set"]
        missing += filter(None, [deleted(run)])
        if place.step is not None:
            made_from.append(self._step_of(place, place.step))
        elif place.pipeline_run is not None:
            name = str(place.pipeline_run.info.run_name)
            lost = ("its record run.json is gone from its folder and from MLflow",)
            made_from.append(Node("pipeline run", name, {}, lost))
        elif run.data.tags.get(names.PARENT_TAG) and not place.above:
            missing.append("the run that it is nested in is gone from MLflow")
        kind, title = f"{nodes.run_kind(run)} run", f"{run.info.run_name}  {run.info.run_id}"
        facts = nodes.run_facts(run, place.above)
        root = Node(kind, title, facts, tuple(missing), tuple(made_from))
        variables = place.disk.variables(place.step.name) if place.disk and place.step else {}
        return self._trace(root, place.pipeline_run or place.step_run, place.recorded, variables)

    def of_pipeline(self, recorded: Recorded) -> Trace:
        """Lead a pipeline run back, with all its steps."""
        run = find_run(self.client, recorded.record.mlflow_run_id or "")
        steps = [self._step(step) for step in recorded.record.steps]
        context = self._code_and_environment(run) if run else ()
        root = self._pipeline(recorded, run, (*steps, *context))
        variables = recorded.disk.variables() if recorded.disk else {}
        return self._trace(root, run, recorded, variables)

    def record_of(self, run: Run) -> Recorded | None:
        """Return a pipeline run's record, from its folder or else from MLflow."""
        name = run.data.tags.get(names.PIPELINE_RUN_TAG) or run.info.run_name
        folder = self.project / RUNS / str(name)
        if is_run_name(str(name)) and (folder / RUN_FILE).is_file():
            recorded = read_record(folder)
            # A folder of that name may belong to another store's run.
            if recorded.record.mlflow_run_id == run.info.run_id:
                return recorded
        kept = artifact_bytes(self.client, run, f"pipeline/{RUN_FILE}")
        try:
            return Recorded(RunRecord.from_json(kept.decode()), None) if kept else None
        except ValueError as error:
            raise TraceError(f"pipeline/{RUN_FILE} of {run.info.run_id}: {error}") from None

    def _place(self, run: Run) -> _Place:
        _, *above = with_those_above(self.client, run)
        is_pipelines = bool(above) and nodes.run_kind(above[-1]) == "pipeline"
        pipeline_run = above.pop() if is_pipelines else None
        recorded = self.record_of(pipeline_run) if pipeline_run else None
        return _Place(run, above, pipeline_run, recorded)

    def _step(self, step: StepResult) -> Node:
        run = find_run(self.client, step.mlflow_run_id or "")
        facts = nodes.step_facts(step)
        if run is None:
            return Node("step", step.name, facts, ("its MLflow run is gone",))
        data = [f"{node.title}, digest {node.facts['digest']}" for node in nodes.data_nodes(run)]
        lost = tuple(filter(None, [deleted(run)]))
        return Node("step", step.name, facts | ({"data": "; ".join(data)} if data else {}), lost)

    def _step_of(self, place: _Place, step: StepResult) -> Node:
        """Return the step that a run is of, with the files and runs that it read."""
        assert place.recorded is not None
        pipeline = self._pipeline(place.recorded, place.pipeline_run, ())
        facts = nodes.step_facts(step)
        known = place.disk.inputs.get(step.name) if place.disk else None
        if not known:
            missing = ("which files and runs it read: its list of them is gone",)
            return Node("step", step.name, facts, missing, (pipeline,))
        read = from_plain(Inputs, known)
        files = [used for used in read.files.values() if used.name]
        data = [f"{used.name} {used.digest or 'none'}" for used in files]
        made = [f"{used.name} {used.content}" for used in files if used.content]
        upstream = {name: run_id for asked in read.asked for name, run_id in asked.used.items()}
        if data:
            facts["files of data, sha256"] = "; ".join(data)
        if made:
            facts["digests of what was made of them"] = "; ".join(made)
        if upstream:
            facts["built on"] = nodes.listed(upstream)
        return Node("step", step.name, facts, (), (pipeline,))

    def _pipeline(self, recorded: Recorded, run: Run | None, made_from: tuple[Node, ...]) -> Node:
        record = recorded.record
        facts = {
            "file": " ".join([record.parameter_file, *record.settings]),
            "status": str(record.status),
            "started": record.started,
            "by": record.developer or "not known",
            "MLflow run": record.mlflow_run_id or "none",
        }
        missing = []
        if recorded.disk is not None:
            facts["folder"] = f"{RUNS}/{recorded.disk.folder.name}"
        else:
            missing.append(f"its folder {RUNS}/{record.id} is gone; what MLflow keeps is shown")
        if run is None:
            missing.append("its MLflow run is gone")
        elif is_deleted := deleted(run):
            missing.append(is_deleted)
        return Node("pipeline run", record.id, facts, tuple(missing), made_from)

    def _code_and_environment(self, run: Run) -> tuple[Node, Node]:
        environment = nodes.environment_node(self.client, run, self.project)
        return nodes.commit_node(self.client, run), environment

    def _notebook(self, place: _Place) -> Node:
        run, step_run = place.run, place.step_run
        tags = step_run.data.tags | run.data.tags
        notebook = tags.get(names.NOTEBOOK_TAG)
        if notebook is None:
            source = run.data.tags.get("mlflow.source.name", "not known")
            return Node("source", source, {}, ("no notebook made it",))
        content, where = self._executed(place)
        cells = cells_by_time(content, logged_at(self.client, run)) if content else ()
        source_file = f"{names.SOURCE_FOLDER}/{Path(notebook).name}"
        kept = artifact_bytes(self.client, step_run, source_file)
        if kept and not cells:
            content, where = notebook_content(kept), source_file
        if content and not cells:
            cells = cells_by_call(content, nodes.run_kind(run))
        facts = {"looked at": where} if where else {}
        if kept:
            facts["source"] = f"artifact {source_file} of run {step_run.info.run_id}"
        missing = [] if kept else ["its source is not among the run's artifacts"]
        if not cells:
            missing.append("which cell logged it is not known")
        return Node("notebook", notebook, facts, tuple(missing), cells)

    def _executed(self, place: _Place) -> tuple[dict[str, Any] | None, str]:
        """Return the notebook as it was executed, from its folder or else from MLflow."""
        step, disk = place.step, place.disk
        if step is None or step.executed_notebook is None:
            return None, ""
        if disk is not None and (executed := disk.notebooks.get(step.name)):
            return executed.content, f"{RUNS}/{disk.folder.name}/{executed.path.name}"
        artifact = f"notebook/{step.executed_notebook}"
        kept = artifact_bytes(self.client, place.step_run, artifact)
        return (notebook_content(kept), f"artifact {artifact}") if kept else (None, "")

    def _trace(
        self,
        root: Node,
        run: Run | None,
        recorded: Recorded | None,
        variables: Mapping[str, str | None],
    ) -> Trace:
        """Return the chain with the commands that do a pipeline's or a notebook's run again."""
        record = recorded.record if recorded else None
        tags = run.data.tags if run else {}
        commit = (record and record.commit) or tags.get(names.COMMIT_TAG) or ""
        is_dirty = tags.get(names.DIRTY_TAG) == "true"
        diff = artifact_bytes(self.client, run, names.DIFF_ARTIFACT) if run and is_dirty else None
        alone = run if record is None else None
        given = artifact_bytes(self.client, alone, names.PARAMETERS_FILE) if alone else None
        is_known = nodes.is_hex(commit)
        is_elsewhere = is_known and not is_in_no_remote(self.project, commit)
        recipe = Recipe(
            commit=commit if is_known else None,
            remote=tags.get(names.REMOTE_TAG) if is_elsewhere else None,
            setup=setup_command(self.project),
            tracking_uri=without_credentials(self.uri),
            diff_run=run.info.run_id if run and diff and b"diff --git" in diff else None,
            variables={name: value for name, value in variables.items() if value is not None},
            record=record,
            uncommitted=dict(self._uncommitted(recorded, commit, diff))
            if is_known and recorded
            else {},
            notebook_run=alone.info.run_id if alone else None,
            notebook=alone.data.tags.get(names.NOTEBOOK_TAG) if alone else None,
            has_parameters=given is not None,
        )
        return Trace(root, tuple(recipe.commands()), tuple(recipe.remarks()))

    def _uncommitted(
        self, recorded: Recorded | None, commit: str, diff: bytes | None
    ) -> Iterator[tuple[str, str | None]]:
        """Yield the files that neither commit nor diff has, and the run that keeps each.

        Runs keep the pipeline's file and the notebooks; of modules only digests are kept.
        """
        if recorded is None or not nodes.is_hex(commit):
            return
        record, disk = recorded.record, recorded.disk
        kept: dict[str, str | None] = {record.parameter_file: record.mlflow_run_id}
        kept |= {step.notebook: step.mlflow_run_id for step in record.steps}
        for known in disk.inputs.values() if disk else ():
            modules = (name for name in known.get("modules", ()) if not os.path.isabs(name))
            kept |= {name: None for name in modules if name not in kept}
        missing = files_not_in(self.project, commit, list(kept))
        added = (diff or b"").decode(errors="replace").splitlines()
        for file, run_id in kept.items():
            in_diff = any(line.startswith("+++ b/") and line.endswith(file) for line in added)
            if file in missing and not in_diff:
                yield file, run_id


def read_record(folder: Path) -> Recorded:
    """Read a pipeline run's record from its folder, or raise a `TraceError`."""
    try:
        disk = RunOnDisk.read(folder)
        disk.require_own_files()
    except ValueError as error:
        raise TraceError(f"{folder / RUN_FILE}: {error}") from None
    return Recorded(disk.record, disk)

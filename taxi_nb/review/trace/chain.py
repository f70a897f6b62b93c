"""The chain from a model or a run back to notebook, parameters, data, commit and lock."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.pipeline.inputs import Inputs
from taxi_nb.pipeline.plan import RUNS
from taxi_nb.pipeline.record import RUN_FILE, RunRecord, StepResult
from taxi_nb.review.trace.cells import LoggingCell, cells_by_call, cells_by_time, joined
from taxi_nb.review.trace.commands import Recipe
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking import names
from taxi_nb.tracking.model_address import model_version
from taxi_nb.tracking.run_tree import (
    artifact_bytes,
    client_of,
    find_run,
    is_there,
    logged_at,
    runs_by_prefix,
)
from taxi_nb.tracking.store import store_problems_told, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_DIFF = f"{names.SOURCE_FOLDER}/{names.DIFF_FILE}"
_OWN_VARIABLES = ("MLFLOW_", "TAXI_NB_ROOT", "TAXI_NB_NOTEBOOK", "TAXI_NB_UPSTREAM")


class TraceError(LookupError):
    """What was asked for is not there; the message says where it was looked for."""


@dataclass(frozen=True)
class Node:
    """One link of the chain.

    Attributes
    ----------
    kind : str
        Such as ``model version``, ``run``, ``data``.
    facts : mapping
        What is known, by name.
    missing : tuple of str
        What is not known, and why.
    made_from : tuple of Node
        What it was made by, or from.
    """

    kind: str
    title: str
    facts: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    made_from: tuple[Node, ...] = ()


@dataclass(frozen=True)
class Trace:
    """A chain, and the commands that do it again; `remarks` say what they cannot do."""

    root: Node
    commands: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def trace(what: str, project: Path) -> Trace:
    """Lead something back to what made it.

    Parameters
    ----------
    what : str
        A registered model's version (``models:/name/3``, ``models:/name@champion``), the id of
        an MLflow run or its beginning, a pipeline run's id or folder, or the file of a notebook
        that a pipeline executed.
    project : Path
        The project's folder.

    Raises
    ------
    TraceError
        If it is not there.
    StoreError
        If the store cannot be used.
    """
    with store_problems_told():
        return _Tracer(project).trace(what)


class _Tracer:
    def __init__(self, project: Path) -> None:
        self.project = project
        self.runs = project / RUNS
        self.uri = tracking_uri()
        if not is_there(self.uri):
            raise TraceError(f"there is no store yet: {without_credentials(self.uri)}")
        self.client: MlflowClient = client_of(self.uri)

    def trace(self, what: str) -> Trace:
        if what.startswith("models:/"):
            return self._of_model(what)
        path = Path(what)
        if path.suffix == ".ipynb":
            return self._of_notebook(path)
        for folder in (path, self.runs / what):
            if (folder / RUN_FILE).is_file():
                record = _record(folder)
                return self._of_pipeline_run(record, folder)
        return self._of_run_id(what)

    # --- the four beginnings --------------------------------------------------------------

    def _of_model(self, address: str) -> Trace:
        version = model_version(self.client, address)
        if version is None:
            raise TraceError(
                f"{address} is not in the registry of {without_credentials(self.uri)}; "
                "models:/NAME/VERSION and models:/NAME@ALIAS name a version"
            )
        run = find_run(self.client, str(version.run_id)) if version.run_id else None
        facts = {
            **({"aliases": ", ".join(version.aliases)} if version.aliases else {}),
            "registered": _time(version.creation_timestamp),
            **{name: value for name, value in version.tags.items() if _is_lineage(name)},
        }
        title = f"{version.name}, version {version.version}"
        if run is None:
            missing = (f"its training run {version.run_id or '(none)'} is gone from MLflow",)
            return Trace(Node("model version", title, facts, missing), (), missing)
        made = self._run(run)
        return Trace(Node("model version", title, facts, (), (made.root,)), made.commands)

    def _of_notebook(self, path: Path) -> Trace:
        if not path.is_file():
            raise TraceError(f"{path} is not there")
        if not (path.parent / RUN_FILE).is_file():
            raise TraceError(
                f"{path} is not below {RUNS}/: nothing says which run executed it; give the run's "
                "id"
            )
        record = _record(path.parent)
        step = next((s for s in record.steps if s.executed_notebook == path.name), None)
        if step is None:
            raise TraceError(
                f"{path.parent / RUN_FILE} knows no step with the notebook {path.name}"
            )
        below, commands = self._of_step(step)
        facts = {"step": step.name, "pipeline run": record.id, **_reuse(step)}
        missing = () if below else ("its MLflow run is gone",)
        root = Node("executed notebook", str(path), facts, missing, below)
        return Trace(root, commands, missing)

    def _of_run_id(self, beginning: str) -> Trace:
        found = runs_by_prefix(self.client, beginning) if _is_hex(beginning) else []
        if not found:
            raise TraceError(
                f"{beginning!r} is no run of {without_credentials(self.uri)}, no run below "
                f"{RUNS}/, no executed notebook and no models:/ address; of a run's id 4 digits or "
                "more are needed"
            )
        if len(found) > 1:
            listed = "\n".join(f"  {run.info.run_id}  {run.info.run_name}" for run in found[:10])
            raise TraceError(f"{beginning!r} begins the ids of {len(found)} runs:\n{listed}")
        run = found[0]
        if run.data.tags.get(names.KIND_TAG) == "pipeline":
            record, folder = self._record_of(run)
            if record is not None:
                return self._of_pipeline_run(record, folder)
        return self._run(run)

    def _of_pipeline_run(self, record: RunRecord, folder: Path | None) -> Trace:
        run = find_run(self.client, record.mlflow_run_id or "")
        steps = tuple(self._step_node(step) for step in record.steps)
        root = self._pipeline_node(record, folder, run, steps)
        recipe = self._recipe(run, record, _variables(folder) if folder else {})
        return Trace(root, tuple(recipe.commands()), tuple(_remarks(recipe)))

    def _step_node(self, step: StepResult) -> Node:
        run = find_run(self.client, step.mlflow_run_id or "")
        facts = _step_facts(step)
        if run is None:
            return Node("step", step.name, facts, ("its MLflow run is gone",))
        data = [f"{node.title}, digest {node.facts['digest']}" for node in _data(run)]
        return Node("step", step.name, facts | ({"data": "; ".join(data)} if data else {}))

    def _of_step(self, step: StepResult) -> tuple[tuple[Node, ...], tuple[str, ...]]:
        run = find_run(self.client, step.mlflow_run_id or "")
        if run is None:
            return (), ()
        made = self._run(run)
        return (made.root,), made.commands

    # --- the chain ------------------------------------------------------------------------

    def _run(self, run: Run) -> Trace:
        """Lead a run of any kind back: its notebook, what it was given, and what it is part of."""
        above = self._parents(run)
        pipeline_run = above[-1] if above and _kind(above[-1]) == "pipeline" else None
        record, folder = self._record_of(pipeline_run) if pipeline_run else (None, None)
        step_run = [run, *above][-2] if pipeline_run else run
        steps = record.steps if record else ()
        step = next((s for s in steps if s.mlflow_run_id == step_run.info.run_id), None)
        made_from = [
            self._notebook_node(run, step_run, step, folder),
            _parameters(run if run.data.params else step_run),
            *_data(run),
            self._commit_node(step_run),
            self._environment_node(step_run),
        ]
        missing = ["it logged no data set"] if not list(_data(run)) else []
        if step is not None and record is not None:
            made_from.append(self._made_by(step, record, folder, pipeline_run))
        elif pipeline_run is not None:
            title = str(pipeline_run.info.run_name)
            lost = ("its record run.json is gone from its folder and from MLflow",)
            made_from.append(Node("pipeline run", title, {}, lost))
        elif run.data.tags.get(names.PARENT_TAG) and not above:
            missing.append("the run that it is nested in is gone from MLflow")
        root = Node(
            f"{_kind(run)} run",
            f"{run.info.run_name}  {run.info.run_id}",
            _run_facts(run, above[:-1] if pipeline_run else above),
            tuple(missing),
            tuple(made_from),
        )
        variables = _variables(folder, step) if folder and step else {}
        recipe = self._recipe(pipeline_run or step_run, record, variables)
        return Trace(root, tuple(recipe.commands()), tuple(_remarks(recipe)))

    def _made_by(
        self, step: StepResult, record: RunRecord, folder: Path | None, run: Run | None
    ) -> Node:
        pipeline = self._pipeline_node(record, folder, run, ())
        kept = folder / step.inputs if folder and step.inputs else None
        if kept is None or not kept.is_file():
            missing = ("which files and runs it read: its list of them is gone",)
            return Node("step", step.name, _step_facts(step), missing, (pipeline,))
        read = Inputs.from_dict(json.loads(kept.read_bytes()))
        data = [f"{used.name} {used.digest or 'none'}" for used in read.files.values() if used.name]
        upstream = {name: run_id for asked in read.asked for name, run_id in asked.used.items()}
        facts = {
            **_step_facts(step),
            **({"files of data, sha256": "; ".join(data)} if data else {}),
            **({"built on": _listed(upstream)} if upstream else {}),
        }
        return Node("step", step.name, facts, (), (pipeline,))

    def _parents(self, run: Run) -> list[Run]:
        """Return the runs that a run is nested in, the nearest first."""
        found: list[Run] = []
        current: Run | None = run
        while current and (parent := current.data.tags.get(names.PARENT_TAG)):
            current = find_run(self.client, parent)
            if current is not None:
                found.append(current)
        return found

    def _record_of(self, run: Run) -> tuple[RunRecord | None, Path | None]:
        """Return a pipeline run's record, from its folder or else from MLflow."""
        folder = self.runs / str(run.data.tags.get(names.PIPELINE_RUN_TAG) or run.info.run_name)
        if (folder / RUN_FILE).is_file():
            record = _record(folder)
            # A folder of that name may belong to another store's run.
            if record.mlflow_run_id == run.info.run_id:
                return record, folder
        kept = artifact_bytes(self.client, run, f"pipeline/{RUN_FILE}")
        return (RunRecord.from_json(kept.decode()) if kept else None), None

    def _pipeline_node(
        self, record: RunRecord, folder: Path | None, run: Run | None, steps: tuple[Node, ...]
    ) -> Node:
        facts = {
            "file": " ".join([record.parameter_file, *(f"--set {o}" for o in record.overrides)]),
            "status": str(record.status),
            "started": record.started,
            "by": record.developer or "not known",
            "MLflow run": record.mlflow_run_id or "none",
        }
        if folder is not None:
            facts["folder"] = f"{RUNS}/{folder.name}"
        missing = []
        if folder is None:
            missing.append(f"its folder {RUNS}/{record.id} is gone; what MLflow keeps is shown")
        if run is None:
            missing.append("its MLflow run is gone")
        context = (self._commit_node(run), self._environment_node(run)) if run and steps else ()
        return Node("pipeline run", record.id, facts, tuple(missing), (*steps, *context))

    def _notebook_node(
        self, run: Run, step_run: Run, step: StepResult | None, folder: Path | None
    ) -> Node:
        notebook = run.data.tags.get(names.NOTEBOOK_TAG) or step_run.data.tags.get(
            names.NOTEBOOK_TAG
        )
        if notebook is None:
            source = run.data.tags.get("mlflow.source.name", "not known")
            return Node("source", source, {}, ("no notebook made it",))
        content, where = self._executed(step_run, step, folder)
        cells: tuple[LoggingCell, ...] = ()
        if content is not None:
            cells = cells_by_time(content, logged_at(self.client, run))
        source_file = f"{names.SOURCE_FOLDER}/{Path(notebook).name}"
        kept = artifact_bytes(self.client, step_run, source_file)
        if kept and not cells:
            content, where = joined(json.loads(kept)), source_file
        if content is not None and not cells:
            cells = cells_by_call(content, _kind(run))
        facts = {"looked at": where} if where else {}
        if kept:
            facts["source"] = f"artifact {source_file} of run {step_run.info.run_id}"
        missing = [] if kept else ["its source is not among the run's artifacts"]
        if not cells:
            missing.append("which cell logged it is not known")
        nodes = tuple(
            Node("cell", f"{cell.number}: {cell.first_line}", {"known by": cell.evidence})
            for cell in cells
        )
        return Node("notebook", notebook, facts, tuple(missing), nodes)

    def _executed(
        self, step_run: Run, step: StepResult | None, folder: Path | None
    ) -> tuple[dict[str, Any] | None, str]:
        """Return the notebook as it was executed, from its folder or else from MLflow."""
        if step is None or step.executed_notebook is None:
            return None, ""
        if folder is not None and (path := folder / step.executed_notebook).is_file():
            return joined(json.loads(path.read_bytes())), f"{RUNS}/{folder.name}/{path.name}"
        artifact = f"notebook/{step.executed_notebook}"
        kept = artifact_bytes(self.client, step_run, artifact)
        return (joined(json.loads(kept)), f"artifact {artifact}") if kept else (None, "")

    def _commit_node(self, run: Run) -> Node:
        tags = run.data.tags
        commit = tags.get(names.COMMIT_TAG)
        if commit is None or not _is_hex(commit):
            return Node("commit", commit or "not known", {}, ("the code cannot be checked out",))
        facts = {"branch": tags.get(names.BRANCH_TAG) or "not known"}
        if remote := tags.get(names.REMOTE_TAG):
            facts["remote"] = remote
        missing = []
        if tags.get(names.DIRTY_TAG) == "true":
            diff = artifact_bytes(self.client, run, _DIFF)
            if diff is None:
                missing.append("there were uncommitted changes, and they were not kept")
            else:
                lines = diff.count(b"\n")
                facts["uncommitted changes"] = f"{lines} lines: artifact {_DIFF}"
        elif names.DIRTY_TAG in tags:
            facts["uncommitted changes"] = "none"
        else:
            missing.append("whether there were uncommitted changes")
        return Node("commit", commit, facts, tuple(missing))

    def _environment_node(self, run: Run) -> Node:
        tags = run.data.tags
        python, lock = tags.get(names.PYTHON_TAG), tags.get(names.LOCK_TAG)
        facts: dict[str, str] = {}
        missing = [] if python else ["the version of Python"]
        packages = f"{names.ENVIRONMENT_FOLDER}/{names.PACKAGES_FILE}"
        kept = artifact_bytes(self.client, run, packages)
        if kept:
            facts["packages"] = f"{len(kept.splitlines())}: artifact {packages}"
        if lock and lock != "none":
            present = _lock_digest(self.project)
            facts["lock"] = f"{lock[:16]}, {'as now' if present == lock else 'another than now'}"
        else:
            missing.append("the lock's digest")
        return Node("environment", f"Python {python or 'not known'}", facts, tuple(missing))

    def _recipe(
        self, run: Run | None, record: RunRecord | None, variables: Mapping[str, str]
    ) -> Recipe:
        tags = run.data.tags if run else {}
        commit = (record.commit if record else None) or tags.get(names.COMMIT_TAG)
        is_dirty = tags.get(names.DIRTY_TAG) == "true"
        diff = artifact_bytes(self.client, run, _DIFF) if run and is_dirty else None
        alone = run if record is None else None
        notebook = alone.data.tags.get(names.NOTEBOOK_TAG) if alone else None
        given = artifact_bytes(self.client, alone, names.PARAMETERS_FILE) if alone else None
        is_known = commit is not None and _is_hex(commit)
        is_elsewhere = is_known and not _only_here(self.project, commit or "")
        return Recipe(
            commit=commit if is_known else None,
            remote=tags.get(names.REMOTE_TAG) if is_elsewhere else None,
            tracking_uri=without_credentials(self.uri),
            diff_run=run.info.run_id if run and diff and b"diff --git" in diff else None,
            variables=variables,
            parameter_file=record.parameter_file if record else None,
            overrides=record.overrides if record else (),
            notebook_run=alone.info.run_id if alone else None,
            notebook=notebook,
            has_parameters=given is not None,
        )


def _record(folder: Path) -> RunRecord:
    try:
        return RunRecord.from_json((folder / RUN_FILE).read_text("utf-8"))
    except ValueError as error:
        raise TraceError(f"{folder / RUN_FILE}: {error}") from None


def _kind(run: Run) -> str:
    return str(run.data.tags.get(names.KIND_TAG, "MLflow"))


def _is_hex(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{4,40}", text) is not None


def _is_lineage(tag: str) -> bool:
    return tag.startswith("lineage.") or tag == names.SYNTHETIC_TAG


def _time(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "not known"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _run_facts(run: Run, above: Sequence[Run]) -> dict[str, str]:
    facts = {"status": run.info.status, "started": _time(run.info.start_time)}
    if by := run.data.tags.get(names.DEVELOPER_TAG):
        facts["by"] = by
    if above:
        facts["within"] = ", ".join(f"{r.info.run_name} {r.info.run_id}" for r in above)
    results = {
        name: value
        for name, value in sorted(run.data.metrics.items())
        if not name.endswith("seconds") and name != names.PEAK_METRIC
    }
    if results:
        facts["metrics"] = ", ".join(f"{name} {value:.6g}" for name, value in results.items())
    return facts


def _parameters(run: Run) -> Node:
    # Data are told apart, with their digests.
    given = {
        name: value
        for name, value in sorted(run.data.params.items())
        if not re.fullmatch(r"(training|validation)_\w+", name)
    }
    missing = () if given else ("it logged none",)
    return Node("parameters", f"{len(given)}", given, missing)


def _data(run: Run) -> Iterator[Node]:
    for used in run.inputs.dataset_inputs if run.inputs else ():
        roles = [tag.value for tag in used.tags if tag.key == "mlflow.data.context"]
        facts = {"digest": used.dataset.digest}
        rows = json.loads(used.dataset.profile or "{}").get("num_rows")
        for role in roles:
            digest = run.data.params.get(f"{role}_digest")
            facts |= {"digest": digest} if digest else {}
            rows = run.data.metrics.get(f"{role}_trips", rows)
            if files := run.data.params.get(f"{role}_data"):
                facts["files"] = files
        facts["rows"] = f"{rows:,.0f}" if rows is not None else "not known"
        yield Node("data", f"{', '.join(roles) or 'used'}: {used.dataset.name}", facts)


def _step_facts(step: StepResult) -> dict[str, str]:
    facts = {"notebook": step.notebook, "status": str(step.status), **_reuse(step)}
    if step.mlflow_run_id:
        facts["MLflow run"] = step.mlflow_run_id
    if step.parameters:
        facts["given"] = _listed(step.parameters)
    return facts


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _reuse(step: StepResult) -> dict[str, str]:
    if step.reused_from is None:
        return {}
    return {"reused": f"not executed: its results are those of {step.reused_from}"}


def _variables(folder: Path, step: StepResult | None = None) -> dict[str, str]:
    """Return the variables that steps read, where they were set."""
    found: dict[str, str] = {}
    pattern = step.inputs if step else "*.inputs.json"
    for file in sorted(folder.glob(pattern)) if pattern else ():
        found |= json.loads(file.read_bytes()).get("variables", {})
    return {
        name: value
        for name, value in sorted(found.items())
        if value is not None and not name.startswith(_OWN_VARIABLES)
    }


def _only_here(project: Path, commit: str) -> bool:
    """Whether this repository has a commit that none of its remotes is known to have."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(project), *arguments], capture_output=True)
        except OSError:
            return None
        return done.stdout.decode() if done.returncode == 0 else None

    is_here = git("cat-file", "-e", f"{commit}^{{commit}}") is not None
    return is_here and git("branch", "--remotes", "--contains", commit) == ""


def _remarks(recipe: Recipe) -> Iterator[str]:
    if recipe.commit is None:
        yield "without a commit the code cannot be had again"
    if recipe.parameter_file is None and recipe.notebook is None:
        yield "it was made neither by a pipeline nor by a notebook: its command is not known"
    elif recipe.parameter_file is None:
        yield "cells may have been executed in another order: see the artifact executed_cells.py"


def _lock_digest(project: Path) -> str:
    lock = project / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "none"

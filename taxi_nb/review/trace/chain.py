"""From what a person names (a model, a run, a notebook) to the run that made it."""

from __future__ import annotations

from pathlib import Path

from taxi_nb.pipeline.memory import RUNS
from taxi_nb.pipeline.record import RUN_FILE
from taxi_nb.review.trace.nodes import Node, is_hex, reuse_facts, run_kind, time_text
from taxi_nb.review.trace.run_chain import RunChains, Trace, TraceError, read_record
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking import names
from taxi_nb.tracking.model_address import model_version
from taxi_nb.tracking.run_tree import client_of, find_run, is_there, runs_by_prefix
from taxi_nb.tracking.store import tracking_uri
from taxi_nb.tracking.store_errors import errors_of_store


def trace(what: str, project: Path) -> Trace:
    """Lead something back to what made it, or say by a `TraceError` that it is not there.

    `what` is a registered model's version (``models:/name/3``, ``models:/name@champion``), the id
    of an MLflow run or its beginning, a pipeline run's id or folder, or the file of a notebook
    that a pipeline executed.
    """
    with errors_of_store(tracking_uri()):
        return _Finder(project).trace(what)


class _Finder:
    def __init__(self, project: Path) -> None:
        self.runs = project / RUNS
        uri = tracking_uri()
        self.store = without_credentials(uri)
        if not is_there(uri):
            raise TraceError(f"there is no store yet: {self.store}")
        self.client = client_of(uri)
        self.chains = RunChains(project, uri, self.client)

    def trace(self, what: str) -> Trace:
        if what.startswith("models:/"):
            return self._of_model(what)
        path = Path(what)
        if path.suffix == ".ipynb":
            return self._of_notebook(path)
        for folder in (path, self.runs / what):
            if (folder / RUN_FILE).is_file():
                return self.chains.of_pipeline(read_record(folder))
        return self._of_run_id(what)

    def _of_model(self, address: str) -> Trace:
        version = model_version(self.client, address)
        if version is None:
            raise TraceError(
                f"{address} is not in the registry of {self.store}; "
                "models:/NAME/VERSION and models:/NAME@ALIAS name a version"
            )
        facts = {
            **({"aliases": ", ".join(version.aliases)} if version.aliases else {}),
            "registered": time_text(version.creation_timestamp),
            **{name: value for name, value in version.tags.items() if _is_lineage(name)},
        }
        lost = f"its training run {version.run_id or '(none)'} is gone from MLflow"
        title = f"{version.name}, version {version.version}"
        return self._made_by(version.run_id, "model version", title, facts, lost)

    def _of_notebook(self, path: Path) -> Trace:
        if not path.is_file():
            raise TraceError(f"{path} is not there")
        if not (path.parent / RUN_FILE).is_file():
            raise TraceError(
                f"{path} is not below {RUNS}/: nothing says which run executed it; give the run's "
                "id"
            )
        record = read_record(path.parent).record
        step = next((s for s in record.steps if s.executed_notebook == path.name), None)
        if step is None:
            raise TraceError(
                f"{path.parent / RUN_FILE} knows no step with the notebook {path.name}"
            )
        facts = {"step": step.name, "pipeline run": record.id, **reuse_facts(step)}
        lost = "its MLflow run is gone"
        return self._made_by(step.mlflow_run_id, "executed notebook", str(path), facts, lost)

    def _made_by(
        self, run_id: str | None, kind: str, title: str, facts: dict[str, str], lost: str
    ) -> Trace:
        """Lead something back that a run made; `lost` is said where that is gone."""
        run = find_run(self.client, run_id or "")
        if run is None:
            return Trace(Node(kind, title, facts, (lost,)), (), (lost,))
        made = self.chains.of_run(run)
        return Trace(Node(kind, title, facts, (), (made.root,)), made.commands)

    def _of_run_id(self, beginning: str) -> Trace:
        found = runs_by_prefix(self.client, beginning) if is_hex(beginning) else []
        if not found:
            raise TraceError(
                f"{beginning!r} is no run of {self.store}, no run below "
                f"{RUNS}/, no executed notebook and no models:/ address; of a run's id 4 digits or "
                "more are needed"
            )
        if len(found) > 1:
            shown = "\n".join(f"  {run.info.run_id}  {run.info.run_name}" for run in found[:10])
            raise TraceError(f"{beginning!r} begins the ids of {len(found)} runs:\n{shown}")
        recorded = self.chains.record_of(found[0]) if run_kind(found[0]) == "pipeline" else None
        return self.chains.of_pipeline(recorded) if recorded else self.chains.of_run(found[0])


def _is_lineage(tag: str) -> bool:
    return tag.startswith(("lineage.", "origin.")) or tag == names.SYNTHETIC_TAG

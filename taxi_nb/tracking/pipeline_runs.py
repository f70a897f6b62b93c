"""The pipeline's side of tracking: it opens, fills and closes its own run and its steps' runs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taxi_nb.tracking import names
from taxi_nb.tracking._lifecycle import (
    NO_PROCESS,
    Ending,
    Lease,
    close,
    close_abandoned,
    lease,
    owner,
    state_of,
)
from taxi_nb.tracking._reaching import checked_client
from taxi_nb.tracking.context import Context
from taxi_nb.tracking.judgements import Judgement, judgements_of, without_checks
from taxi_nb.tracking.names import Kind, RunStatus
from taxi_nb.tracking.origin import Origin
from taxi_nb.tracking.outcomes import model_outcomes
from taxi_nb.tracking.plain_mlflow import StepRun
from taxi_nb.tracking.run_tree import local_artifacts
from taxi_nb.tracking.store import connect, experiment_name, tracking_uri


def this_process() -> str:
    """Name this process so that another one can tell whether it still lives."""
    return owner()


def is_alive(process: str) -> bool:
    """Whether a process that `this_process` named is known to live."""
    return state_of(process) == "alive"


def step_environment(
    *, uri: str, experiment: str, run_id: str, notebook: str, upstream: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables by which the pipeline hands a step its run."""
    return {
        names.URI_VARIABLE: uri,
        names.EXPERIMENT_VARIABLE: experiment,
        names.RUN_VARIABLE: run_id,
        names.NOTEBOOK_VARIABLE: notebook,
        names.UPSTREAM_VARIABLE: json.dumps(upstream),
        # Of models that plain MLflow logs, too: it would name the kernel's program.
        names.CONTEXT_VARIABLE: json.dumps(
            {names.SOURCE_NAME_TAG: notebook, names.SOURCE_TYPE_TAG: "NOTEBOOK"}
        ),
        **StepRun(run_id, uri, experiment).as_variable(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


class PipelineTracking:
    """The owner of the runs of a pipeline and of its steps; safe to use from several threads."""

    def __init__(self, experiment: str | None) -> None:
        self.experiment = experiment_name(experiment)
        self.uri = tracking_uri()
        self.experiment_id = connect(self.experiment)
        self._client = checked_client(self.uri)
        self._lease = Lease(self._client)

    def open_run(
        self,
        name: str,
        kind: Kind,
        tags: Mapping[str, str],
        parent: str | None = None,
        source: Path | None = None,
        run_id: str | None = None,
        *,
        is_shared: bool = False,
    ) -> str:
        """Create a run, or take one that `mlflow run` has opened, and return its id.

        With the notebook or file that it comes from, the run gets its source and environment.
        One that `is_shared` by several processes stays open when this one ends.
        """
        context = Context(Origin.of(source, is_notebook=kind == "step")) if source else Context()
        nesting = {names.PARENT_TAG: parent} if parent else {}
        who = NO_PROCESS if is_shared else owner()
        until = lease(is_long=is_shared)
        own = {names.KIND_TAG: kind, names.OWNER_TAG: who, names.LEASE_TAG: until}
        all_tags = {**context.tags, **tags, **nesting, **own}
        if run_id is None:
            run = self._client.create_run(self.experiment_id, run_name=name, tags=all_tags)
            run_id = str(run.info.run_id)
        else:
            self._adopt(run_id, name, all_tags)
        if not is_shared:
            self._lease.add(run_id)
        try:
            if source:
                context.log_files(run_id)
        except BaseException:  # Nobody hears of a run that is open: it is closed here.
            self.close_run(run_id, "FAILED")
            raise
        return run_id

    def _adopt(self, run_id: str, name: str, tags: Mapping[str, str]) -> None:
        """Name and tag a run that is open already; what MLflow said of its source stays."""
        known = self._client.get_run(run_id).data.tags
        self._client.update_run(run_id, name=name)
        for tag, value in tags.items():
            if not (tag.startswith("mlflow.source.") and tag in known):
                self._client.set_tag(run_id, tag, value)

    def close_run(self, run_id: str, status: RunStatus) -> None:
        """End a run, whatever the kernel made of it, and trials that it left open."""
        try:
            close(self._client, self.experiment_id, run_id, status)
        finally:
            self._lease.discard(run_id)

    def close_abandoned(self, ending: Ending) -> list[str]:
        """End the runs whose process was killed, as `ending` says; return their names."""
        return close_abandoned(self._client, self.experiment_id, ending)

    def log_files(self, run_id: str, files: Sequence[Path], folder: str) -> None:
        """Copy files to a run's artifacts."""
        for file in files:
            self._client.log_artifact(run_id, str(file), folder)

    def log_text(self, run_id: str, content: str, name: str) -> None:
        """Write an artifact."""
        self._client.log_text(run_id, content, name)

    def log_dict(self, run_id: str, content: Any, name: str) -> None:
        """Write a JSON or YAML artifact."""
        self._client.log_dict(run_id, content, name)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log numbers to a run."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(run_id, [Metric(name, v, now, 0) for name, v in metrics.items()])

    def describe(self, run_id: str, text: str, columns: Sequence[str]) -> None:
        """Say what a pipeline's run came to, and let its experiment's table show columns, if any.

        They are MLflow's keys, such as ``"metrics.`loss`"``.
        """
        self._client.set_tag(run_id, names.NOTE_TAG, text)
        if columns:
            view = json.dumps({"selectedColumns": list(columns)})
            self._client.set_experiment_tag(self.experiment_id, names.VIEW_TAG, view)
        # Experiments of older commits have no kind; one that somebody chose stays.
        if names.EXPERIMENT_KIND_TAG not in self._client.get_experiment(self.experiment_id).tags:
            kind = names.EXPERIMENT_KIND_TAG, names.MACHINE_LEARNING
            self._client.set_experiment_tag(self.experiment_id, *kind)

    def outcome(self, run_id: str) -> tuple[dict[str, float], str | None, tuple[Judgement, ...]]:
        """Return what a step logged: metrics, the label of its data, what its checks found."""
        run = self._client.get_run(run_id)
        checks = judgements_of(self._client, run)
        return without_checks(run.data.metrics), run.data.tags.get(names.SOURCE_TAG), checks

    def kind(self, run_id: str) -> str | None:
        """Return what a step's run has become: ``step`` until its notebook says more."""
        return self._client.get_run(run_id).data.tags.get(names.KIND_TAG)

    def artifact_sizes(self, run_id: str) -> dict[Path, int]:
        """Return the bytes of each artifact of a run, those below it, and the models of all.

        Those in a bucket or behind a server are left out.
        """
        return dict(local_artifacts(self._client, run_id))

    def model_outcomes(self, steps: Mapping[str, str]) -> dict[str, Any]:
        """Find what steps, by the ids of their runs, trained and decided."""
        return model_outcomes(self._client, self.experiment_id, steps)

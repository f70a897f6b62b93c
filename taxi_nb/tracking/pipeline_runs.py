"""The pipeline's side: the runs that it opens and closes, and what its steps made of them."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taxi_nb.tracking.context import Context
from taxi_nb.tracking.lifecycle import close, close_abandoned, owner
from taxi_nb.tracking.model_address import ModelAddress
from taxi_nb.tracking.names import (
    CHAMPION,
    DECISION_TAG,
    EXPERIMENT_VARIABLE,
    KIND_TAG,
    NOTEBOOK_VARIABLE,
    OWNER_TAG,
    PARENT_TAG,
    REGISTERED_PARAM,
    RUN_VARIABLE,
    SOURCE_TAG,
    UPSTREAM_VARIABLE,
    URI_VARIABLE,
    Kind,
    RunStatus,
)
from taxi_nb.tracking.origin import origin_of
from taxi_nb.tracking.project_run import adopt_run
from taxi_nb.tracking.store import connect, experiment_name, store_problems_told, tracking_uri
from taxi_nb.tracking.stores import telling_client

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


def step_environment(
    *, uri: str, experiment: str, run_id: str, notebook: str, upstream: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables by which the pipeline hands a step its run."""
    return {
        URI_VARIABLE: uri,
        EXPERIMENT_VARIABLE: experiment,
        RUN_VARIABLE: run_id,
        NOTEBOOK_VARIABLE: notebook,
        UPSTREAM_VARIABLE: json.dumps(upstream),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


@dataclass(frozen=True)
class TrainedModel:
    """A training run below a pipeline's, and what the registry says of its model."""

    name: str
    step: str
    run_id: str
    metrics: Mapping[str, float]
    version: str | None
    champion: bool


@dataclass(frozen=True)
class ModelOutcomes:
    """What a pipeline's steps trained and decided.

    Attributes
    ----------
    decision : str or None
        The sentence that the registration left.
    champion : str or None
        The registered model and version that the alias ``champion`` names.
    """

    models: tuple[TrainedModel, ...] = ()
    decision: str | None = None
    champion: str | None = None


class PipelineTracking:
    """The pipeline's side: it owns the runs of the pipeline and of its steps.

    Safe to use from several threads.

    Parameters
    ----------
    experiment : str or None
        Name of the experiment; the default's where None.
    """

    def __init__(self, experiment: str | None) -> None:
        self.experiment = experiment_name(experiment)
        self.uri = tracking_uri()
        with store_problems_told():
            self.experiment_id = connect(self.experiment)
            self._client = telling_client(self.uri)

    def open_run(
        self,
        name: str,
        kind: Kind,
        tags: Mapping[str, str],
        parent: str | None = None,
        source: Path | None = None,
        run_id: str | None = None,
    ) -> str:
        """Create a run and return its id.

        Parameters
        ----------
        source : Path, optional
            The notebook or the file that it comes from: the run gets what `tracked_run` says.
        run_id : str, optional
            A run that is open already, as `mlflow run` leaves one, in place of a new one.
        """
        context = Context(origin_of(source)) if source else Context()
        nesting = {PARENT_TAG: parent} if parent else {}
        all_tags = {**context.tags, **tags, **nesting, KIND_TAG: kind, OWNER_TAG: owner()}
        if run_id is None:
            run = self._client.create_run(self.experiment_id, run_name=name, tags=all_tags)
            run_id = str(run.info.run_id)
        else:
            adopt_run(self._client, run_id, name, all_tags)
        if source:
            context.log_files(run_id)
        return run_id

    def close_run(self, run_id: str, status: RunStatus) -> None:
        """End a run, whatever the kernel made of it, and trials that it left open."""
        close(self._client, self.experiment_id, run_id, status)

    def close_abandoned(self) -> list[str]:
        """End the runs on this machine whose process was killed; return their names."""
        return close_abandoned(self._client, self.experiment_id)

    def log_files(self, run_id: str, files: Sequence[Path], folder: str) -> None:
        """Copy files to a run's artifacts."""
        for file in files:
            self._client.log_artifact(run_id, str(file), folder)

    def log_dict(self, run_id: str, content: Any, name: str) -> None:
        """Write a JSON or YAML artifact."""
        self._client.log_dict(run_id, content, name)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log numbers to a run."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(run_id, [Metric(name, v, now, 0) for name, v in metrics.items()])

    def outcome(self, run_id: str) -> tuple[dict[str, float], str | None]:
        """Return what a step logged: its metrics and the label of its data."""
        data = self._client.get_run(run_id).data
        return dict(data.metrics), data.tags.get(SOURCE_TAG)

    def kind(self, run_id: str) -> str | None:
        """Return what a step's run has become: ``step`` until its notebook says more."""
        return self._client.get_run(run_id).data.tags.get(KIND_TAG)

    def model_outcomes(self, steps: Mapping[str, str]) -> ModelOutcomes:
        """Find what steps trained and decided.

        Parameters
        ----------
        steps : mapping
            Step name -> id of its run.
        """
        with_step = [(step, run) for step, id_ in steps.items() for run in self._family(id_)]
        trained = [(s, run) for s, run in with_step if run.data.tags.get(KIND_TAG) == "training"]
        versions = self._versions([run.info.run_id for _, run in trained])
        decided = [run.data for _, run in with_step if DECISION_TAG in run.data.tags]
        last = decided[-1] if decided else None
        names = {version.name for version in versions.values()}
        champions = {found for name in names if (found := self._champion_of(name))}
        return ModelOutcomes(
            tuple(
                _trained(step, run, versions.get(run.info.run_id), champions)
                for step, run in trained
            ),
            last.tags[DECISION_TAG] if last else None,
            self._champion_of(last.params.get(REGISTERED_PARAM)) if last else None,
        )

    def _family(self, run_id: str) -> list[Run]:
        """Return a step's run and those of its children that are no trials."""
        condition = f"tags.`{PARENT_TAG}` = '{run_id}' and tags.`{KIND_TAG}` != 'trial'"
        children = self._client.search_runs([self.experiment_id], condition)
        return [self._client.get_run(run_id), *children]

    def _versions(self, run_ids: Sequence[str]) -> dict[str, ModelVersion]:
        if not run_ids:
            return {}
        listed = ",".join(f"'{run_id}'" for run_id in run_ids)
        found = self._client.search_model_versions(f"run_id IN ({listed})")
        return {str(version.run_id): version for version in found}

    def _champion_of(self, name: str | None) -> str | None:
        from mlflow.exceptions import MlflowException

        if name is None:
            return None
        try:
            return ModelAddress.of(self._client.get_model_version_by_alias(name, CHAMPION)).title
        except MlflowException:  # Nobody is champion yet.
            return None


def _trained(
    step: str, run: Run, version: ModelVersion | None, champions: Collection[str]
) -> TrainedModel:
    title = ModelAddress.of(version).title if version else None
    return TrainedModel(
        name=str(run.data.tags.get("model") or run.info.run_name),
        step=step,
        run_id=run.info.run_id,
        metrics=dict(run.data.metrics),
        version=title,
        champion=title in champions,
    )

"""The models that a pipeline's steps trained, and what was decided about them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from taxi_nb.tracking.judgements import without_checks
from taxi_nb.tracking.model_address import ModelAddress
from taxi_nb.tracking.names import (
    CHAMPION,
    DECISION_TAG,
    KIND_TAG,
    PARENT_TAG,
    PROMOTED_TAG,
    REGISTERED_PARAM,
    UNITS_TAG,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class TrainedModel:
    """A training run below a pipeline's, and what the registry says of its model."""

    name: str
    step: str
    mlflow_run_id: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    version: str | None = None  # ``name, version 3`` where it is registered.
    champion: bool = False  # Whether that version was the one to use when the run ended.


@dataclass(frozen=True)
class Decided:
    """The step that decided about a registered model, and whether it promoted one."""

    step: str
    promoted: bool


def model_outcomes(
    client: MlflowClient, experiment: str, steps: Mapping[str, str]
) -> dict[str, Any]:
    """Find what steps trained and decided, by the ids of their runs, for the pipeline's record.

    These are ``models``, ``units`` of metrics and, after a registration, ``decision``, its
    sentence, ``decided``, and ``champion``, the version that the registered model's alias names.
    """
    runs = [(step, run) for step, id_ in steps.items() for run in _family(client, experiment, id_)]
    trained = [(step, run) for step, run in runs if run.data.tags.get(KIND_TAG) == "training"]
    versions = _versions(client, [run.info.run_id for _, run in trained])
    names = {version.name for version in versions.values()}
    champions = {found for name in names if (found := _champion_of(client, name))}
    models = []
    for step, run in trained:
        id_, version = run.info.run_id, versions.get(run.info.run_id)
        title = ModelAddress.of(version).title if version else None
        name = str(run.data.tags.get("model") or run.info.run_name)
        metrics = without_checks(run.data.metrics)
        models.append(TrainedModel(name, step, id_, metrics, title, title in champions))
    outcomes: dict[str, Any] = {"models": tuple(models), "units": _units(run for _, run in runs)}
    for step, run in runs:  # The last decision counts.
        if decision := run.data.tags.get(DECISION_TAG):
            registered = run.data.params.get(REGISTERED_PARAM)
            champion = _champion_of(client, registered) if registered else None
            promoted = run.data.tags.get(PROMOTED_TAG)
            decided = Decided(step, promoted == "true") if promoted else None
            outcomes |= {"decision": decision, "champion": champion, "decided": decided}
    return outcomes


def _units(runs: Iterable[Run]) -> dict[str, str]:
    """Return the units of metrics; none of one of which runs say different things."""
    found: dict[str, set[str]] = {}
    for text in filter(None, (run.data.tags.get(UNITS_TAG) for run in runs)):
        with suppress(ValueError):
            known = json.loads(text)
            for name, unit in known.items() if isinstance(known, dict) else ():
                found.setdefault(name, set()).add(str(unit))
    return {name: units.pop() for name, units in sorted(found.items()) if len(units) == 1}


def _family(client: MlflowClient, experiment: str, run_id: str) -> list[Run]:
    """Return a step's run and those of its children that are no trials."""
    condition = f"tags.`{PARENT_TAG}` = '{run_id}' and tags.`{KIND_TAG}` != 'trial'"
    return [client.get_run(run_id), *client.search_runs([experiment], condition)]


def _versions(client: MlflowClient, run_ids: Sequence[str]) -> dict[str, ModelVersion]:
    if not run_ids:
        return {}
    found = client.search_model_versions(f"run_id IN ({','.join(map(repr, run_ids))})")
    return {str(version.run_id): version for version in found}


def _champion_of(client: MlflowClient, name: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        return ModelAddress.of(client.get_model_version_by_alias(name, CHAMPION)).title
    except MlflowException:  # Nobody is champion yet.
        return None

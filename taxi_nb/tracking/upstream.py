"""Runs that a notebook builds on: those of earlier steps, of models to compare, the champion."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taxi_nb.tracking.inputs import used_runs
from taxi_nb.tracking.names import CHAMPION, KIND_TAG, UPSTREAM_VARIABLE
from taxi_nb.tracking.store import connect

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


def upstream_runs() -> dict[str, str] | None:
    """Return the runs that this step may build on, step name -> run id.

    ``None`` outside a pipeline.
    """
    found = _upstream_runs()
    if found is not None:
        used_runs(None, found)
    return found


def _upstream_runs() -> dict[str, str] | None:
    told = os.environ.get(UPSTREAM_VARIABLE)
    return None if told is None else json.loads(told)


def training_runs(training_digest: str, validation_digest: str) -> list[Run]:
    """Find the models that can be compared: trained and validated on these data.

    In a pipeline those of the steps before this one; in JupyterLab the
    newest run of each name in the experiment.

    Parameters
    ----------
    training_digest, validation_digest : str
        ``provenance(trips).digest`` of the two sets.

    Returns
    -------
    list of mlflow.entities.Run
        Best validation RMSE first.

    Raises
    ------
    LookupError
        If there is none; it says what to run first.
    """
    import mlflow

    experiment = connect()
    wanted = (
        f"tags.`{KIND_TAG}` = 'training' and attributes.status = 'FINISHED' "
        f"and params.training_digest = '{training_digest}' "
        f"and params.validation_digest = '{validation_digest}'"
    )
    found: Sequence[Run] = mlflow.search_runs(
        [experiment], wanted, order_by=["attributes.start_time DESC"], output_format="list"
    )
    upstream = _upstream_runs()
    if upstream is not None:
        chosen = [run for run in found if run.info.run_id in upstream.values()]
        ids = {run.info.run_id for run in chosen}
        used_runs("training", {step: run_id for step, run_id in upstream.items() if run_id in ids})
    else:
        newest: dict[str, Run] = {}
        for run in found:
            newest.setdefault(str(run.info.run_name), run)
        chosen = list(newest.values())
    if not chosen:
        raise LookupError(
            "no model has been trained on these data yet: run the training notebook with the "
            "same source, months and cleaning first"
        )
    return sorted(chosen, key=lambda run: float(run.data.metrics["valid_rmse"]))


@dataclass(frozen=True)
class Champion:
    """The model that people should use, and how it was judged.

    Attributes
    ----------
    comparable : bool
        Whether it was judged on the same validation data as the run asked for.
    """

    version: str
    run_id: str
    metrics: Mapping[str, float]
    comparable: bool


def champion_run(name: str, run_id: str) -> Champion | None:
    """Return the champion of a registered model, seen from a training run; None without one."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    connect()
    client = MlflowClient()
    try:
        version = client.get_model_version_by_alias(name, CHAMPION)
        champion = client.get_run(str(version.run_id))
    except MlflowException:  # No such model, no alias, or its run was deleted.
        return None
    judged_on = client.get_run(run_id).data.params.get("validation_digest")
    return Champion(
        version=version_title(version),
        run_id=champion.info.run_id,
        metrics=dict(champion.data.metrics),
        comparable=champion.data.params.get("validation_digest") == judged_on,
    )


def version_title(version: ModelVersion) -> str:
    """Return a version as people call it."""
    return f"{version.name}, version {version.version}"

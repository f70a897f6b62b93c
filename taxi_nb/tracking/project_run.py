"""The run that `mlflow run` opens before it starts a project's command."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taxi_nb.tracking.names import (
    EXPERIMENT_ID_VARIABLE,
    EXPERIMENT_VARIABLE,
    RUN_VARIABLE,
    URI_VARIABLE,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class ProjectRun:
    """A run that is open already, and its experiment."""

    run_id: str
    experiment: str


def take_project_run() -> ProjectRun | None:
    """Return the run that `mlflow run` handed to this process, once; None without one.

    What starts from this process later is not handed it again.
    """
    run_id, experiment_id = (
        os.environ.get(name) for name in (RUN_VARIABLE, EXPERIMENT_ID_VARIABLE)
    )
    if not run_id or not experiment_id:
        return None
    from mlflow import MlflowClient

    for name in (RUN_VARIABLE, EXPERIMENT_ID_VARIABLE):
        del os.environ[name]
    os.environ[URI_VARIABLE] = absolute_store(os.environ.get(URI_VARIABLE, ""))
    experiment = MlflowClient(os.environ[URI_VARIABLE]).get_experiment(experiment_id)
    os.environ[EXPERIMENT_VARIABLE] = experiment.name
    return ProjectRun(run_id, experiment.name)


def absolute_store(uri: str) -> str:
    """Return a tracking URI that means the same from every folder.

    `mlflow run` names its default store relative to the folder that it was called in; a
    notebook's working folder is another one.
    """
    prefix = "sqlite:///"
    return prefix + os.path.abspath(uri.removeprefix(prefix)) if uri.startswith(prefix) else uri


def adopt_run(client: MlflowClient, run_id: str, name: str, tags: Mapping[str, str]) -> None:
    """Give a run that is open already a name and tags; what MLflow said of its source stays."""
    known = client.get_run(run_id).data.tags
    client.update_run(run_id, name=name)
    for tag, value in tags.items():
        if not (tag.startswith("mlflow.source.") and tag in known):
            client.set_tag(run_id, tag, value)

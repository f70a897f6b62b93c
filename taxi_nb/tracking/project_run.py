"""The run that `mlflow run` opens before it starts a project's command."""

from __future__ import annotations

import os

from taxi_nb.tracking._reaching import SQLITE
from taxi_nb.tracking.names import (
    EXPERIMENT_ID_VARIABLE,
    EXPERIMENT_VARIABLE,
    RUN_VARIABLE,
    URI_VARIABLE,
)


def take_project_run() -> tuple[str, str] | None:
    """Return the run that `mlflow run` handed to this process, once; None without one.

    What starts from this process later is not handed it again.

    Returns
    -------
    tuple of str, or None
        The run's id and its experiment's name.
    """
    if not (os.environ.get(RUN_VARIABLE) and os.environ.get(EXPERIMENT_ID_VARIABLE)):
        return None
    from mlflow import MlflowClient

    run_id, experiment_id = map(os.environ.pop, (RUN_VARIABLE, EXPERIMENT_ID_VARIABLE))
    uri = os.environ.get(URI_VARIABLE, "")
    if uri.startswith(SQLITE):
        # It starts from the folder that `mlflow run` was called in, notebooks from another.
        uri = SQLITE + os.path.abspath(uri.removeprefix(SQLITE))
    os.environ[URI_VARIABLE] = uri
    experiment = MlflowClient(uri).get_experiment(experiment_id).name
    os.environ[EXPERIMENT_VARIABLE] = experiment
    return run_id, experiment

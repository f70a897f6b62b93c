"""The run that `mlflow run` opens before it starts a project's command."""

from __future__ import annotations

import os
from pathlib import Path

from taxi_nb.tracking import names
from taxi_nb.tracking.file_addresses import sqlite_address, sqlite_file


def take_project_run() -> tuple[str, str] | None:
    """Return the run that `mlflow run` handed to this process, and its experiment's name.

    It is handed over once, and to nothing that starts from this process later.
    """
    handed = (names.RUN_VARIABLE, names.EXPERIMENT_ID_VARIABLE)
    if not all(map(os.environ.get, handed)):
        return None
    from mlflow import MlflowClient

    run_id, experiment_id = map(os.environ.pop, handed)
    uri = os.environ.get(names.URI_VARIABLE, "")
    if (file := sqlite_file(uri)) is not None:
        # It starts from the folder that `mlflow run` was called in, notebooks from another.
        uri = sqlite_address(Path(os.path.abspath(file)))
    os.environ[names.URI_VARIABLE] = uri
    experiment = MlflowClient(uri).get_experiment(experiment_id).name
    os.environ[names.EXPERIMENT_VARIABLE] = experiment
    return run_id, experiment

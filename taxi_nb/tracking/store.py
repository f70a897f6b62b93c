"""Which store, and what goes wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from taxi_nb.project import project_root
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking.names import (
    DEFAULT_EXPERIMENT,
    EXPERIMENT_VARIABLE,
    NOTEBOOK_VARIABLE,
    URI_VARIABLE,
)
from taxi_nb.tracking.stores import address_in, open_experiment, problems_told

# Seconds that a store may be away while a step runs, about what MLflow's retries take.
_AWAY = 30


def tracking_uri() -> str:
    """Return the store: ``MLFLOW_TRACKING_URI`` or the project's own SQLite file."""
    return address_in(URI_VARIABLE) or f"sqlite:///{project_root() / 'mlflow.db'}"


def experiment_name(given: str | None = None) -> str:
    """Return the name given, or ``MLFLOW_EXPERIMENT_NAME``, or `DEFAULT_EXPERIMENT`."""
    return given or os.environ.get(EXPERIMENT_VARIABLE) or DEFAULT_EXPERIMENT


def connect(experiment: str | None = None) -> str:
    """Point MLflow at the store and make sure that the experiment exists.

    Parameters
    ----------
    experiment : str, optional
        Its name; what `experiment_name` says otherwise.

    Returns
    -------
    str
        The experiment's id.

    Raises
    ------
    StoreError
        If the store cannot be used, or does not fit what is said of its artifacts.
    """
    import mlflow

    # A progress bar for each file of a model would fill executed notebooks.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A server may be away for half a minute; MLflow would wait for four of them.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    uri = tracking_uri()
    # The pipeline has used the store that it hands to a step.
    patience = _AWAY if os.environ.get(NOTEBOOK_VARIABLE) else 0
    found = open_experiment(uri, experiment_name(experiment), patience)
    mlflow.set_tracking_uri(uri)
    return str(mlflow.set_experiment(experiment_id=found).experiment_id)


@contextmanager
def store_problems_told() -> Iterator[None]:
    """Turn what MLflow and its database raise into one `StoreError`."""
    with problems_told(tracking_uri()):
        yield


def run_address(run_id: str) -> str:
    """Return where MLflow's pages show a run of the present experiment."""
    return run_page(tracking_uri(), connect(), run_id)


def run_page(uri: str, experiment_id: str, run_id: str) -> str:
    """Return where MLflow's pages show a run; a local store's are served by ``make ui``."""
    is_served = uri.startswith(("http://", "https://"))
    host = without_credentials(uri).rstrip("/") if is_served else "http://127.0.0.1:5000"
    return f"{host}/#/experiments/{experiment_id}/runs/{run_id}"

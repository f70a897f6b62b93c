"""Which store, and what goes wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taxi_nb.credentials import hide_secrets, without_credentials
from taxi_nb.project import project_root
from taxi_nb.tracking.names import DEFAULT_EXPERIMENT, EXPERIMENT_VARIABLE, URI_VARIABLE


def tracking_uri() -> str:
    """Return the store: ``MLFLOW_TRACKING_URI`` or the project's own SQLite file."""
    return os.environ.get(URI_VARIABLE) or f"sqlite:///{project_root() / 'mlflow.db'}"


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
    """
    import mlflow

    # A progress bar for each file of a model would fill executed notebooks.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    uri = tracking_uri()
    name = experiment_name(experiment)
    mlflow.set_tracking_uri(uri)
    with _first_use_lock(uri):
        found = mlflow.get_experiment_by_name(name)
        if found is None:
            mlflow.create_experiment(name, artifact_location=_artifact_location(uri))
    return str(mlflow.set_experiment(name).experiment_id)


@contextmanager
def _first_use_lock(uri: str) -> Iterator[None]:
    """Let one process at a time create an SQLite store's schema: two would collide."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    from filelock import FileLock

    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=60):
        yield


def _artifact_location(uri: str) -> str | None:
    """Return an absolute folder beside a local store; a server knows its own."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts").resolve().as_uri()


class TrackingError(RuntimeError):
    """A store that cannot be used; the message names it, without credentials."""


@contextmanager
def store_problems_told() -> Iterator[None]:
    """Turn what MLflow and its database raise into one `TrackingError`."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        uri = tracking_uri()
        reason = hide_secrets(str(error).strip().splitlines()[0], uri)
        raise TrackingError(
            f"the MLflow store {without_credentials(uri)} cannot be used: {reason}. "
            f"It comes from {URI_VARIABLE}, the pipeline file's `tracking_uri`, or else is "
            "mlflow.db in the project"
        ) from error


def run_address(run_id: str) -> str:
    """Return where MLflow's pages show a run; a local store's are served by ``make ui``."""
    uri = tracking_uri()
    host = uri.rstrip("/") if uri.startswith(("http://", "https://")) else "http://127.0.0.1:5000"
    return f"{without_credentials(host)}/#/experiments/{connect()}/runs/{run_id}"

"""Which store, which experiment, and the addresses of both."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote

from taxi_nb.project import default_experiment, project_name, project_root
from taxi_nb.secrets.addresses import user_info, without_credentials
from taxi_nb.secrets.mlflow_boundary import hide_secrets_in_stores
from taxi_nb.tracking._reaching import POSTGRES, SERVER
from taxi_nb.tracking.experiments import artifact_root, open_experiment
from taxi_nb.tracking.file_addresses import sqlite_address
from taxi_nb.tracking.names import EXPERIMENT_VARIABLE, URI_VARIABLE
from taxi_nb.tracking.store_errors import StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def tracking_uri() -> str:
    """Return the store: ``MLFLOW_TRACKING_URI`` or the project's own SQLite file."""
    return address_in(URI_VARIABLE) or sqlite_address(project_root() / "mlflow.db")


def experiment_name(given: str | None = None) -> str:
    """Return the name given, or ``MLFLOW_EXPERIMENT_NAME``, or the project's default."""
    return _named_for_runs(given) or default_experiment()


def said_experiment(given: str | None = None) -> str | None:
    """Return the name of the experiment as `experiment_name` does; None if only a folder has one.

    What decides whether results hold has to be the same in every checkout, wherever it lies.
    """
    return _named_for_runs(given) or project_name()


def _named_for_runs(given: str | None) -> str | None:
    return given or os.environ.get(EXPERIMENT_VARIABLE)


def connect(experiment: str | None = None) -> str:
    """Point MLflow at the store, and return the experiment's id, as `open_experiment` does."""
    import mlflow

    hide_secrets_in_stores()
    # A progress bar for each file of a model would fill executed notebooks.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # A server may be away for half a minute; MLflow would wait for four of them.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    uri = tracking_uri()
    found = open_experiment(uri, experiment_name(experiment))
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=found)
    return found


def place_for(client: MlflowClient) -> str | None:
    """Return where artifacts of one more experiment go: beside those of the present one.

    None leaves it to the store, which is right for a server.
    """
    if str(client.tracking_uri).startswith(SERVER):
        return None
    present = client.get_experiment_by_name(experiment_name())
    return artifact_root() or (str(present.artifact_location) if present else None)


def run_address(run_id: str) -> str:
    """Return where MLflow's pages show a run of the present experiment."""
    return run_page(tracking_uri(), connect(), run_id)


def run_page(uri: str, experiment_id: str, run_id: str) -> str:
    """Return where MLflow's pages show a run; a local store's are served by ``taxi-nb ui``."""
    is_served = uri.startswith(SERVER)
    host = without_credentials(uri).rstrip("/") if is_served else "http://127.0.0.1:5000"
    return f"{host}/#/experiments/{experiment_id}/runs/{run_id}"


def address_in(variable: str) -> str | None:
    """Return the address in an environment variable, its password moved out of it.

    A server's or a PostgreSQL database's goes to where clients look for it, in this process and
    in those that it starts: ``MLFLOW_TRACKING_PASSWORD`` or ``PGPASSWORD``. Whatever prints the
    address afterwards, such as a traceback in a notebook, prints no secret.
    """
    address = os.environ.get(variable)
    if not address:
        return None
    if address.startswith(SERVER):
        user = user_info(address)
        name, _, password = user[:-1].partition(":")
        if password:  # MLflow takes no name without one.
            os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(name)
            os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
            address = address.replace(user, "", 1)
    elif address.startswith(tuple(POSTGRES)):
        address, secret = _split_password(address)
        if secret:
            os.environ["PGPASSWORD"] = secret
    os.environ[variable] = address
    return address


def _split_password(address: str) -> tuple[str, str | None]:
    """Return a database's address without its password, and the password."""
    user = user_info(address)
    if not user and "password=" not in address:
        return address, None
    if "@" in user[:-1]:
        raise StoreError(
            f"the MLflow store {without_credentials(address)}: "
            "an @ in its user or password must be written %40"
        )
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # Whoever connects will say what is wrong with it.
        return address, None
    in_query = url.query.get("password")
    password = url.password or (in_query if isinstance(in_query, str) else None)
    if not password:
        return address, None
    clean = url._replace(password=None).difference_update_query(["password"])
    return clean.render_as_string(hide_password=False), str(password)

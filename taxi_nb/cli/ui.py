"""`taxi-nb ui`."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from taxi_nb.cli._door import HOST, Host, keep_open, reserve
from taxi_nb.cli._stopping import stop
from taxi_nb.cli.registry import registry_errors_stop

# What MLflow's pages can do besides showing runs and naming models. Artifacts are evidence and
# code, so they are only read here; the rest would run commands for whoever asks.
_ARTIFACTS = ("mlflow-artifacts", "upload-artifact", "promptlab")
_OTHER_TRADES = ("/assistant", "/gateway", "/jobs", "/mcp")


def ui(
    port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Where to listen.")
    ] = 5000,
    host: Host = HOST,
) -> None:
    """Show the store in MLflow's own pages, until Ctrl-C.

    Open the address that is printed. Whoever has it may look at everything and change names, tags
    and aliases, but no artifacts.

    Example:
      taxi-nb ui --port 5000
    """
    from taxi_nb.secrets.addresses import without_credentials
    from taxi_nb.tracking.store import SERVER, tracking_uri

    uri = tracking_uri()
    if uri.startswith(SERVER):
        stop(f"this store is a server: {without_credentials(uri)} shows the same pages", 0)
    place = reserve(port, "ui", host)
    with registry_errors_stop():
        app = _mlflow_pages(uri)
    keep_open(app, place, f"/{_runs()}", "MLflow's pages", _refusal)


def _runs() -> str:
    """Return where the project's runs are, with the columns that its pipelines chose, if any."""
    from taxi_nb.registry.versions import registry_client
    from taxi_nb.tracking.names import VIEW, VIEW_TAG
    from taxi_nb.tracking.store import experiment_name

    found = registry_client().get_experiment_by_name(experiment_name())
    if found is None or VIEW_TAG not in found.tags:
        return ""
    # Without the type they would show, at the first visit, what agents need.
    shown = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"#/experiments/{found.experiment_id}/runs?{shown}"


def _refusal(method: str, path: str) -> str | None:
    if any(part in path for part in _OTHER_TRADES):
        return "not served here"
    if method not in ("GET", "HEAD") and any(part in path for part in _ARTIFACTS):
        return "artifacts are only read here"
    return None


def _mlflow_pages(uri: str) -> Any:
    """Return MLflow's application for a store, as `mlflow server --no-serve-artifacts` has it."""
    from mlflow.server import constants

    from taxi_nb.registry.versions import registry_client
    from taxi_nb.tracking.store import place_for

    client = registry_client()
    client.search_experiments(max_results=1)  # Or the pages would tell of a store that is gone.
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = uri
    if root := place_for(client):
        os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = root
    for name in ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "_MLFLOW_IN_JOB_EXECUTOR"):
        os.environ[name] = "false"
    os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"
    # Its import reads these variables.
    from mlflow.server.fastapi_app import app

    return app

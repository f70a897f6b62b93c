"""Runs, what is nested in them, and what they hold: read, never written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from taxi_nb.tracking.names import PARENT_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["artifact_bytes", "client_of", "find_run", "nested_runs"]


def client_of(uri: str) -> MlflowClient:
    """Return a client of a store, with downloads that print nothing."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient(uri)


def find_run(client: MlflowClient, run_id: str) -> Run | None:
    """Return a run; None if the store does not have it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def nested_runs(client: MlflowClient, run: Run) -> Iterator[Run]:
    """Yield all runs below a run, each before those below it, the oldest first."""
    children = client.search_runs(
        [run.info.experiment_id],
        f"tags.`{PARENT_TAG}` = '{run.info.run_id}'",
        order_by=["attributes.start_time ASC"],
        max_results=10_000,
    )
    for child in children:
        yield child
        yield from nested_runs(client, child)


def artifact_bytes(client: MlflowClient, run: Run, path: str) -> bytes | None:
    """Return an artifact's content; None if the run has none of that name, or it is gone."""
    import tempfile
    from pathlib import Path

    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            return Path(client.download_artifacts(run.info.run_id, path, folder)).read_bytes()
        except (MlflowException, OSError):
            return None

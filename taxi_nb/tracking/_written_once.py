"""What is written once and for all: parameters of runs, which MLflow refuses to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def write_once(client: MlflowClient, run_id: str, key: str, value: str) -> bool:
    """Write a parameter; False if there was another of that key already."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_param(run_id, key, value)
    except MlflowException:
        # What counts is what is there: an answer can get lost, too.
        found = client.get_run(run_id).data.params.get(key)
        if found is None:
            raise
        return bool(found == value)
    return True

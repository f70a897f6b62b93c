"""The owner of a run, a process; and closing runs whose owners have ended."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

from taxi_nb.tracking.names import OWNER_TAG, PARENT_TAG, RunStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def close_abandoned(client: MlflowClient, experiment: str) -> list[str]:
    """End the runs of pipelines and kernels that have ended; return the runs' names."""
    closed = []
    for run in _open_runs(client, experiment, f"tags.`{OWNER_TAG}` LIKE '{platform.node()}:%'"):
        if not _is_alive(run.data.tags[OWNER_TAG]):
            close(client, experiment, run.info.run_id, "KILLED")
            closed.append(str(run.info.run_name))
    return closed


def close(client: MlflowClient, experiment: str, run_id: str, status: RunStatus) -> None:
    """End a run, and its children that are still open."""
    for child in _open_runs(client, experiment, f"tags.`{PARENT_TAG}` = '{run_id}'"):
        client.set_terminated(child.info.run_id, "KILLED")
    client.set_terminated(run_id, status)


def _open_runs(client: MlflowClient, experiment: str, condition: str) -> list[Run]:
    return list(client.search_runs([experiment], f"attributes.status = 'RUNNING' and {condition}"))


def owner() -> str:
    """Name this process so that a later one can tell whether it still lives."""
    import psutil

    return f"{platform.node()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def _is_alive(owner: str) -> bool:
    import psutil

    _, pid, created = owner.rsplit(":", 2)
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(created)) < 1
    except psutil.Error:
        return False

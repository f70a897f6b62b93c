"""The finished runs of a store, found without importing MLflow where that is possible."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking._reaching import SERVER, is_database, require_driver, rows, server_session
from taxi_nb.tracking.run_tree import find_run
from taxi_nb.tracking.store_errors import StoreError, in_one_line

# The tables of MLflow's SQL store, the same since its version 1.
_FINISHED = (
    "SELECT r.run_uuid FROM runs r JOIN experiments e ON r.experiment_id = e.experiment_id "
    "WHERE r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active' "
    "AND r.status = 'FINISHED' AND r.run_uuid IN ({})"
)
# SQLite takes no more values in one statement than 999.
_AT_ONCE = 500


def finished_runs(uri: str, run_ids: Collection[str]) -> set[str]:
    """Return those of some runs that the store has, finished and not deleted.

    A store that is there and cannot be asked is a `StoreError`.
    """
    if not run_ids:
        return set()
    require_driver(uri)
    try:
        if uri.startswith(SERVER):
            return set(_on_server(uri, run_ids))
        if is_database(uri):
            return set(_in_database(uri, run_ids))
        return set(_by_mlflow(uri, run_ids))
    except Exception as error:
        raise StoreError(
            f"the MLflow store {without_credentials(uri)} cannot be asked for runs: "
            f"{in_one_line(error, uri)}"
        ) from error


def _in_database(uri: str, run_ids: Collection[str]) -> Iterator[str]:
    remaining = list(run_ids)
    for start in range(0, len(remaining), _AT_ONCE):
        batch = remaining[start : start + _AT_ONCE]
        values = {f"id{number}": run_id for number, run_id in enumerate(batch)}
        statement = _FINISHED.format(",".join(f":{name}" for name in values))
        yield from (row[0] for row in rows(uri, "runs", statement, values))


def _on_server(uri: str, run_ids: Collection[str]) -> Iterator[str]:
    address = f"{uri.rstrip('/')}/api/2.0/mlflow/runs/get"
    with server_session() as session:
        for run_id in run_ids:
            answer = session.get(address, params={"run_id": run_id}, timeout=30)
            if answer.status_code == 404:
                continue
            answer.raise_for_status()
            info = answer.json()["run"]["info"]
            if info["status"] == "FINISHED" and info["lifecycle_stage"] == "active":
                yield run_id


def _by_mlflow(uri: str, run_ids: Collection[str]) -> Iterator[str]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    for run_id in run_ids:
        run = find_run(client, run_id)
        if run and run.info.status == "FINISHED" and run.info.lifecycle_stage == "active":
            yield run_id

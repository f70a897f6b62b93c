"""Which runs an MLflow store still has, asked without importing MLflow: that takes seconds."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from taxi_nb.secrets.addresses import hide_secrets, without_credentials
from taxi_nb.tracking.stores import StoreError, require_driver

__all__ = ["StoreError", "finished_runs"]

# The tables of MLflow's SQL store, the same since its version 1.
_FINISHED = (
    "SELECT r.run_uuid FROM runs r JOIN experiments e ON r.experiment_id = e.experiment_id "
    "WHERE r.lifecycle_stage = 'active' AND e.lifecycle_stage = 'active' "
    "AND r.status = 'FINISHED' AND r.run_uuid IN ({})"
)
_AT_ONCE = 500


def finished_runs(uri: str, run_ids: Collection[str]) -> set[str]:
    """Return those of some runs that the store has, finished and not deleted.

    Parameters
    ----------
    uri : str
        A tracking URI: a database, a tracking server, or what else MLflow takes.
    run_ids : collection of str
        The runs to look for.

    Raises
    ------
    StoreError
        If the store is there and cannot be asked.
    """
    if not run_ids:
        return set()
    require_driver(uri)
    try:
        if uri.startswith("sqlite:///"):
            return _in_sqlite(Path(uri.removeprefix("sqlite:///")), run_ids)
        if uri.startswith(("http://", "https://")):
            return _on_server(uri, run_ids)
        if "://" in uri and not uri.startswith("file:"):
            return _in_database(uri, run_ids)
        return _by_mlflow(uri, run_ids)
    except Exception as error:
        reason = hide_secrets(str(error).strip().splitlines()[0], uri)
        raise StoreError(
            f"the MLflow store {without_credentials(uri)} cannot be asked for runs: {reason}"
        ) from error


def _in_sqlite(database: Path, run_ids: Iterable[str]) -> set[str]:
    if not database.exists():
        return set()
    address = f"file:{quote(str(database.absolute()))}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=30)) as connection:
        tables = "SELECT 1 FROM sqlite_master WHERE name = 'runs'"
        if connection.execute(tables).fetchone() is None:
            return set()
        found: set[str] = set()
        for some in _batches(run_ids):
            marks = ",".join("?" * len(some))
            found |= {row[0] for row in connection.execute(_FINISHED.format(marks), some)}
        return found


def _in_database(uri: str, run_ids: Iterable[str]) -> set[str]:
    from sqlalchemy import bindparam, create_engine, inspect, text

    statement = text(_FINISHED.format("__ids__").replace("(__ids__)", ":ids")).bindparams(
        bindparam("ids", expanding=True)
    )
    engine = create_engine(uri)
    try:
        if not inspect(engine).has_table("runs"):
            return set()
        with engine.connect() as connection:
            return {
                row[0]
                for some in _batches(run_ids)
                for row in connection.execute(statement, {"ids": some})
            }
    finally:
        engine.dispose()


def _on_server(uri: str, run_ids: Iterable[str]) -> set[str]:
    import requests

    with requests.Session() as session:
        _authenticate(session)
        return {run_id for run_id in run_ids if _is_finished(session, uri, run_id)}


def _authenticate(session: Any) -> None:
    """Use what MLflow's own client uses."""
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if user:
        session.auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    elif token:
        session.headers["Authorization"] = f"Bearer {token}"
    session.verify = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() != "true"


def _is_finished(session: Any, uri: str, run_id: str) -> bool:
    address = f"{uri.rstrip('/')}/api/2.0/mlflow/runs/get"
    answer = session.get(address, params={"run_id": run_id}, timeout=30)
    if answer.status_code == 404:
        return False
    answer.raise_for_status()
    info = answer.json()["run"]["info"]
    return bool(info["status"] == "FINISHED" and info["lifecycle_stage"] == "active")


def _by_mlflow(uri: str, run_ids: Iterable[str]) -> set[str]:
    """Ask a store of another kind the slow way."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(uri)
    found = set()
    for run_id in run_ids:
        try:
            info = client.get_run(run_id).info
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        else:
            if info.status == "FINISHED" and info.lifecycle_stage == "active":
                found.add(run_id)
    return found


def _batches(run_ids: Iterable[str]) -> Iterable[list[str]]:
    remaining = iter(run_ids)
    return iter(lambda: list(itertools.islice(remaining, _AT_ONCE)), [])

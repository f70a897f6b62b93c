"""An experiment in a store: found or made by many at once, with a place for its artifacts."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.project import private_files, private_folder, project_root
from taxi_nb.secrets.addresses import user_info, without_credentials
from taxi_nb.tracking import _reaching
from taxi_nb.tracking._own_store import ARTIFACTS, is_away, make_tables
from taxi_nb.tracking._own_store import bring_home as move_home
from taxi_nb.tracking._reaching import POSTGRES
from taxi_nb.tracking.file_addresses import folder_address, folder_of, sqlite_file
from taxi_nb.tracking.lock_holder import lock_holder
from taxi_nb.tracking.names import (
    ARTIFACT_ROOT_VARIABLE,
    EXPERIMENT_KIND_TAG,
    MACHINE_LEARNING,
)
from taxi_nb.tracking.origin import is_step
from taxi_nb.tracking.store_errors import StoreError, errors_of_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

# Any number will do that no other program locks in the same database.
_FIRST_USE_LOCK = 7_261_884_031
# Seconds that a store may be away while a step runs, about what MLflow's retries take.
_AWAY = 30
# Making the tables takes about ten on a busy machine.
_LOCK_SECONDS = 60
# The stores that this process has reached.
_reached: set[str] = set()


def open_experiment(uri: str, name: str) -> str:
    """Return an experiment's id; without the experiment, or the store's tables, make them.

    Any number of processes may call this for a store that is empty. A `StoreError` says that it
    cannot be reached, or that the experiment's artifacts have no place, or another than asked for.
    """
    from mlflow import MlflowClient

    if uri not in _reached:
        _reach_patiently(uri)
        _reached.add(uri)
    bring_home(uri)
    # Other users of the machine are to read neither the store's file nor its artifacts.
    with private_files(), _first_use(uri, name):
        # The client makes the tables of a store that is empty, unless they are made already.
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(name) or _make(client, uri, name)
        place = folder_of(str(experiment.artifact_location))
        if place is not None and sqlite_file(uri) is not None and artifact_root() is None:
            private_folder(place)
    _require_place(experiment, uri)
    return str(experiment.experiment_id)


def _reach_patiently(uri: str) -> None:
    # The pipeline has used the store that it hands to a step: it will come back.
    end = time.monotonic() + (_AWAY if is_step() else 0)
    while True:
        try:
            return _reaching.reach(uri)
        except StoreError:
            if time.monotonic() >= end:
                raise
        time.sleep(1)


@contextmanager
def _first_use(uri: str, experiment: str) -> Iterator[None]:
    """Let one process at a time make a store's tables and an experiment: two would collide."""
    database = sqlite_file(uri)
    is_ours = database is not None or uri.startswith(tuple(POSTGRES))
    if not is_ours or _has_experiment(uri, experiment):
        yield
    elif database is not None:
        with _locked(database):
            make_tables(database, uri, _new_location(uri, experiment))
            yield
    else:
        from sqlalchemy import text

        with _reaching.connection(uri) as opened:
            # Given back with the connection, so also when this process is killed.
            lock = text("SELECT pg_advisory_lock(:number)")
            opened.execute(lock, {"number": _FIRST_USE_LOCK})
            yield


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    database.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{database}.lock")
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        raise StoreError(
            f"{lock.lock_file} has been locked for {_LOCK_SECONDS} s, by "
            f"{lock_holder(Path(lock.lock_file))}. Whoever makes the store's tables or an "
            "experiment holds it for seconds: end that process, or wait for it, and try again"
        ) from None
    except OSError as error:
        raise StoreError(f"{lock.lock_file} cannot be locked: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def bring_home(uri: str) -> None:
    """Let the project's own store name artifacts where the project lies now, if it was moved."""
    database = sqlite_file(uri)
    if database is not None and database.exists() and is_away(uri, artifact_root()):
        with _locked(database):
            move_home(uri, artifact_root())


def _has_experiment(uri: str, name: str) -> bool:
    statement = "SELECT 1 FROM experiments WHERE name = :name"
    try:
        with errors_of_store(uri):
            return bool(_reaching.rows(uri, "experiments", statement, {"name": name}))
    except sqlite3.Error:  # No database: MLflow will say.
        return False


def _make(client: MlflowClient, uri: str, name: str) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        # MLflow's pages would ask which of its two kinds it is, and open the wrong one.
        kind = {EXPERIMENT_KIND_TAG: MACHINE_LEARNING}
        client.create_experiment(name, _new_location(uri, name), kind)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.get_experiment_by_name(name)
    assert found is not None
    return found


def artifact_root(given: str | None = None) -> str | None:
    """Return the URL where a new experiment's artifacts go, if anything names one.

    That is the folder or URL given, else the one in ``MLFLOW_DEFAULT_ARTIFACT_ROOT``. A folder's
    path starts from the project. A URL with credentials is refused by a `StoreError`.
    """
    given = given or os.environ.get(ARTIFACT_ROOT_VARIABLE)
    if not given:
        return None
    if given.startswith("file:"):
        return folder_address(given)
    if "://" not in given:
        return (project_root() / Path(given).expanduser()).resolve().as_uri()
    if user_info(given):
        raise StoreError(
            f"{ARTIFACT_ROOT_VARIABLE} must not carry credentials, since MLflow shows it: "
            f"{without_credentials(given)} and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "or ~/.aws/credentials"
        )
    return given.rstrip("/")


def has_place(uri: str, name: str) -> bool:
    """Whether artifacts of an experiment have a place, also of one that is still to be made."""
    is_told = artifact_root() is not None or sqlite_file(uri) is not None
    return is_told or not _reaching.is_database(uri) or _has_experiment(uri, name)


def _new_location(uri: str, name: str) -> str | None:
    if root := artifact_root():
        _require_boto3(root)
        return root
    if (database := sqlite_file(uri)) is not None:
        return (database.parent / ARTIFACTS).resolve().as_uri()
    if not _reaching.is_database(uri):
        return None  # These know their own.
    raise StoreError(
        f"the experiment {name!r} is new in {without_credentials(uri)}, and nothing says where "
        "its artifacts go: set `artifact_root` in the pipeline file, or "
        f"{ARTIFACT_ROOT_VARIABLE}, to s3://bucket/prefix or to a folder that all who use the "
        "store can reach"
    )


def _require_place(experiment: Experiment, uri: str) -> None:
    """Refuse a place for artifacts that is not the experiment's, or that cannot be reached."""
    location = str(experiment.artifact_location).rstrip("/")
    root = artifact_root()
    if location.startswith("file:"):
        location = folder_address(location)
    if root and location != root and not location.startswith(f"{root}/"):
        raise StoreError(
            f"the experiment {experiment.name!r} in {without_credentials(uri)} keeps its artifacts "
            f"in {without_credentials(location)}, which cannot be changed, and `artifact_root` or "
            f"{ARTIFACT_ROOT_VARIABLE} says {root}: leave that out, or name another experiment"
        )
    _require_boto3(location)


def _require_boto3(location: str) -> None:
    if location.startswith("s3:") and not _reaching.is_installed("boto3"):
        raise StoreError(
            f"artifacts in {without_credentials(location)} need boto3: pip install 'taxi-nb[s3]'"
        )

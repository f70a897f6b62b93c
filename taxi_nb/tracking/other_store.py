"""Another store than the project's, used for a while: its address, its credentials, its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from taxi_nb.secrets.addresses import user_info, without_credentials
from taxi_nb.secrets.references import variable_of
from taxi_nb.tracking._reaching import POSTGRES, SERVER, reach
from taxi_nb.tracking.experiments import has_place
from taxi_nb.tracking.file_addresses import is_sqlite, sqlite_file
from taxi_nb.tracking.names import ARTIFACT_ROOT_VARIABLE, EXPERIMENT_VARIABLE, URI_VARIABLE
from taxi_nb.tracking.store import connect, tracking_uri
from taxi_nb.tracking.store_errors import WHERE_FROM, StoreError, cannot_be_used, errors_of_store
from taxi_nb.tracking.stored_runs import finished_runs

if TYPE_CHECKING:
    from mlflow import MlflowClient

_OF_SERVERS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)
_VARIABLES = (
    *(URI_VARIABLE, "MLFLOW_REGISTRY_URI", EXPERIMENT_VARIABLE, ARTIFACT_ROOT_VARIABLE),
    *(*_OF_SERVERS, "PGPASSWORD"),
)


@contextmanager
def other_store(given: str, artifact_root: str | None = None) -> Iterator[str]:
    """Let another store be this process's for a while; give its address, without a password.

    Credentials are those of its address, of which the name alone is a server's token, or the
    variables', unless these are the present store's: no server is sent the password of another.
    `given` may be ``env:NAME``, the variable that holds the address. Nothing is written.

    `StoreError` if it is none, or cannot be reached.
    """
    import mlflow

    address = _address(given)
    present = tracking_uri()  # Its password goes to the variables.
    before = {name: os.environ.get(name) for name in _VARIABLES}
    uri_before = mlflow.get_tracking_uri()
    try:
        _set(_settings(address, present, artifact_root))
        uri = tracking_uri()
        mlflow.set_tracking_uri(uri)
        with _named_by(given), errors_of_store(uri):
            _require_there(uri)
            yield uri
    finally:
        mlflow.set_tracking_uri(uri_before)
        _set(before)


def require_other(uri: str, present: str, run_id: str) -> None:
    """Raise a `StoreError` if a store is the present one, by its address or by a run it has."""
    here, there = sqlite_file(present), sqlite_file(uri)
    is_same = _place(uri) == _place(present)
    if here and there:
        is_same = here.resolve() == there.resolve()
    if is_same:
        shown = without_credentials(uri)
        raise StoreError(f"{shown} is the store that is copied from: name another")
    if finished_runs(uri, [run_id]):
        raise StoreError(
            f"{without_credentials(uri)} is the store that is copied from, or a copy of it: it has "
            f"the training run {run_id} already. Name another"
        )


def require_place(uri: str, experiment: str) -> None:
    """Raise a `StoreError` if nothing says where artifacts of an experiment would go."""
    if not has_place(uri, experiment):
        raise StoreError(
            f"the experiment {experiment!r} is new in {without_credentials(uri)}, and nothing says "
            "where its artifacts go: give --artifact-root, such as s3://bucket/prefix"
        )


def open_there(experiment: str) -> tuple[MlflowClient, str]:
    """Return a client of the store and an experiment's id; it is made where there is none."""
    from mlflow import MlflowClient

    os.environ[EXPERIMENT_VARIABLE] = experiment
    found = connect(experiment)
    return MlflowClient(), found


def _address(given: str) -> str:
    variable = variable_of(given)
    address = os.environ.get(variable, "") if variable else given
    if address.startswith((*SERVER, *POSTGRES)) or is_sqlite(address):
        return address
    raise StoreError(
        f"{given if variable else without_credentials(given)} is no address of a store, which "
        "begins with http://, https://, sqlite:/// or postgresql://"
    )


def _settings(address: str, present: str, artifact_root: str | None) -> dict[str, str | None]:
    """Return the variables that lead to a store; None for those that must not be set."""
    found: dict[str, str | None] = {
        URI_VARIABLE: address,
        "MLFLOW_REGISTRY_URI": None,
        ARTIFACT_ROOT_VARIABLE: artifact_root,
    }
    if not _is_same_host(address, present):
        if present.startswith(SERVER):
            found |= dict.fromkeys(_OF_SERVERS)
        elif present.startswith(tuple(POSTGRES)):
            found["PGPASSWORD"] = None
    user = user_info(address)
    if address.startswith(SERVER) and user:
        found |= dict.fromkeys(_OF_SERVERS)
        if ":" not in user:
            found["MLFLOW_TRACKING_TOKEN"] = unquote(user[:-1])
            found[URI_VARIABLE] = address.replace(user, "", 1)
    return found


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _require_there(uri: str) -> None:
    """Raise a `StoreError` if a store cannot be reached; a file may be new, its folder not."""
    file = sqlite_file(uri)
    if file is None and is_sqlite(uri):
        raise cannot_be_used(uri, "it is in memory, and ends with this command")
    if file is None:
        reach(uri)
    elif not file.parent.is_dir():
        raise cannot_be_used(uri, f"there is no folder {file.parent}")
    elif not os.access(file if file.exists() else file.parent, os.W_OK):
        raise cannot_be_used(uri, f"{file} cannot be written")


@contextmanager
def _named_by(given: str) -> Iterator[None]:
    """Let errors of the store say where its address came from."""
    try:
        yield
    except StoreError as error:
        whence = f"Its address is that of {given}" if variable_of(given) else "--to names it"
        raise StoreError(str(error).replace(WHERE_FROM, whence)) from error.__cause__


def _is_same_host(one: str, other: str) -> bool:
    return _host(one) == _host(other) is not None


def _host(address: str) -> tuple[str, str | None, int | None] | None:
    found = urlsplit(without_credentials(address))
    return (found.scheme, found.hostname, found.port) if found.hostname else None


def _place(address: str) -> tuple[object, str]:
    path = urlsplit(without_credentials(address)).path.rstrip("/")
    return _host(address), path

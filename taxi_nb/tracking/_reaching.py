"""Whether a store can be reached, and asking it without MLflow, whose import takes seconds."""

from __future__ import annotations

import importlib.util
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking import store_errors
from taxi_nb.tracking.file_addresses import is_sqlite, read_only_address, sqlite_file
from taxi_nb.tracking.store_errors import StoreError, cannot_be_used

if TYPE_CHECKING:
    import requests
    from mlflow import MlflowClient

SERVER = ("http://", "https://")
# Without a driver's name SQLAlchemy takes psycopg.
POSTGRES = {
    "postgresql:": "psycopg",
    "postgresql+psycopg:": "psycopg",
    "postgresql+psycopg2:": "psycopg2",
}
_SECONDS_TO_ANSWER = 10


def is_database(uri: str) -> bool:
    """Whether a store is a database that SQLAlchemy reaches; the others MLflow knows alone."""
    return "://" in uri and not uri.startswith((*SERVER, "file:", "databricks"))


def is_installed(module: str) -> bool:
    """Whether a module can be imported; it is not imported."""
    return importlib.util.find_spec(module) is not None


def require_driver(uri: str) -> None:
    """Raise a `StoreError` with the extra to install, if a store's driver is not there."""
    if uri.startswith("postgres://"):
        raise StoreError(
            f"the MLflow store {without_credentials(uri)}: write postgresql:// for postgres://"
        )
    driver = POSTGRES.get(uri.partition("//")[0])
    if driver and not is_installed(driver):
        # The extra has the driver that is used where an address names none.
        remedy = "taxi-nb[postgres]" if driver == "psycopg" else driver
        raise StoreError(
            f"the MLflow store {without_credentials(uri)} needs {driver}: pip install '{remedy}'"
        )


def reach(uri: str) -> None:
    """Raise a `StoreError` within seconds if a store cannot be used; MLflow tries for minutes."""
    require_driver(uri)
    if uri.startswith(SERVER):
        _reach_server(uri)
    elif is_database(uri) and not is_sqlite(uri):
        _reach_database(uri)


def _reach_server(uri: str) -> None:
    from requests import exceptions

    try:
        with server_session() as session:
            # Whatever it answers: whom it lets in is for MLflow to find out.
            session.get(f"{uri.rstrip('/')}/health", timeout=_SECONDS_TO_ANSWER)
    except exceptions.RequestException as error:
        is_about_tls = isinstance(error, exceptions.SSLError)
        is_silent = isinstance(error, exceptions.ConnectionError) and not is_about_tls
        raise cannot_be_used(uri, "no server answers there" if is_silent else error) from None


def server_session() -> requests.Session:
    """Return a session with the credentials that MLflow's own client uses."""
    import requests

    session = requests.Session()
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        session.auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        session.headers["Authorization"] = f"Bearer {token}"
    session.verify = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() != "true"
    return session


def _reach_database(uri: str) -> None:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with connection(uri):
            pass
    except ValueError:  # Its words could quote a part of a password.
        raise cannot_be_used(uri, "its address cannot be read") from None
    except (SQLAlchemyError, ImportError) as error:
        raise cannot_be_used(uri, error) from None


@contextmanager
def connection(uri: str) -> Iterator[Any]:
    """Connect to a database; the connection is no part of MLflow's pool."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    # For MLflow's own connections, too: without it a host that is gone is waited for long.
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(_SECONDS_TO_ANSWER))
    engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as opened:
        yield opened


def rows(uri: str, table: str, statement: str, values: Mapping[str, str]) -> list[Any]:
    """Ask a database; one that is not there, or has no such table yet, has no rows."""
    if (file := sqlite_file(uri)) is not None:
        return _rows_in_file(file, table, statement, values)
    from sqlalchemy import inspect, text

    with connection(uri) as opened:
        if not inspect(opened).has_table(table):
            return []
        return list(opened.execute(text(statement), values))


def _rows_in_file(
    database: Path, table: str, statement: str, values: Mapping[str, str]
) -> list[Any]:
    if not database.exists():
        return []
    with closing(_opened(database)) as opened:
        tables = "SELECT 1 FROM sqlite_master WHERE name = ?"
        if opened.execute(tables, [table]).fetchone() is None:
            return []
        return opened.execute(statement, values).fetchall()


def _opened(database: Path) -> sqlite3.Connection:
    """Open a file to read, after a crash too: what it left half-done is undone, which writes."""
    if not database.is_file():
        raise sqlite3.OperationalError(f"{database} is no file")
    opened = sqlite3.connect(read_only_address(database), uri=True, timeout=30)
    try:
        opened.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        opened.close()
        opened = sqlite3.connect(database, timeout=30)
    return opened


def checked_client(uri: str) -> MlflowClient:
    """Return an `MlflowClient` that says in one line, and soon, when its store is lost."""
    return cast("MlflowClient", _CheckedClient(uri))


class _CheckedClient:
    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self._uri = uri
        self._client = MlflowClient(uri)
        self._is_lost = False
        # An address after each run, between the lines of progress and in executed notebooks.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        # The error that follows says what they would write to the terminal.
        for talkative in ("mlflow.store.db.utils", "urllib3.connectionpool"):
            logging.getLogger(talkative).setLevel(logging.CRITICAL)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        return partial(self._ask, value) if callable(value) else value

    def _ask(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        # MLflow would try for long, again at each of the calls that end a run.
        self._reach_if_lost()
        try:
            return method(*arguments, **options)
        except Exception as error:
            if store_errors.is_from(error, store_errors.ARTIFACT_LIBRARIES):
                raise store_errors.artifacts_error(self._uri, error) from error
            self._is_lost = store_errors.is_from(error, store_errors.STORE_LIBRARIES)
            self._reach_if_lost()
            raise

    def _reach_if_lost(self) -> None:
        if self._is_lost:
            reach(self._uri)
            self._is_lost = False

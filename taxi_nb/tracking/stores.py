"""Which MLflow stores can be used: how they are reached, made, and where their artifacts go."""

from __future__ import annotations

import importlib.util
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import unquote

from taxi_nb.project import project_root
from taxi_nb.secrets.addresses import hide_secrets, user_info, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

__all__ = [
    "ARTIFACT_ROOT_VARIABLE",
    "StoreError",
    "address_in",
    "again_if_another_was_first",
    "artifact_root",
    "open_experiment",
    "problems_told",
    "reach",
    "require_driver",
    "telling_client",
]

# `mlflow server` calls it so, too: clients of a database have no server to say it for them.
ARTIFACT_ROOT_VARIABLE = "MLFLOW_DEFAULT_ARTIFACT_ROOT"

T = TypeVar("T")

_SERVER = ("http://", "https://")
_SQLITE = "sqlite:///"
# Without a driver's name SQLAlchemy takes psycopg.
_POSTGRES = {
    "postgresql:": "psycopg",
    "postgresql+psycopg:": "psycopg",
    "postgresql+psycopg2:": "psycopg2",
}
_SECONDS_TO_ANSWER = 10
# Any number will do that no other program locks in the same database.
_FIRST_USE_LOCK = 7_261_884_031
_WHERE_FROM = (
    "It comes from MLFLOW_TRACKING_URI, the pipeline file's `tracking_uri`, or else is mlflow.db "
    "in the project"
)
_OTHERS_AT_ONCE = 20
_STORES_LIBRARIES = {"mlflow", "sqlalchemy", "requests"}
_ARTIFACTS_LIBRARIES = {"boto3", "botocore"}


class StoreError(RuntimeError):
    """A store that cannot be used; the message names it, without credentials."""


def address_in(variable: str) -> str | None:
    """Return the address in an environment variable, its password moved out of it.

    The password of a tracking server or of a PostgreSQL database goes to where their clients
    look for it, in this process and in those that it starts: ``MLFLOW_TRACKING_USERNAME`` and
    ``MLFLOW_TRACKING_PASSWORD``, or ``PGPASSWORD``. What prints the address afterwards, be it
    a traceback in a notebook, prints no secret.
    """
    address = os.environ.get(variable)
    if not address:
        return None
    if address.startswith(_SERVER):
        user = user_info(address)
        name, _, password = user[:-1].partition(":")
        if password:  # MLflow takes no name without one.
            os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(name)
            os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password)
            address = address.replace(user, "", 1)
    elif address.startswith(tuple(_POSTGRES)):
        address, secret = _split_password(address)
        if secret:
            os.environ["PGPASSWORD"] = secret
    if address != os.environ[variable]:
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
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # Whoever connects will say what is wrong with it.
        return address, None
    in_query = url.query.get("password")
    password = url.password or (in_query if isinstance(in_query, str) else None)
    if not password:
        return address, None
    query = {name: value for name, value in url.query.items() if name != "password"}
    clean = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)
    return clean.render_as_string(hide_password=False), str(password)


def require_driver(uri: str) -> None:
    """Say which extra a store needs that cannot be used without it.

    Raises
    ------
    StoreError
        If its driver is not installed.
    """
    if uri.startswith("postgres://"):
        raise StoreError(
            f"the MLflow store {without_credentials(uri)}: write postgresql:// for postgres://"
        )
    driver = next((name for scheme, name in _POSTGRES.items() if uri.startswith(scheme)), None)
    if driver and not _is_installed(driver):
        # The extra has the driver that is used where an address names none.
        remedy = "taxi-nb[postgres]" if driver == "psycopg" else driver
        raise StoreError(
            f"the MLflow store {without_credentials(uri)} needs {driver}: pip install '{remedy}'"
        )


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def reach(uri: str) -> None:
    """Find out within seconds whether a store answers; MLflow itself tries for minutes.

    Raises
    ------
    StoreError
        If its driver is missing, or it does not answer or lets nobody in.
    """
    require_driver(uri)
    if uri.startswith(_SERVER):
        _reach_server(uri)
    elif "://" in uri and not uri.startswith((_SQLITE, "file:", "databricks")):
        with _database(uri):
            pass


def _reach_server(uri: str) -> None:
    import requests

    insecure = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() == "true"
    try:
        # Whatever it answers: whom it lets in is for MLflow to find out.
        requests.get(f"{uri.rstrip('/')}/health", timeout=_SECONDS_TO_ANSWER, verify=not insecure)
    except requests.exceptions.SSLError as error:
        raise _unreachable(uri, error) from None
    except requests.exceptions.ConnectionError:
        raise _unreachable(uri, "no server answers there") from None
    except requests.exceptions.RequestException as error:
        raise _unreachable(uri, error) from None


@contextmanager
def _database(uri: str) -> Iterator[Any]:
    """Open a connection that is no part of MLflow's pool."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    # For MLflow's own connections, too: without it a host that is gone is waited for long.
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(_SECONDS_TO_ANSWER))
    try:
        connection = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT").connect()
    except ValueError:  # Its words could quote a part of a password.
        raise _unreachable(uri, "its address cannot be read") from None
    except (SQLAlchemyError, ImportError) as error:
        raise _unreachable(uri, error) from None
    with connection:
        yield connection


def _unreachable(uri: str, reason: object) -> StoreError:
    told = reason if isinstance(reason, str) else _in_one_line(reason, uri)
    return StoreError(
        f"the MLflow store {without_credentials(uri)} cannot be used: {told}. {_WHERE_FROM}"
    )


def _in_one_line(error: object, uri: str) -> str:
    # A driver's own words: SQLAlchemy adds the statement and a link to its pages.
    error = getattr(error, "orig", None) or error
    lines = str(error).strip().splitlines()
    return hide_secrets(lines[0] if lines else type(error).__name__, uri).rstrip(".")


def artifact_root(given: str | None = None) -> str | None:
    """Return where a new experiment's artifacts shall go, if anything says so.

    Parameters
    ----------
    given : str, optional
        A folder or a URL; what ``MLFLOW_DEFAULT_ARTIFACT_ROOT`` says otherwise.

    Returns
    -------
    str or None
        A URL; of a folder, which starts from the project's, that of its absolute path.

    Raises
    ------
    StoreError
        If it carries credentials.
    """
    given = given or os.environ.get(ARTIFACT_ROOT_VARIABLE)
    if not given:
        return None
    if "://" not in given:
        return (project_root() / Path(given).expanduser()).resolve().as_uri()
    if user_info(given):
        raise StoreError(
            f"{ARTIFACT_ROOT_VARIABLE} must not carry credentials, since MLflow shows it: "
            f"{without_credentials(given)} and AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "or ~/.aws/credentials"
        )
    return given.rstrip("/")


def open_experiment(uri: str, name: str, patience: float = 0) -> str:
    """Return an experiment's id; without the experiment, or the store's tables, make them.

    Any number of processes may call this for a store that is empty.

    Parameters
    ----------
    uri : str
        The tracking URI.
    name : str
        The experiment's.
    patience : float
        Seconds that a store may take to come back that has been there before.

    Raises
    ------
    StoreError
        If the store cannot be reached, nothing says where a new experiment's artifacts go, or
        what is said does not fit the experiment that is there.
    """
    from mlflow import MlflowClient

    if uri not in _reached:
        _wait_for(uri, patience)
        _reached.add(uri)
    with _first_use(uri, name) as is_first:
        if is_first:
            # The client makes the tables of a store that is empty.
            _make(MlflowClient(uri), uri, name)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name) or _make(client, uri, name)
    _require_place(experiment, uri)
    return str(experiment.experiment_id)


_reached: set[str] = set()


def _wait_for(uri: str, patience: float) -> None:
    require_driver(uri)
    end = time.monotonic() + patience
    while True:
        try:
            return reach(uri)
        except StoreError:
            if time.monotonic() >= end:
                raise
        time.sleep(1)


@contextmanager
def _first_use(uri: str, experiment: str) -> Iterator[bool]:
    """Let one process at a time make a store's tables and an experiment: two would collide."""
    if uri.startswith(_SQLITE):
        with _sqlite_lock(Path(uri.removeprefix(_SQLITE)), experiment) as is_first:
            yield is_first
    elif uri.startswith(tuple(_POSTGRES)):
        with _postgresql_lock(uri, experiment) as is_first:
            yield is_first
    else:
        yield False


@contextmanager
def _sqlite_lock(database: Path, experiment: str) -> Iterator[bool]:
    if _has_experiment_in_file(database, experiment):
        yield False
        return
    from filelock import FileLock

    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock", timeout=60):
        # Another may have made it meanwhile.
        yield not _has_experiment_in_file(database, experiment)


@contextmanager
def _postgresql_lock(uri: str, experiment: str) -> Iterator[bool]:
    from sqlalchemy import text

    with _database(uri) as connection:
        if _has_experiment(connection, experiment):
            yield False
            return
        # Given back with the connection, so also when this process is killed.
        lock = text("SELECT pg_advisory_lock(:number)")
        connection.execute(lock, {"number": _FIRST_USE_LOCK})
        yield not _has_experiment(connection, experiment)


_EXPERIMENT = "SELECT 1 FROM experiments WHERE name = :name"


def _has_experiment_in_file(database: Path, name: str) -> bool:
    if not database.exists():
        return False
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        try:
            return connection.execute(_EXPERIMENT, {"name": name}).fetchone() is not None
        except sqlite3.Error:  # No table yet, or no database: MLflow will say.
            return False


def _has_experiment(connection: Any, name: str) -> bool:
    from sqlalchemy import text
    from sqlalchemy.exc import ProgrammingError

    try:
        return connection.execute(text(_EXPERIMENT), {"name": name}).first() is not None
    except ProgrammingError:  # There is no such table yet.
        return False


def _make(client: MlflowClient, uri: str, name: str) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        client.create_experiment(name, artifact_location=_new_location(uri, name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.get_experiment_by_name(name)
    assert found is not None
    return found


def _new_location(uri: str, name: str) -> str | None:
    root = artifact_root()
    if root:
        _require_boto3(root)
        return root
    if uri.startswith(_SQLITE):
        return (Path(uri.removeprefix(_SQLITE)).parent / "mlartifacts").resolve().as_uri()
    if uri.startswith(_SERVER) or uri.startswith(("file:", "databricks")) or "://" not in uri:
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
    if root and location != root and not location.startswith(f"{root}/"):
        raise StoreError(
            f"the experiment {experiment.name!r} in {without_credentials(uri)} keeps its artifacts "
            f"in {without_credentials(location)}, which cannot be changed, and `artifact_root` or "
            f"{ARTIFACT_ROOT_VARIABLE} says {root}: leave that out, or name another experiment"
        )
    _require_boto3(location)


def _require_boto3(location: str) -> None:
    if location.startswith("s3:") and not _is_installed("boto3"):
        raise StoreError(
            f"artifacts in {without_credentials(location)} need boto3: pip install 'taxi-nb[s3]'"
        )


@contextmanager
def problems_told(uri: str) -> Iterator[None]:
    """Turn what MLflow, its database and its bucket raise into one `StoreError`."""
    try:
        yield
    except Exception as error:
        if _is_from(error, _ARTIFACTS_LIBRARIES):
            raise _artifacts_lost(error, uri) from error
        if not _is_from(error, _STORES_LIBRARIES):
            raise
        raise StoreError(
            f"the MLflow store {without_credentials(uri)} cannot be used: "
            f"{_in_one_line(error.__cause__ or error, uri)}. {_WHERE_FROM}"
        ) from error


def _is_from(error: Exception, libraries: set[str]) -> bool:
    # By name: some are installed with an extra, and all take long to import.
    return any(kind.__module__.partition(".")[0] in libraries for kind in type(error).__mro__)


def _artifacts_lost(error: Exception, uri: str) -> StoreError:
    return StoreError(
        f"artifacts of the MLflow store {without_credentials(uri)} cannot be read or written: "
        f"{_in_one_line(error, uri)}. Credentials and address of a bucket come from AWS_* "
        "variables and ~/.aws, its address from MLFLOW_S3_ENDPOINT_URL, too"
    )


def again_if_another_was_first(call: Callable[[], T]) -> T:
    """Make a call again that failed because another process did the same at that moment.

    MLflow looks whether a data set is known and then makes it known. Of two runs that log the
    same one at once, both may find that it is not, and the database refuses the second.
    """
    from mlflow.exceptions import MlflowException

    for _ in range(_OTHERS_AT_ONCE):
        try:
            return call()
        except MlflowException as error:
            # As SQLite, PostgreSQL and MySQL say it, also through a server.
            words = ("UNIQUE constraint failed", "duplicate key value", "Duplicate entry")
            if not any(word in str(error) for word in words):
                raise
    return call()


def telling_client(uri: str) -> MlflowClient:
    """Return an `MlflowClient` that says in one line, and soon, when its store is lost."""
    return cast("MlflowClient", _TellingClient(uri))


class _TellingClient:
    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self._uri = uri
        self._client = MlflowClient(uri)
        self._is_lost = False
        # An address after each run, between the lines of progress and in executed notebooks.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        # What they would write to the terminal is told by the error that follows.
        for talkative in ("mlflow.store.db.utils", "urllib3.connectionpool"):
            logging.getLogger(talkative).setLevel(logging.CRITICAL)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if not callable(value):
            return value
        return lambda *arguments, **options: self._ask(value, *arguments, **options)

    def _ask(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self._is_lost:
            # MLflow would try for long, again at each of the calls that end a run.
            reach(self._uri)
            self._is_lost = False
        try:
            return method(*arguments, **options)
        except Exception as error:
            if _is_from(error, _ARTIFACTS_LIBRARIES):
                raise _artifacts_lost(error, self._uri) from error
            if _is_from(error, _STORES_LIBRARIES):
                self._is_lost = True
                reach(self._uri)
                self._is_lost = False
            raise

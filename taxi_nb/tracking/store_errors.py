"""Errors of a store, each told in one line without credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from taxi_nb.plain_data import shortened
from taxi_nb.secrets.addresses import hide_secrets, without_credentials

T = TypeVar("T")

# By name: some are installed with an extra, and all take long to import.
ARTIFACT_LIBRARIES = {"boto3", "botocore"}
STORE_LIBRARIES = {"mlflow", "sqlalchemy", "requests"}
# Where a store's address comes from, unless a command was given one.
WHERE_FROM = (
    "It comes from MLFLOW_TRACKING_URI, the pipeline file's `tracking_uri`, or else is mlflow.db "
    "in the project"
)
_OTHERS_AT_ONCE = 20


class StoreError(RuntimeError):
    """A store that cannot be used; the message names it, without credentials."""


@contextmanager
def errors_of_store(uri: str) -> Iterator[None]:
    """Turn an error of MLflow, its database or its bucket into one `StoreError`."""
    try:
        yield
    except Exception as error:
        if is_from(error, ARTIFACT_LIBRARIES):
            raise artifacts_error(uri, error) from error
        if is_from(error, STORE_LIBRARIES):
            raise cannot_be_used(uri, error.__cause__ or error) from error
        raise


def is_from(error: Exception, libraries: set[str]) -> bool:
    """Whether one of these libraries defines the error's class, or one that it derives from."""
    return any(kind.__module__.partition(".")[0] in libraries for kind in type(error).__mro__)


def cannot_be_used(uri: str, reason: str | BaseException) -> StoreError:
    """Return the error of a store that is not there or lets nobody in."""
    shown = reason if isinstance(reason, str) else in_one_line(reason, uri)
    return StoreError(
        f"the MLflow store {without_credentials(uri)} cannot be used: {shown}. {WHERE_FROM}"
    )


def artifacts_error(uri: str, error: Exception) -> StoreError:
    """Return the error of a store whose bucket does not work."""
    return StoreError(
        f"artifacts of the MLflow store {without_credentials(uri)} cannot be read or written: "
        f"{in_one_line(error, uri)}. Credentials and address of a bucket come from AWS_* "
        "variables and ~/.aws, its address from MLFLOW_S3_ENDPOINT_URL, too"
    )


def in_one_line(error: BaseException, uri: str) -> str:
    """Return the first line of an error's message, without the store's secrets."""
    # A driver's own words: SQLAlchemy adds the statement and a link to its pages.
    error = getattr(error, "orig", None) or error
    lines = str(error).strip().splitlines()
    shown = hide_secrets(lines[0] if lines else type(error).__name__, uri)
    return shortened(shown.rstrip("."), 500)


def again_if_another_was_first(call: Callable[[], T]) -> T:
    """Make a call again that failed because another process did the same at that moment.

    MLflow looks whether a data set is known and then makes it known. Of two runs that log it at
    once, both may find that it is not, and the database refuses the second.
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

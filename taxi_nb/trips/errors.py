"""The errors of trips; each message is one sentence with what, where and the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TripsError(ValueError):
    """Trips cannot be had as asked for."""


class MissingMonthError(TripsError):
    """A source does not have a month that was asked for."""


class BrokenFileError(TripsError):
    """A month's file is not a whole parquet file of the taxi's trip records."""


class DownloadError(TripsError):
    """A month could not be fetched over the network."""


class UnreachableError(DownloadError):
    """A place of months does not answer, or refuses to."""


class NoTripsError(TripsError):
    """The cleaning rules left no trip at all."""


class SchemaError(TripsError):
    """A frame is not what `load_trips` promises."""


@contextmanager
def write_errors_named(path: Path, kind: type[Exception] = TripsError) -> Iterator[None]:
    """Turn the system's error for a file that cannot be written into one that names the file."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path} cannot be written: {error.strerror or error}") from None


def one_line(error: Exception) -> str:
    """Return an error's message in one line, without the full stop at its end."""
    return " ".join(str(error).split()).rstrip(".")

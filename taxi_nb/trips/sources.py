"""The places that months come from."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from taxi_nb.close_names import close_to
from taxi_nb.project import project_root
from taxi_nb.secrets.addresses import cause_of, user_info, without_credentials
from taxi_nb.tracking.held_folder import HeldFolder
from taxi_nb.tracking.inputs import used_variable
from taxi_nb.trips._what_it_is import no_file
from taxi_nb.trips.errors import (
    BrokenFileError,
    MissingMonthError,
    TripsError,
    UnreachableError,
)
from taxi_nb.trips.month_file import MonthContent

# What is no folder and no URL.
_NAMES = ("sample", "tlc")
S3_PROTOCOLS = ("s3", "s3a")


class Source(Protocol):
    """A place that has months of trip records."""

    @property
    def label(self) -> str:
        """The name of the place in reports, without credentials."""

    def fetch(self, taxi: str, month: str) -> MonthContent:
        """Return the month's file, or raise a `TripsError` that says why there is none."""


class Place(ABC):
    """A source that can say that it does not have a month."""

    label: str

    @abstractmethod
    def find(self, taxi: str, month: str) -> MonthContent | None:
        """Return the month's file, or None if the place has no such file."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the files that are there."""

    def fetch(self, taxi: str, month: str) -> MonthContent:
        """Return the month's file, or raise an error that lists the months that are there."""
        if found := self.find(taxi, month):
            return found
        raise self._missing(taxi, month, self.names())

    def require(self, taxi: str, months: Iterable[str]) -> None:
        """Raise the same error for a month that the place does not have, and read none."""
        names = self.names()
        for month in months:
            if month_file_name(taxi, month) not in names:
                raise self._missing(taxi, month, names)

    def _missing(self, taxi: str, month: str, there: list[str]) -> MissingMonthError:
        name, names = month_file_name(taxi, month), sorted(there)
        months = months_among(names, taxi)
        listed = ", ".join(months)
        has = f"months of {taxi} there: {listed}" if months else f"no month of {taxi} there"
        if others := [other for other in names if _is_month_in_another_form(other, name)]:
            has = f"{', '.join(others)} is not read, only parquet of exactly that name; {has}"
        return MissingMonthError(f"{self.label} has no {name}; {has}")


def month_file_name(taxi: str, month: str) -> str:
    """Return the name that the TLC gives to a month's file."""
    return f"{taxi}_tripdata_{month}.parquet"


def months_among(names: Iterable[str], taxi: str) -> list[str]:
    """Return the months whose files are among some names, the newest last."""
    pattern = re.compile(re.escape(f"{taxi}_tripdata_") + r"(\d{4}-\d{2})\.parquet")
    return sorted(match[1] for match in map(pattern.fullmatch, names) if match)


def open_place(text: str) -> Place:
    """Return the folder or the remote place that a text names; raise `TripsError` if it is none."""
    if "://" not in text:
        return Folder(_existing_folder(text, text))
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise _unknown_source(without_credentials(text), str(error)) from None
    if parts.scheme == "file":
        from urllib.request import url2pathname  # With it a client of HTTP is imported.

        return Folder(_existing_folder(url2pathname(parts.path), text))
    if not parts.scheme:
        raise _unknown_source(without_credentials(text), "no such protocol")
    return Remote(text)


def local_place() -> Place | None:
    """Return the place that ``TAXI_NB_DATA_DIR`` names, if it is set."""
    used_variable("TAXI_NB_DATA_DIR")
    text = os.environ.get("TAXI_NB_DATA_DIR")
    if not text:
        return None
    try:
        return open_place(text)
    except TripsError as error:
        raise TripsError(f"the environment variable TAXI_NB_DATA_DIR: {error}") from None


class Folder(Place):
    """A folder of months on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = str(path)

    def find(self, taxi: str, month: str) -> MonthContent | None:
        """Return the month's file, or None if the folder has no such file."""
        path = self.path / month_file_name(taxi, month)
        # Also true of a link to nothing: `read_file` says so.
        return read_file(path) if os.path.lexists(path) else None

    def names(self) -> list[str]:
        """Return the names of the folder's files."""
        try:
            return os.listdir(self.path)
        except OSError as error:
            raise TripsError(f"{self.path} cannot be read: {error.strerror}") from None


class Remote(Place):
    """A place that fsspec can read: s3, memory, http, …"""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self._url = url
        self.label = without_credentials(url)
        address, options = _split_s3_credentials(url)
        try:
            self._files, root = url_to_fs(address, **options)
        except ImportError as error:
            remedy = str(error)
            if urlsplit(url).scheme in S3_PROTOCOLS:
                remedy = 'reading from s3:// needs s3fs: pip install "taxi-nb[s3]"'
            raise TripsError(f"{self.label} cannot be read here; {remedy}") from None
        except Exception as error:
            if isinstance(error, ValueError) and "Protocol not known" in str(error):
                raise _unknown_source(self.label, "no such protocol") from None
            raise self._failure(error) from None
        self._root = root.rstrip("/")

    def find(self, taxi: str, month: str) -> MonthContent | None:
        """Return the month's file, or None if the place has no such file."""
        return self.open(month_file_name(taxi, month))

    def open(self, name: str) -> MonthContent | None:
        """Return a file of the place, or None if there is none of that name."""
        held = HeldFolder("month-")  # It lives as long as its content.
        copy = held.path / name
        try:
            # On disk and not in memory, which a month need not fit into.
            self._files.get_file(f"{self._root}/{name}", str(copy))
        except FileNotFoundError:
            return None
        # Each file system fails in its own way: boto, aiohttp, sockets, credentials.
        except Exception as error:
            raise self._failure(error) from None
        return MonthContent.now(f"{self.label.rstrip('/')}/{name}", copy, keeper=held)

    def names(self) -> list[str]:
        """Return the names of the files that are there."""
        try:
            listing = self._files.ls(self._root, detail=False, refresh=True)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise self._failure(error) from None
        return [str(path).rsplit("/", 1)[-1] for path in listing]

    def _failure(self, error: Exception) -> TripsError:
        return UnreachableError(f"{self.label} cannot be read: {cause_of(error, self._url)}")


def read_file(path: Path) -> MonthContent:
    """Read a file of this machine; the error for one that cannot be read names it."""
    try:
        # Before it is opened: a pipe would wait for somebody to write to it.
        if what := no_file(path):
            raise BrokenFileError(f"{path} is {what}; it should be a month's parquet file")
        with path.open("rb"):
            return MonthContent.now(str(path), path)
    except OSError as error:
        raise BrokenFileError(f"{path} cannot be read: {error.strerror}") from None


def open_file(path: str) -> MonthContent:
    """Open again a file of which `MonthContent.path` is known; credentials are the usual ones."""
    if "://" not in path:
        return read_file(Path(path))
    folder, _, name = path.rpartition("/")
    found = Remote(folder).open(name)
    if found is None:
        raise BrokenFileError(f"{path} is no longer there")
    return found


def _unknown_source(source: str, why: str) -> TripsError:
    return TripsError(
        "`source` must be one of 'sample', 'tlc', a folder of months or a URL such as "
        f"s3://bucket/prefix, got: {source!r} ({why})"
    )


def _split_s3_credentials(url: str) -> tuple[str, dict[str, str]]:
    # Other protocols read them from the URL; s3fs takes them for a part of the bucket.
    found = user_info(url)
    if urlsplit(url).scheme not in S3_PROTOCOLS or not found:
        return url, {}
    key, _, secret = found[:-1].partition(":")
    return without_credentials(url), {"key": unquote(key), "secret": unquote(secret)}


def _is_month_in_another_form(name: str, wanted: str) -> bool:
    """Tell whether a file is a month in a form that is not read, such as CSV, or packed."""
    stem = wanted.removesuffix(".parquet")
    return name != wanted and name.lower().startswith((f"{stem}.", f"{stem}_"))


def _existing_folder(path: str, shown: str) -> Path:
    try:
        folder = project_root() / Path(path).expanduser()
    except RuntimeError as error:
        raise _unknown_source(shown, str(error)) from None
    if folder.is_dir():
        return folder.resolve()
    why = "a file, not a folder" if folder.exists() else f"there is no folder {folder}"
    why += close_to(shown, _NAMES)
    if folder.is_symlink() and not folder.exists():
        why = str(no_file(folder))
    raise _unknown_source(shown, why)

"""The months that the Taxi & Limousine Commission publishes, downloaded once."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.project import data_dir, part_file, part_files_of, publish, write_whole
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking.inputs import used_variable
from taxi_nb.tracking.progress_bar import progress_bar
from taxi_nb.trips.errors import (
    BrokenFileError,
    DownloadError,
    MissingMonthError,
    TripsError,
    UnreachableError,
    write_errors_named,
)
from taxi_nb.trips.extras import extras_named
from taxi_nb.trips.month_file import MonthContent
from taxi_nb.trips.sources import (
    Folder,
    local_place,
    month_file_name,
    months_among,
    read_file,
)

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

PUBLISHED_AT = "https://d37ci6vzurychx.cloudfront.net/trip-data"

# Seconds to wait before each new attempt.
RETRY_DELAYS = (0.25, 0.75, 2.0)

TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 18

# A part file this old was left by a process that was killed.
STALE_SECONDS = 24 * 3600

# CloudFront says 403 of what is not in the bucket behind it.
ABSENT = (403, 404)
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class Tlc:
    """The TLC's published months: in the user's folder, downloaded before, or fetched now."""

    label = "tlc"

    def fetch(self, taxi: str, month: str) -> MonthContent:
        """Return the month's file, downloading it if it is nowhere on this machine."""
        place = local_place()
        if place and (found := place.find(taxi, month)):
            return found
        path = data_dir() / "tlc" / month_file_name(taxi, month)
        if not path.exists():
            url = _address_of(path.name)
            logger.info("downloading %s", without_credentials(url))
            _remove_stale_parts(path)
            with write_errors_named(path), part_file(path) as part:
                _fetch_with_retries(url, part, taxi, month)
                _put_in_place(part, path, url)
        content = read_file(path)
        _check_record(content)
        return content


def months_here(taxi: str) -> set[str]:
    """Return the TLC's months that are on this machine already."""
    own = data_dir() / "tlc"
    places = (local_place(), Folder(own) if own.is_dir() else None)
    return {month for one in places if one for month in months_among(one.names(), taxi)}


def is_published(taxi: str, month: str) -> bool:
    """Whether the TLC has published a month; DownloadError if it cannot be asked."""
    import requests

    url = _address_of(month_file_name(taxi, month))
    try:
        answer = requests.head(url, timeout=TIMEOUT_SECONDS, allow_redirects=True)
        reason = f"the server says {answer.status_code} {answer.reason}"
    except requests.RequestException as error:
        raise UnreachableError(_not_asked(url, _reason(error))) from None
    if answer.status_code in ABSENT:
        return False
    if not answer.ok:
        raise DownloadError(_not_asked(url, reason))
    return True


def _not_asked(url: str, reason: str) -> str:
    return f"the TLC cannot be asked for {without_credentials(url)}: {reason}"


def _address_of(name: str) -> str:
    used_variable("TAXI_NB_TLC_URL")
    base = os.environ.get("TAXI_NB_TLC_URL") or PUBLISHED_AT
    return f"{base.rstrip('/')}/{name}"


def _fetch_with_retries(url: str, part: Path, taxi: str, month: str) -> None:
    for delay in (*RETRY_DELAYS, None):
        try:
            _fetch_whole(url, part)
            return
        except _TransientError as error:
            if delay is None:
                raise DownloadError(_no_download(url, taxi, month, str(error))) from None
            logger.info("download of %s failed (%s), trying again", Path(url).name, error)
            time.sleep(delay)
        except _RefusedError as error:
            raise _refusal(error, url, taxi, month) from None


def _fetch_whole(url: str, part: Path) -> None:
    with extras_named():
        import pooch
    import requests

    try:
        # pooch sets the true total once it knows it; a bar without any has no truth value.
        with progress_bar(desc=Path(url).name, total=1, unit="B", unit_scale=True) as bar:
            fetch = pooch.HTTPDownloader(bar, chunk_size=CHUNK_BYTES, timeout=TIMEOUT_SECONDS)
            fetch(url, str(part), None)
    except requests.HTTPError as error:
        raise _http_failure(error) from None
    except requests.RequestException as error:
        raise _TransientError(_reason(error)) from None
    content = read_file(part)
    if not content.starts_as_parquet():
        raise _RefusedError("what arrived is not a parquet file")
    try:
        content.opened()
    except BrokenFileError:
        raise _TransientError("what arrived is not a whole parquet file") from None


class _TransientError(Exception):
    """An attempt failed in a way that another attempt may not."""


class _RefusedError(Exception):
    """The server answered, and it will answer the same again."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


def _http_failure(error: requests.HTTPError) -> Exception:
    response = error.response
    if response is None:
        return _TransientError("the server gave no answer")
    reason = f"the server says {response.status_code} {response.reason}"
    if response.status_code in TRANSIENT:
        return _TransientError(reason)
    return _RefusedError(reason, response.status_code)


def _refusal(error: _RefusedError, url: str, taxi: str, month: str) -> TripsError:
    if error.status not in ABSENT:
        return DownloadError(_no_download(url, taxi, month, str(error)))
    return MissingMonthError(
        f"the TLC has not published {taxi} {month} at {without_credentials(url)}: {error}. "
        "Months appear about two months after their end; is the month right?"
    )


def _no_download(url: str, taxi: str, month: str, reason: str) -> str:
    return (
        f"{taxi} {month} could not be downloaded from {without_credentials(url)}: {reason}. "
        "Without a network, use source='sample' (synthetic months), or put "
        f"{month_file_name(taxi, month)} into a folder and name it as the source "
        "or in TAXI_NB_DATA_DIR"
    )


def _reason(error: requests.RequestException) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT_SECONDS} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke half way"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return type(error).__name__


def _remove_stale_parts(path: Path) -> None:
    for part in part_files_of(path):
        # Another process may remove it at the same time.
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > STALE_SECONDS:
                part.unlink()


def _put_in_place(part: Path, path: Path, url: str) -> None:
    content = read_file(part)
    # The record of a file that is gone says nothing of the one that is coming.
    if not path.exists():
        _record_path(path).unlink(missing_ok=True)
    digest = content.sha256
    # The first of racing processes wins, so that nobody's file changes under its record.
    if publish(part, path, replace=False):
        _write_record(path, digest, content.size, without_credentials(url))


def _write_record(path: Path, digest: str, size: int, address: str | None) -> None:
    date = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    record = {"sha256": digest, "address": address, "date": date, "size": size}
    with write_errors_named(_record_path(path)):
        write_whole(_record_path(path), json.dumps(record, indent=2) + "\n")


def _check_record(content: MonthContent) -> None:
    path = Path(content.path)
    record = _record_path(path)
    if not record.exists():
        # Put there by hand, or the process was killed right after the whole file was in place.
        content.opened()
        _write_record(path, content.sha256, content.size, None)
        return
    try:
        recorded = str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
    except (ValueError, KeyError, TypeError, OSError):
        raise BrokenFileError(
            f"{record} should hold the digest of the file beside it as JSON, and does not. "
            "Delete both files to download the month again"
        ) from None
    if content.sha256 != recorded:
        raise BrokenFileError(
            f"{path} is not what was downloaded: its sha256 is no longer {recorded[:12]}…, "
            f"as {record.name} says. Delete both files to download the month again"
        )


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")

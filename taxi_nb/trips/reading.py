"""From the bytes of one month's file to its records, whatever types the file has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from taxi_nb.trips.errors import BrokenFileError

__all__ = ["MonthContent", "check_whole", "is_synthetic", "read_month", "starts_as_parquet"]

# The prefix that the time stamps' columns have in each taxi's files.
STAMP_PREFIX = {"green": "lpep", "yellow": "tpep"}

SYNTHETIC_KEY = b"taxi_nb.synthetic"

# Stands for what is there but is no zone number; no rule lets it pass.
NOT_A_ZONE = -1.0

MICROSECONDS_PER_MINUTE = 60e6

_MAGIC = b"PAR1"


@dataclass(frozen=True)
class MonthContent:
    """One month's file: its path or URL without credentials, and its bytes."""

    path: str
    data: pa.Buffer


def read_month(content: MonthContent, taxi: str) -> pd.DataFrame:
    """
    Read a month's records, cast to one set of names and types.

    Parameters
    ----------
    content : MonthContent
        The file.
    taxi : str
        ``"green"`` or ``"yellow"``.

    Returns
    -------
    pandas.DataFrame
        All rows of the file, in its order: ``pickup_datetime`` and ``dropoff_datetime``
        (datetime64[us], NaT for null), ``PULocationID`` and ``DOLocationID`` (float64,
        NaN for null, negative for what is no number), ``trip_distance`` (float64, NaN for
        null), ``duration`` (float64, minutes).

    Raises
    ------
    BrokenFileError
        If the file is not a whole parquet file of this taxi's records.
    """
    names = _source_names(taxi)
    parquet = _open(content)
    _check_columns(parquet.schema_arrow.names, taxi, content.path)
    table = _read_columns(parquet, list(names.values()), content.path)
    cast = _Cast(table, content.path)
    pickup = cast.stamps(names["pickup_datetime"])
    dropoff = cast.stamps(names["dropoff_datetime"])
    return pd.DataFrame(
        {
            "pickup_datetime": pickup,
            "dropoff_datetime": dropoff,
            "PULocationID": cast.zones(names["PULocationID"]),
            "DOLocationID": cast.zones(names["DOLocationID"]),
            "trip_distance": cast.numbers(names["trip_distance"]),
            "duration": _minutes(pickup, dropoff),
        }
    )


def check_whole(content: MonthContent) -> None:
    """
    Check that a file is parquet from its first to its last byte.

    Raises
    ------
    BrokenFileError
        If it is not; the message names the file and what is wrong.
    """
    _open(content)


def starts_as_parquet(content: MonthContent) -> bool:
    """Tell whether a file begins as parquet does, however it goes on."""
    return bytes(content.data[:4].to_pybytes()) == _MAGIC


def is_synthetic(content: MonthContent) -> bool:
    """Tell whether the file says of itself that its trips were made up."""
    return SYNTHETIC_KEY in (_open(content).schema_arrow.metadata or {})


def _open(content: MonthContent) -> pq.ParquetFile:
    _check_magic(content)
    try:
        return pq.ParquetFile(pa.BufferReader(content.data))
    except (pa.ArrowException, OSError) as error:
        raise _broken(
            content.path, f"is not a readable parquet file ({_one_line(error)})"
        ) from None


def _check_magic(content: MonthContent) -> None:
    size = content.data.size
    if size == 0:
        raise _broken(content.path, "is empty (0 bytes)")
    if not starts_as_parquet(content):
        raise _broken(content.path, "is not a parquet file")
    if size < 12 or content.data[size - 4 :].to_pybytes() != _MAGIC:
        raise _broken(content.path, f"is cut short: its end is missing after {size:,} bytes")


def _check_columns(present: list[str], taxi: str, path: str) -> None:
    needed = _source_names(taxi).values()
    missing = [name for name in needed if name not in present]
    if not missing:
        return
    for other in STAMP_PREFIX.keys() - {taxi}:
        if set(_source_names(other).values()) <= set(present):
            raise _broken(path, f"holds {other} records, not {taxi} ones, whatever its name says")
    raise _broken(
        path,
        f"is not a file of {taxi} trip records: it has no {_listing(missing)} "
        f"(its columns: {_listing(present)})",
    )


def _read_columns(parquet: pq.ParquetFile, columns: list[str], path: str) -> pa.Table:
    try:
        return parquet.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise _broken(
            path, f"is damaged: its records cannot be decoded ({_one_line(error)})"
        ) from None


class _Cast:
    """The columns of one file's table, cast explicitly: no two files agree on their types."""

    def __init__(self, table: pa.Table, path: str) -> None:
        self._table = table
        self._path = path

    def stamps(self, name: str) -> pd.Series:
        column = self._plain(name)
        kind = column.type
        if not (pa.types.is_temporal(kind) or _is_text(kind) or pa.types.is_null(kind)):
            raise self._wrong(name, kind, "time stamps")
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        series: pd.Series = self._to(name, column, pa.timestamp("us", tz=zone)).to_pandas()
        # The TLC's stamps are the clock on the wall; only a file saved by others has a zone.
        return series if zone is None else _wall_clock(series)

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        column = self._plain(name)
        if not (_is_number(column.type) or _is_text(column.type) or pa.types.is_null(column.type)):
            raise self._wrong(name, column.type, "numbers")
        values = np.asarray(self._to(name, column, pa.float64()).to_numpy())
        return np.where(np.isfinite(values), values, np.nan)

    def zones(self, name: str) -> npt.NDArray[np.float64]:
        column = self._plain(name)
        if _is_text(column.type):
            return _zones_from_text(column)
        values = self.numbers(name)
        whole = np.isnan(values) | (values == np.floor(values))
        return np.where(whole, values, NOT_A_ZONE)

    def _plain(self, name: str) -> pa.ChunkedArray:
        column = self._table[name]
        kind = column.type
        return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column

    def _to(self, name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
        try:
            # Nanoseconds are cut off; nothing else can be lost in these casts.
            return column.cast(kind, safe=False)
        except pa.ArrowException as error:
            what = f"has a {name} that cannot be read as {kind}: {_one_line(error)}"
            raise _broken(self._path, what) from None

    def _wrong(self, name: str, kind: pa.DataType, wanted: str) -> BrokenFileError:
        return _broken(self._path, f"has a {name} of type {kind}; it must hold {wanted}")


def _wall_clock(stamps: pd.Series) -> pd.Series:
    local: pd.Series = stamps.dt.tz_convert("America/New_York").dt.tz_localize(None)
    return local


def _zones_from_text(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    # A month has few different zones: parse each one once.
    encoded = column.dictionary_encode().combine_chunks()
    known = [_zone_number(text) for text in encoded.dictionary.to_pylist()]
    table = np.array([*known, np.nan])
    positions = encoded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
    return np.asarray(table[positions])


def _zone_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return NOT_A_ZONE
    return number if math.isfinite(number) and number.is_integer() else NOT_A_ZONE


def _minutes(pickup: pd.Series, dropoff: pd.Series) -> npt.NDArray[np.float64]:
    elapsed = (dropoff - pickup).to_numpy()
    minutes = elapsed.astype("timedelta64[us]").astype(np.float64) / MICROSECONDS_PER_MINUTE
    return np.where(np.isnat(elapsed), np.nan, minutes)


def _source_names(taxi: str) -> dict[str, str]:
    prefix = STAMP_PREFIX[taxi]
    return {
        "pickup_datetime": f"{prefix}_pickup_datetime",
        "dropoff_datetime": f"{prefix}_dropoff_datetime",
        "PULocationID": "PULocationID",
        "DOLocationID": "DOLocationID",
        "trip_distance": "trip_distance",
    }


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def _broken(path: str, what: str) -> BrokenFileError:
    return BrokenFileError(
        f"{path} {what}. It should be a month of trip records as the TLC publishes them, in parquet"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _listing(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown}, …" if len(names) > 8 else shown or "none"

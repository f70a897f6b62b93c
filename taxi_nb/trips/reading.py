"""From one month's file to its records, batch by batch, whatever types the file has."""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from taxi_nb.trips.engines import DEFAULT_ENGINE, UndecodableError, decoded
from taxi_nb.trips.errors import BrokenFileError

__all__ = [
    "MonthContent",
    "Records",
    "check_whole",
    "count_rows",
    "is_synthetic",
    "month_content",
    "parts_of",
    "read_batches",
    "starts_as_parquet",
]

# The prefix that the time stamps' columns have in each taxi's files.
STAMP_PREFIX = {"green": "lpep", "yellow": "tpep"}

SYNTHETIC_KEY = b"taxi_nb.synthetic"

# Stands for what is there but is no zone number; no rule lets it pass.
NOT_A_ZONE = -1
# Far above the last zone: what is above it is none, and need not fit into 32 bits.
LARGEST_NUMBER = 32_767

MICROSECONDS_PER_MINUTE = 60e6

# Columns of a batch this long stay in a processor's cache while they are worked on.
BATCH_ROWS = 1 << 16
# Several, so that neither side waits when some batch takes the other longer.
BATCHES_AHEAD = 4
# Less would not pay for what each part of a file needs for itself.
PART_ROWS = 1 << 19
# Shorter than others: the sums that are taken of parts want room in the cache as well.
PART_BATCH_ROWS = 1 << 15

_MAGIC = b"PAR1"

Mask = npt.NDArray[np.bool_]
FileState = tuple[int, int, int, int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class MonthContent:
    """
    One month's file on this machine.

    Attributes
    ----------
    path : str
        What people know it by: its path, or its URL without credentials.
    file : Path
        Where its bytes are.
    state : tuple of int
        Device, inode, size and times of the file when it was opened.
    keeper : object
        Whatever has to live as long as the file is needed.
    """

    path: str
    file: Path
    state: FileState
    keeper: object = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.state[2]

    @property
    def sha256(self) -> str:
        """The digest of the whole file, in hexadecimal; taken once for each state of a file."""
        try:
            return _sha256(self.file, self.state)
        except OSError as error:
            raise BrokenFileError(f"{self.path} cannot be read: {error.strerror}") from None

    def check_unchanged(self) -> None:
        """
        Check that the file is still the one that was opened.

        Raises
        ------
        BrokenFileError
            If it was written to, replaced or removed since.
        """
        if not self.file.exists() or not self._is_as_opened(_state(self.file)):
            raise BrokenFileError(f"{self.path} changed while it was read; load it again")

    def _is_as_opened(self, state: FileState) -> bool:
        if state == self.state:
            return True
        # A link made or removed changes the inode's time, and no byte.
        return state[:-1] == self.state[:-1] and _sha256(self.file, state) == self.sha256


@dataclass(frozen=True)
class Records:
    """
    Records of a month as arrays of equal length, in the file's order.

    Attributes
    ----------
    pickup, dropoff : ndarray of datetime64[us]
        New York's clock.
    pickup_zone, dropoff_zone : ndarray of int32
        Zone numbers; negative for what is none.
    distance : ndarray of float64
        Miles.
    duration : ndarray of float64
        Minutes from pick-up to drop-off.
    missing : ndarray of bool, or None
        Where any of the values is null; None where nothing is.
    """

    pickup: npt.NDArray[np.datetime64]
    dropoff: npt.NDArray[np.datetime64]
    pickup_zone: npt.NDArray[np.int32]
    dropoff_zone: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float64]
    duration: npt.NDArray[np.float64]
    missing: Mask | None

    def __len__(self) -> int:
        return len(self.pickup)


def month_content(path: str, file: Path, keeper: object = None) -> MonthContent:
    """Return the file as it is now."""
    return MonthContent(path, file, _state(file), keeper)


def read_batches(
    content: MonthContent,
    taxi: str,
    batch_rows: int = BATCH_ROWS,
    row_groups: Sequence[int] | None = None,
    engine: str = DEFAULT_ENGINE,
) -> Iterator[Records]:
    """
    Read a month's records, cast to one set of types, in a fixed amount of memory.

    Of the file's columns only those that a trip is made of are read.

    Parameters
    ----------
    content : MonthContent
        The file.
    taxi : str
        ``"green"`` or ``"yellow"``.
    batch_rows : int
        The most rows of a batch.
    row_groups : sequence of int, optional
        Read these alone, in the caller's thread. Without it all of the file is read, and in
        another thread a little ahead.
    engine : str
        What decodes the columns, as `chosen_engine` returned it. The footer is always read
        by pyarrow.

    Yields
    ------
    Records
        All rows of the file or of its row groups, in their order.

    Raises
    ------
    BrokenFileError
        If the file is not a whole parquet file of this taxi's records.
    """
    names = _source_names(taxi)
    schema, groups = _columns_to_read(content, taxi)
    table = _decode(
        content, engine, groups if row_groups is None else row_groups, schema, batch_rows
    )
    for batch in _some_ahead(table) if row_groups is None else table:
        yield _records(_Cast(batch, content.path), names)


def _columns_to_read(content: MonthContent, taxi: str) -> tuple[pa.Schema, Sequence[int]]:
    parquet = _open(content)
    present = parquet.schema_arrow
    _check_columns(present.names, taxi, content.path)
    schema = pa.schema([present.field(name) for name in _source_names(taxi).values()])
    _check_types(schema, content.path)
    return schema, range(parquet.num_row_groups)


def _records(cast: _Cast, names: dict[str, str]) -> Records:
    pickup = cast.stamps(names["pickup_datetime"])
    dropoff = cast.stamps(names["dropoff_datetime"])
    return Records(
        pickup=pickup,
        dropoff=dropoff,
        pickup_zone=cast.zones(names["PULocationID"]),
        dropoff_zone=cast.zones(names["DOLocationID"]),
        distance=cast.numbers(names["trip_distance"]),
        duration=(dropoff - pickup).view(np.int64) / MICROSECONDS_PER_MINUTE,
        missing=cast.missing,
    )


def count_rows(content: MonthContent) -> int:
    """Return how many rows a file says that it has."""
    return int(_open(content).metadata.num_rows)


def parts_of(content: MonthContent) -> list[list[int]]:
    """Cut a file into row groups, or neighbours of them, each with `PART_ROWS` rows or more."""
    metadata = _open(content).metadata
    parts: list[list[int]] = []
    rows = PART_ROWS
    for group in range(metadata.num_row_groups):
        if rows >= PART_ROWS:
            parts.append([])
            rows = 0
        parts[-1].append(group)
        rows += metadata.row_group(group).num_rows
    return parts


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
    return _ends(content)[0] == _MAGIC


def is_synthetic(content: MonthContent) -> bool:
    """Tell whether the file says of itself that its trips were made up."""
    return SYNTHETIC_KEY in (_open(content).schema_arrow.metadata or {})


def _state(file: Path) -> FileState:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=1024)
def _sha256(file: Path, state: FileState) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _ends(content: MonthContent) -> tuple[bytes, bytes]:
    with content.file.open("rb") as opened:
        first = opened.read(4)
        opened.seek(-min(4, content.size), os.SEEK_END)
        return first, opened.read(4)


def _open(content: MonthContent) -> pq.ParquetFile:
    _check_magic(content)
    try:
        return pq.ParquetFile(content.file, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise _broken(
            content.path, f"is not a readable parquet file ({_one_line(error)})"
        ) from None


def _check_magic(content: MonthContent) -> None:
    size = content.size
    if size == 0:
        raise _broken(content.path, "is empty (0 bytes)")
    first, last = _ends(content)
    if first != _MAGIC:
        raise _broken(content.path, "is not a parquet file")
    if size < 12 or last != _MAGIC:
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


def _check_types(schema: pa.Schema, path: str) -> None:
    for name, kind in zip(schema.names, schema.types, strict=True):
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        stamps = name.endswith("_datetime")
        fits = pa.types.is_temporal(kind) if stamps else _is_number(kind)
        if not (fits or _is_text(kind) or pa.types.is_null(kind)):
            wanted = "time stamps" if stamps else "numbers"
            raise _broken(path, f"has a {name} of type {kind}; it must hold {wanted}")


def _decode(
    content: MonthContent,
    engine: str,
    row_groups: Sequence[int],
    columns: pa.Schema,
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    try:
        yield from decoded(engine, content.file, row_groups, columns, batch_rows)
    except UndecodableError as error:
        raise _broken(
            content.path, f"is damaged: its records cannot be decoded ({error})"
        ) from None


def _some_ahead(items: Iterator[T]) -> Iterator[T]:
    """Prepare the next items in another thread while one is worked on."""
    end = object()
    with ThreadPoolExecutor(1) as worker:
        coming = deque(worker.submit(next, items, end) for _ in range(BATCHES_AHEAD))
        while (item := coming.popleft().result()) is not end:
            coming.append(worker.submit(next, items, end))
            yield item  # type: ignore[misc]


class _Cast:
    """The columns of one batch, cast explicitly: no two files agree on their types."""

    def __init__(self, batch: pa.RecordBatch, path: str) -> None:
        self._batch = batch
        self._path = path
        self.missing: Mask | None = None

    def stamps(self, name: str) -> npt.NDArray[np.datetime64]:
        column = self._plain(name)
        zone = column.type.tz if pa.types.is_timestamp(column.type) else None
        moments = self._to(name, column, pa.timestamp("us", tz=zone))
        if zone is not None:
            # The TLC's stamps are the clock on the wall; only a file saved by others has a zone.
            moments = _wall_clock(moments)
        return self._values(moments.view(pa.int64())).view("datetime64[us]")

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        column = self._plain(name)
        values = self._values(self._to(name, column, pa.float64()))
        finite = np.isfinite(values)
        if not finite.all():
            self._miss(~finite)
        return values

    def zones(self, name: str) -> npt.NDArray[np.int32]:
        column = self._batch[name]
        if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
            return self._zones_from_text(column)
        column = self._plain(name)
        if _is_text(column.type):
            return self._zones_from_text(column.dictionary_encode())
        if pa.types.is_integer(column.type):
            return _zone_numbers(self._values(column))
        values = self.numbers(name)
        whole = np.isfinite(values) & (values == np.floor(values))
        return _zone_numbers(np.where(whole, values, NOT_A_ZONE))

    def _zones_from_text(self, column: pa.DictionaryArray) -> npt.NDArray[np.int32]:
        # A month has few different zones: parse each one once.
        known = [_zone_number(text) for text in column.dictionary.to_pylist()]
        table = _zone_numbers(np.array([*known, NOT_A_ZONE], dtype=np.float64))
        positions = self._values(column.indices)
        if column.indices.null_count:
            positions = np.where(_nulls(column.indices), len(known), positions)
        return np.asarray(table[positions])

    def _values(self, column: pa.Array) -> npt.NDArray[Any]:
        """Return a column's numbers, anything where it is null, and note where that is."""
        if column.null_count:
            self._miss(_nulls(column))
        # From the buffers: Arrow's own conversion imports pandas, which nobody here needs.
        numbers = column.buffers()[1]
        # Integers and doubles are called alike by Arrow and numpy.
        values = np.frombuffer(numbers or b"", np.dtype(str(column.type)))
        return values[column.offset : column.offset + len(column)]

    def _miss(self, mask: Mask) -> None:
        self.missing = mask if self.missing is None else self.missing | mask

    def _plain(self, name: str) -> pa.Array:
        column = self._batch[name]
        kind = column.type
        return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column

    def _to(self, name: str, column: pa.Array, kind: pa.DataType) -> pa.Array:
        if column.type == kind:
            return column
        try:
            # Nanoseconds are cut off; nothing else can be lost in these casts.
            return column.cast(kind, safe=False)
        except pa.ArrowException as error:
            what = f"has a {name} that cannot be read as {kind}: {_one_line(error)}"
            raise _broken(self._path, what) from None


def _nulls(column: pa.Array) -> Mask:
    there = np.frombuffer(column.buffers()[0], np.uint8)
    end = column.offset + len(column)
    return np.unpackbits(there, count=end, bitorder="little")[column.offset :] == 0


def _wall_clock(moments: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.local_timestamp(moments.cast(pa.timestamp("us", tz="America/New_York")))


def _zone_numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    if values.size and (values.min() < NOT_A_ZONE or values.max() > LARGEST_NUMBER):
        values = np.where((values < 0) | (values > LARGEST_NUMBER), NOT_A_ZONE, values)
    return values.astype(np.int32)


def _zone_number(text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        return NOT_A_ZONE
    return number if math.isfinite(number) and number.is_integer() else NOT_A_ZONE


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

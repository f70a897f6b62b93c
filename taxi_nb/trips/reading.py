"""From one month's file to its records, batch by batch, whatever types the file has."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from taxi_nb.trips._footer import Footer
from taxi_nb.trips.engines import DEFAULT_ENGINE, decoded
from taxi_nb.trips.errors import one_line
from taxi_nb.trips.month_file import MonthContent
from taxi_nb.trips.records import STAMP_PREFIX, Mask, Records, source_names

# Stands for what is there but is no zone number; no rule lets it pass.
NOT_A_ZONE = -1
# Far above the last zone: what is above it is none, and need not fit into 32 bits.
LARGEST_NUMBER = 32_767

MICROSECONDS_PER_MINUTE = 60e6

# Columns of a batch this long stay in a processor's cache while they are worked on.
BATCH_ROWS = 1 << 16
# Several, so that neither side waits when some batch takes the other longer.
BATCHES_AHEAD = 4
# Shorter than others: the sums that are taken of parts want room in the cache as well.
PART_BATCH_ROWS = 1 << 15

T = TypeVar("T")


def read_batches(
    content: MonthContent,
    taxi: str,
    batch_rows: int = BATCH_ROWS,
    row_groups: Sequence[int] | None = None,
    engine: str = DEFAULT_ENGINE,
    *,
    with_drop_offs: bool = True,
) -> Iterator[Records]:
    """Read a month's records, cast to one set of types, in a fixed amount of memory.

    Only the columns that a trip is made of are read. Row groups that are named are read in the
    caller's thread; all of the file is read a little ahead in another one. Without drop-offs the
    file need not have any, and all durations are zero. The footer is always read by pyarrow, and
    what is decoded is held against its counts and ranges.
    `BrokenFileError` if it is not a whole parquet file of this taxi's records.
    """
    names = source_names(taxi, with_drop_offs=with_drop_offs)
    parquet = content.opened()
    present = parquet.schema_arrow
    _check_columns(present.names, names, taxi, content)
    schema = pa.schema([present.field(name) for name in names.values()])
    _check_types(schema, content)
    groups = range(parquet.num_row_groups) if row_groups is None else row_groups
    footer = Footer(content, schema.names, row_groups)
    table = decoded(engine, content, groups, schema, footer, batch_rows)
    for batch in _some_ahead(table) if row_groups is None else table:
        footer.check_count(len(batch))
        yield _records(_Cast(batch, content, footer), names)
    footer.finish()


def has_drop_offs(content: MonthContent, taxi: str) -> bool:
    """Tell whether any record has a drop-off time.

    Also true of a file that is none of this taxi's: `read_batches` says what is wrong with it.
    """
    names, parquet = source_names(taxi), content.opened()
    present, ends = parquet.schema_arrow.names, names["dropoff_datetime"]
    if present.count(ends) != 1:
        return ends in present or names["pickup_datetime"] not in present
    try:
        batches = parquet.iter_batches(columns=[ends])
        return any(batch[0].null_count < len(batch) for batch in batches)
    except (pa.ArrowException, OSError):
        return True


def _records(cast: _Cast, names: dict[str, str]) -> Records:
    pickup = cast.stamps(names["pickup_datetime"])
    dropoff = cast.stamps(names["dropoff_datetime"]) if "dropoff_datetime" in names else pickup
    return Records(
        pickup=pickup,
        dropoff=dropoff,
        pickup_zone=cast.zones(names["PULocationID"]),
        dropoff_zone=cast.zones(names["DOLocationID"]),
        distance=cast.numbers(names["trip_distance"]),
        duration=(dropoff - pickup).view(np.int64) / MICROSECONDS_PER_MINUTE,
        missing=cast.missing,
    )


def _check_columns(
    present: list[str], needed: dict[str, str], taxi: str, content: MonthContent
) -> None:
    missing = [name for name in needed.values() if name not in present]
    if not missing:
        if twice := [name for name in needed.values() if present.count(name) > 1]:
            raise content.broken(
                f"has the column {_listing(twice)} more than once, and nobody knows which counts"
            )
        return
    for other in STAMP_PREFIX.keys() - {taxi}:
        if set(source_names(other).values()) <= set(present):
            raise content.broken(f"holds {other} records, not {taxi} ones, whatever its name says")
    raise content.broken(
        f"is not a file of {taxi} trip records: it has no {_listing(missing)} "
        f"(its columns: {_listing(present)})"
    )


def _check_types(schema: pa.Schema, content: MonthContent) -> None:
    for name, kind in zip(schema.names, schema.types, strict=True):
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        stamps = name.endswith("_datetime")
        fits = pa.types.is_temporal(kind) if stamps else _is_number(kind)
        if not (fits or _is_text(kind) or pa.types.is_null(kind)):
            wanted = "time stamps" if stamps else "numbers"
            raise content.broken(f"has a {name} of type {kind}; it must hold {wanted}")


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

    def __init__(self, batch: pa.RecordBatch, content: MonthContent, footer: Footer) -> None:
        self._batch = batch
        self._content = content
        self._footer = footer
        self.missing: Mask | None = None

    def stamps(self, name: str) -> npt.NDArray[np.datetime64]:
        column = self._plain(name)
        zone = column.type.tz if pa.types.is_timestamp(column.type) else None
        moments = self._to(name, column, pa.timestamp("us", tz=zone))
        self._checked(name, moments.view(pa.int64()))
        if zone is not None:
            import pyarrow.compute as pc

            # The TLC's stamps are the clock on the wall; only a file saved by others has a zone.
            moments = pc.local_timestamp(moments.cast(pa.timestamp("us", tz="America/New_York")))
        return self._values(moments.view(pa.int64())).view("datetime64[us]")

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        column = self._plain(name)
        values, low, high = self._checked(name, self._to(name, column, pa.float64()))
        if not (math.isfinite(low) and math.isfinite(high)):
            self._miss(~np.isfinite(values))
        return values

    def zones(self, name: str) -> npt.NDArray[np.int32]:
        column = self._batch[name]
        if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
            return self._zones_from_text(column)
        column = self._plain(name)
        if _is_text(column.type):
            return self._zones_from_text(column.dictionary_encode())
        if pa.types.is_integer(column.type):
            values, low, high = self._checked(name, column)
            if low >= NOT_A_ZONE and high <= LARGEST_NUMBER and not column.null_count:
                return values.astype(np.int32)
            return _zone_numbers(values)
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

    def _checked(self, name: str, column: pa.Array) -> tuple[npt.NDArray[Any], Any, Any]:
        """Return a column's numbers, the least and the largest, held against the footer's."""
        values = self._values(column)
        there = values[~_nulls(column)] if column.null_count else values
        if not len(there):
            self._footer.check(name, column.null_count)
            return values, 0, 0
        low, high = there.min(), there.max()
        numbers = (low, high) if low == low else (np.nanmin(there), np.nanmax(there))
        self._footer.check(name, column.null_count, *numbers)
        return values, low, high

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
            what = f"has a {name} that cannot be read as {kind}: {one_line(error)}"
            raise self._content.broken(what) from None


def _nulls(column: pa.Array) -> Mask:
    there = np.frombuffer(column.buffers()[0], np.uint8)
    end = column.offset + len(column)
    return np.unpackbits(there, count=end, bitorder="little")[column.offset :] == 0


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


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    types = pa.types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def _listing(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown}, …" if len(names) > 8 else shown or "none"

"""What a month's footer says of its columns, to hold against what an engine decodes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from taxi_nb.trips.month_file import MonthContent

# What both engines decode alike; fastparquet has given wrong stamps, and fewer of them, for others.
COMMON_ENCODINGS = {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}

_MICROSECONDS = {"milliseconds": 1000, "microseconds": 1}


class Footer:
    """The numbers of rows and nulls, and the ranges, of some columns in some row groups.

    A column has no range here if the footer gives none, or none that can be compared.
    """

    def __init__(
        self, content: MonthContent, names: Iterable[str], row_groups: Sequence[int] | None = None
    ) -> None:
        self._content = content
        metadata = content.opened().metadata
        groups = range(metadata.num_row_groups) if row_groups is None else row_groups
        self._groups = [metadata.row_group(group) for group in groups]
        paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
        self._columns = {name: paths.index(name) for name in names if name in paths}
        self._kinds = {name: metadata.schema.column(i) for name, i in self._columns.items()}
        self._ranges = {name: self._range(name) for name in self._columns}
        self.rows = sum(group.num_rows for group in self._groups)
        self._seen = 0
        self._nulls: Counter[str] = Counter()

    def encodings(self, name: str) -> set[str]:
        """Return how a column's values are coded."""
        if name not in self._columns:
            return set()
        return {one for chunk in self._chunks(name) for one in chunk.encodings}

    def check(self, name: str, nulls: int, low: Any = None, high: Any = None) -> None:
        """Take note of a batch's column; `BrokenFileError` if a value is out of the range.

        Stamps are in microseconds.
        """
        self._nulls[name] += nulls
        lowest, highest = self._ranges.get(name) or (low, high)
        if low is not None and (low < lowest or high > highest):
            unit = "datetime64[us]" if name.endswith("_datetime") else None
            read, said = (
                " to ".join(str(np.datetime64(int(end), "us") if unit else end) for end in ends)
                for ends in ((low, high), (lowest, highest))
            )
            raise self._wrong(f"{name} from {read}, where the footer says {said}")

    def check_count(self, batch_rows: int) -> None:
        """Take note of a batch's rows."""
        self._seen += batch_rows

    def finish(self) -> None:
        """Raise `BrokenFileError` if there were not as many rows and nulls as the footer says."""
        if self._seen != self.rows:
            raise self._wrong(f"{self._seen:,} records, where the footer says {self.rows:,}")
        for name, nulls in self._nulls.items():
            if name not in self._columns:
                continue
            counts = [_nulls_of(chunk) for chunk in self._chunks(name)]
            if None in counts or nulls == (said := sum(filter(None, counts))):
                continue
            # What is no number may come as a null.
            if nulls < said or self._kinds[name].physical_type not in ("FLOAT", "DOUBLE"):
                raise self._wrong(f"{nulls:,} nulls of {name}, where the footer says {said:,}")

    def _wrong(self, what: str) -> Exception:
        return self._content.broken(f"is damaged, or decoded wrongly: it gives {what}")

    def _chunks(self, name: str) -> list[pq.ColumnChunkMetaData]:
        return [group.column(self._columns[name]) for group in self._groups]

    def _range(self, name: str) -> tuple[Any, Any] | None:
        ends = []
        scale = _scale(self._kinds[name])
        for chunk in self._chunks(name):
            if chunk.num_values == (_nulls_of(chunk) or 0):
                continue
            found = chunk.statistics
            if scale is None or found is None or not found.has_min_max:
                return None
            ends.append((found.min_raw, found.max_raw))
        if not ends or any(end != end for pair in ends for end in pair):  # NaN is no range.
            return None
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
        # Nanoseconds are cut off where they are read, towards zero or down.
        return (low * scale, high * scale) if scale else (low // 1000, -(-high // 1000))


def _nulls_of(chunk: pq.ColumnChunkMetaData) -> int | None:
    found = chunk.statistics
    return found.null_count if found is not None and found.has_null_count else None


def _scale(kind: pq.ColumnSchema) -> int | None:
    """Return what makes a column's numbers comparable; 0 for nanoseconds, None for no number."""
    if kind.physical_type not in ("INT32", "INT64", "FLOAT", "DOUBLE"):
        return None
    logical = json.loads(kind.logical_type.to_json())
    match logical["Type"]:
        case "Timestamp":
            return _MICROSECONDS.get(logical["timeUnit"], 0)
        case "None" | "Undefined":
            return 1
        case "Int":
            return 1 if logical["isSigned"] else None
    return None

"""The libraries that decode a month's columns: pyarrow, or fastparquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taxi_nb.tracking.inputs import used_variable
from taxi_nb.trips._footer import COMMON_ENCODINGS, Footer
from taxi_nb.trips.errors import BrokenFileError, TripsError, one_line
from taxi_nb.trips.extras import how_to_install
from taxi_nb.trips.month_file import MonthContent

DEFAULT_ENGINE = "pyarrow"

ENGINE_VARIABLE = "TAXI_NB_ENGINE"
"""The environment variable that names the engine where no argument does."""


def chosen_engine(engine: str | None) -> str:
    """Return the engine given, else what ``TAXI_NB_ENGINE`` names, else pyarrow."""
    asked = "`engine`"
    if engine is None:
        used_variable(ENGINE_VARIABLE)
        engine = os.environ.get(ENGINE_VARIABLE) or DEFAULT_ENGINE
        asked = f"the environment variable {ENGINE_VARIABLE}"
    if engine not in _DECODERS:
        raise TripsError(f"{asked} must be {' or '.join(map(repr, _DECODERS))}, got: {engine!r}")
    if find_spec(engine) is None:
        raise TripsError(f"{asked} is {engine!r}: {how_to_install(engine)}")
    return engine


def decoded(
    engine: str,
    content: MonthContent,
    row_groups: Sequence[int],
    columns: pa.Schema,
    footer: Footer,
    batch_rows: int,
) -> Iterator[pa.RecordBatch]:
    """Decode some columns of some row groups of a month's file, batch by batch.

    Columns have the types that the file's footer says, but text may be coded as a dictionary, and
    numbers may have another type of number. `BrokenFileError` where the engine cannot read it.
    """
    rare = {name: footer.encodings(name) - COMMON_ENCODINGS for name in columns.names}
    if engine == "fastparquet" and any(rare.values()):
        name = next(name for name in columns.names if rare[name])
        raise BrokenFileError(
            f"{content.path} has a {name} coded as {', '.join(sorted(rare[name]))}, which "
            "fastparquet may decode wrongly without a word; engine='pyarrow' reads it"
        )
    # Text stays coded as the file has it: zones are few.
    coded = [f.name for f in columns if pa.types.is_string(f.type) and not rare[f.name]]
    try:
        yield from _DECODERS[engine](content.file, row_groups, columns, coded, batch_rows)
    # pyarrow has its own errors; fastparquet fails in as many ways as the bytes can be wrong.
    except Exception as error:
        what = f"is damaged: its records cannot be decoded ({one_line(error)})"
        raise content.broken(what) from None


def _by_pyarrow(
    file: Path, row_groups: Sequence[int], columns: pa.Schema, coded: list[str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    parquet = pq.ParquetFile(file, pre_buffer=False, read_dictionary=coded)
    # All cores have other work meanwhile; more threads for one batch cost more than they give.
    yield from parquet.iter_batches(batch_rows, row_groups, columns.names, use_threads=False)


def _by_fastparquet(
    file: Path, row_groups: Sequence[int], columns: pa.Schema, coded: list[str], batch_rows: int
) -> Iterator[pa.RecordBatch]:
    import fastparquet

    parquet = fastparquet.ParquetFile(str(file))
    for group in row_groups:
        # It has no smaller unit, so that a whole row group has to fit into memory.
        frame = parquet[group].to_pandas(columns=columns.names, index=False)
        arrays = [_as_declared(pa.array(frame[field.name]), field.type) for field in columns]
        whole = pa.RecordBatch.from_arrays(arrays, columns.names)
        yield from (whole[row : row + batch_rows] for row in range(0, len(whole), batch_rows))


def _as_declared(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Give a column what fastparquet drops: the zone of time stamps."""
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return column.cast(pa.timestamp(column.type.unit, tz=kind.tz))
    return column


_Decoder = Callable[[Path, Sequence[int], pa.Schema, list[str], int], Iterator[pa.RecordBatch]]
_DECODERS: dict[str, _Decoder] = {
    "pyarrow": _by_pyarrow,
    "fastparquet": _by_fastparquet,
}

"""The file that predictions are written to: whole under its name, or not there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from taxi_nb.project import part_file, part_files_of, publish
from taxi_nb.trips.errors import write_errors_named

_COLUMNS = {
    "row": pa.int64(),
    "pickup_datetime": pa.timestamp("us"),
    "PULocationID": pa.int32(),
    "DOLocationID": pa.int32(),
    "minutes": pa.float64(),
    "lower": pa.float64(),
    "upper": pa.float64(),
    "clean": pa.bool_(),
}


class OutputError(RuntimeError):
    """Predictions cannot be written; the message names the file and the reason."""


class OutputPathError(OutputError):
    """No predictions can ever be written there: what is named is no place for a file."""


class PredictionsFile:
    """Predictions in parquet, written aside and given their name at the end.

    The folder has to exist; a file that is there is replaced by a whole one. The part file is
    hidden, beside the file, and goes when the block ends; that of a process that was killed goes
    the next time. `OutputError` comes at once where no file can be written, later on a full disk.
    """

    def __init__(self, path: str | os.PathLike[str], *, with_intervals: bool) -> None:
        self.path = _writable(path)
        skipped = () if with_intervals else ("lower", "upper")
        columns = ((name, kind) for name, kind in _COLUMNS.items() if name not in skipped)
        self._schema = pa.schema(columns)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        _remove_left_behind(self.path)
        with write_errors_named(self.path, OutputError):
            self._part = self._open.enter_context(part_file(self.path))
            self._file = self._part.open("xb")
            self._writer = pq.ParquetWriter(
                self._file,
                self._schema,
                # Readers then find the metadata in the schema, too.
                store_schema=False,
                # Minutes hardly repeat: looking for a dictionary of them takes half the time.
                use_dictionary=["PULocationID", "DOLocationID"],
            )
        return self

    def __exit__(self, *_: object) -> None:
        # After a full disk the footer cannot be written either; the part goes anyway.
        for opened in (self._writer, self._file):
            with suppress(OSError):
                opened.close()
        self._open.close()

    def write(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add rows, one array for each column."""
        arrays = [pa.array(columns[field.name], field.type) for field in self._schema]
        with write_errors_named(self.path, OutputError):
            self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the rest, with what the file shall say of itself, to the disk."""
        with write_errors_named(self.path, OutputError):
            self._writer.add_key_value_metadata(dict(metadata))
            self._writer.close()
            self._file.close()

    def publish(self) -> None:
        """Give the finished file its name."""
        with write_errors_named(self.path, OutputError):
            publish(self._part, self.path)


def _writable(given: str | os.PathLike[str]) -> Path:
    # What a link names is replaced, and not the link.
    path = Path(os.path.realpath(Path(given).expanduser()))
    if not path.parent.is_dir():
        raise OutputPathError(f"{given} cannot be written: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise OutputPathError(f"{given} cannot be written: it is there, and is not a file")
    return path


def _remove_left_behind(path: Path) -> None:
    import psutil

    for part in part_files_of(path):
        owner = part.name.removeprefix(f".{path.name}.").partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            with suppress(OSError):
                part.unlink()

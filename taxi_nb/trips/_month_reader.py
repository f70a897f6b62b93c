"""Reading one month: its clean trips, and how many each rule took out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy.typing as npt

from taxi_nb.tracking.inputs import used_data
from taxi_nb.trips.cleaning import CheckedRecords, Cleaning, clean
from taxi_nb.trips.errors import NoTripsError
from taxi_nb.trips.month_counter import MonthCounter
from taxi_nb.trips.month_file import MonthContent
from taxi_nb.trips.origin import MonthFile
from taxi_nb.trips.reading import read_batches
from taxi_nb.trips.records import COLUMNS
from taxi_nb.trips.report import MonthCounts

Arrays = dict[str, npt.NDArray[Any]]


class ReadMonth(NamedTuple):
    """A month's file after it was read."""

    file: MonthFile
    counts: MonthCounts
    synthetic: bool


@dataclass(eq=False)
class MonthReader:
    """Reads one month's clean trips, and keeps count."""

    content: MonthContent
    taxi: str
    month: str
    rules: Cleaning
    engine: str
    # Of a part that is read here alone, others know the file's digest.
    is_part: bool = False

    def __post_init__(self) -> None:
        self.counter = MonthCounter(self.month)
        if not self.is_part:
            # Beside the reading: it needs the whole file, the reading some columns of it.
            self._hashing = ThreadPoolExecutor(1)
            self._sha256 = self._hashing.submit(lambda: self.content.sha256)

    def checked(
        self, batch_rows: int, row_groups: Sequence[int] | None = None
    ) -> Iterator[CheckedRecords]:
        """Yield batches of the month, or of some row groups: records, and which are trips."""
        counter = self.counter.part(row_groups[0] if row_groups else 0)
        for records in read_batches(self.content, self.taxi, batch_rows, row_groups, self.engine):
            kept, taken_out = clean(records, self.month, self.rules)
            counter.add((records, kept), taken_out)
            yield records, kept

    def batches(self, columns: Sequence[str], batch_rows: int) -> Iterator[Arrays]:
        """Yield batches of clean trips: one array for each column."""
        for records, kept in self.checked(batch_rows):
            arrays = {column: getattr(records, COLUMNS[column]) for column in columns}
            if not kept.all():
                arrays = {name: values[kept] for name, values in arrays.items()}
            try:
                yield arrays
            except GeneratorExit:  # A loop that ends early has used the file, too.
                self._report_use()
                raise

    def finish(self) -> ReadMonth:
        """Check what was read, once it has been, and return what to remember of it."""
        counts = counted(self.counter, self.content.path, self.rules)
        # After the records: a file that is not what it should be is answered sooner.
        self._report_use(self.counter.trips_digest)
        file = MonthFile.of(self.month, self.content, counts.rows_in, self.counter.trips_digest)
        self._hashing.shutdown()
        self.content.check_unchanged()
        return ReadMonth(file, counts, self.content.is_synthetic)

    def _report_use(self, trips: str | None = None) -> None:
        sha256 = self._sha256.result()
        used_data(f"{self.taxi} {self.month}", self.content.path, sha256, trips)


def counted(counter: MonthCounter, path: str, rules: Cleaning) -> MonthCounts:
    """Return the counts of a month that was read; NoTripsError if no trip is left of it."""
    counts = counter.counts(rules.rules)
    if not counts.rows_kept:
        raise NoTripsError(
            f"no trip of {path} is left: of {counts.rows_in:,} records, "
            f"{counts.losses(rules.rules)}"
            if counts.rows_in
            else f"{path} holds no records"
        )
    counter.warn(path, counts)
    return counts

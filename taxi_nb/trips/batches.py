"""The clean trips of some months, batch by batch or as one frame."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa

from taxi_nb.trips._month_reader import Arrays, MonthReader, ReadMonth
from taxi_nb.trips.checks import Checks
from taxi_nb.trips.cleaning import CheckedRecords, Cleaning
from taxi_nb.trips.engines import chosen_engine
from taxi_nb.trips.errors import BrokenFileError, TripsError
from taxi_nb.trips.judging import judge
from taxi_nb.trips.month_file import MonthContent
from taxi_nb.trips.origin import MonthFile, Provenance, stamp
from taxi_nb.trips.reading import BATCH_ROWS, PART_BATCH_ROWS
from taxi_nb.trips.records import COLUMN_TYPES, COLUMNS
from taxi_nb.trips.report import CleaningReport
from taxi_nb.trips.sources import Source, open_file

if TYPE_CHECKING:
    import pandas as pd

    from taxi_nb.trips.workers import Part

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Beside a frame's provenance: by whose workers its months are read again.
SCHEDULER_KEY = "taxi_nb.scheduler"


@dataclass(eq=False)
class TripBatches:
    """The clean trips of some months, to be gone through in batches as often as one likes.

    Each loop reads the files again and gives frames like `load_trips`'; all of them one after
    the other are its frame. While one batch is worked on, the next one is decoded. Where there are
    checks, all months are counted and judged before the first batch comes.
    """

    taxi: str
    months: tuple[str, ...]
    place: Source
    rules: Cleaning
    batch_rows: int
    engine: str
    # The address of a Dask scheduler whose workers read the files; None: this machine.
    scheduler: str | None = None
    # What the months have to pass before any trip of them is given away.
    checks: Checks = field(default_factory=Checks)
    _provenance: Provenance | None = field(default=None, init=False)

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for arrays in self.arrays(*COLUMNS):
            yield _frame(arrays)

    def arrays(self, *columns: str) -> Iterator[Arrays]:
        """Go through the same batches as arrays, one for each column that is named."""
        unknown = [column for column in columns if column not in COLUMNS]
        if unknown:
            raise ValueError(f"`columns` must be among {list(COLUMNS)}, got: {unknown}")
        self._judge_first()
        if self.scheduler is None:
            yield from self._read(self._fetched(), columns)
        else:
            for part in self.in_parts(partial(kept_arrays, columns=columns)):
                yield from part

    def in_parts(self, work: Callable[[Iterator[CheckedRecords]], T]) -> Iterator[T]:
        """Do some work on all records, in parts that are read side by side by all cores.

        `work` gets the batches of a part, in another thread, or on a worker of the scheduler, if
        there is one: it has to be a function of a module then. Results come in the order of parts.
        How files are cut depends on the files alone. While a month is worked on the next one is
        fetched.
        """
        self._judge_first()
        yield from self._in_parts(work)

    def _in_parts(self, work: Callable[[Iterator[CheckedRecords]], T]) -> Iterator[T]:
        if self.scheduler is not None:
            yield from (result for _, result in self.on_workers(self.scheduler, lambda _: work))
            return
        read: list[ReadMonth] = []
        with ThreadPoolExecutor(pa.cpu_count()) as workers:

            def begin(month: str, content: MonthContent) -> tuple[MonthReader, list[Future[T]]]:
                reader = self._reader(month, content)
                parts = (reader.checked(PART_BATCH_ROWS, part) for part in content.parts())
                return reader, [workers.submit(work, part) for part in parts]

            try:
                begun = (begin(*found) for found in self._fetched())
                for reader, results in _one_ahead(begun):
                    for result in results:
                        yield result.result()
                    self._finish(reader, read)
            finally:
                workers.shutdown(cancel_futures=True)
        self._provenance = self._origin(read)

    def on_workers(
        self, scheduler: str, work_of: Callable[[int], Callable[[Iterator[CheckedRecords]], T]]
    ) -> Iterator[tuple[Part, T]]:
        """Do the work of each part, by its number among all, on workers."""
        from taxi_nb.trips.workers import on_workers

        read: list[ReadMonth] = []
        settings = (self.place, self.taxi, self.months, self.rules, self.engine)
        for found in on_workers(scheduler, *settings, work_of):
            if isinstance(found, ReadMonth):
                self._take(found, read)
            else:
                yield found
        self._provenance = self._origin(read)

    @property
    def provenance(self) -> Provenance:
        """Where the trips came from and what cleaning took out; known after one whole loop."""
        if self._provenance is None:
            if self.scheduler is None:
                passes: Iterator[object] = self._read(self._fetched(), ())
            else:
                passes = self._in_parts(nothing)
            for _ in passes:
                pass
        assert self._provenance is not None
        return self._provenance

    def _judge_first(self) -> None:
        if self.checks.limits:
            _ = self.provenance

    def one_frame(self, max_trips: int) -> pd.DataFrame:
        """Return all trips as one frame, or `max_trips` of them drawn by chance."""
        if self.scheduler is None:
            found = list(self._fetched())
            rows = sum(content.rows for _, content in found)
            trips = _frame(_collected(self._read(found, tuple(COLUMNS)), rows, max_trips))
        else:
            rows, trips = self._frame_from_workers(self.scheduler, max_trips)
        origin = self.provenance
        if rows > max_trips:
            logger.warning(
                "the frame holds %s trips drawn from the %s of %s; training reads all of them in "
                "batches",
                f"{len(trips):,}",
                f"{origin.cleaning.rows_kept:,}",
                origin.title,
            )
            origin = replace(origin, drawn=len(trips))
        stamp(trips, origin)
        if self.scheduler is not None:
            trips.attrs[SCHEDULER_KEY] = self.scheduler
        return trips

    def _frame_from_workers(self, scheduler: str, max_trips: int) -> tuple[int, pd.DataFrame]:
        """Return how many records there are, and the frame: the same trips as on one machine.

        The files are gone through twice: what is drawn of a part hangs on the trips before it.
        """
        starts = list(itertools.accumulate(self._in_parts(count_kept), initial=0))
        rows = self.provenance.cleaning.rows_in
        share = max_trips / max(rows, 1)
        drawn: list[Arrays] = []
        for _, part in self.on_workers(
            scheduler, lambda number: partial(drawn_arrays, share=share, start=starts[number])
        ):
            drawn += part
        columns = {name: np.concatenate([part[name] for part in drawn]) for name in COLUMNS}
        return rows, _frame({name: found[:max_trips] for name, found in columns.items()})

    def _fetched(self) -> Iterator[tuple[str, MonthContent]]:
        return ((month, self.place.fetch(self.taxi, month)) for month in self.months)

    def _read(
        self, fetched: Iterable[tuple[str, MonthContent]], columns: Sequence[str]
    ) -> Iterator[Arrays]:
        read: list[ReadMonth] = []
        for month, content in fetched:
            reader = self._reader(month, content)
            yield from reader.batches(columns, self.batch_rows)
            self._finish(reader, read)
        self._provenance = self._origin(read)

    def _reader(self, month: str, content: MonthContent) -> MonthReader:
        return MonthReader(content, self.taxi, month, self.rules, self.engine)

    def _finish(self, reader: MonthReader, read: list[ReadMonth]) -> None:
        self._take(reader.finish(), read)

    def _take(self, newest: ReadMonth, read: list[ReadMonth]) -> None:
        for before in read:
            if before.file.has_trips_of(newest.file):
                same = "is the same file as"
                if before.file.sha256 != newest.file.sha256:
                    same = "holds the same trips as"
                raise TripsError(
                    f"{newest.file.path} {same} {before.file.path}: one of the months "
                    f"{before.file.month} and {newest.file.month} is a copy of the other"
                )
        read.append(newest)

    def _origin(self, read: list[ReadMonth]) -> Provenance:
        counts = tuple(month.counts for month in read)
        if self._provenance is None:
            judge(self.checks, self.place, self.taxi, self.rules, counts)
        return Provenance(
            taxi=self.taxi,
            months=tuple(month.file.month for month in read),
            source=self.place.label,
            synthetic=any(month.synthetic for month in read),
            files=tuple(month.file for month in read),
            cleaning=CleaningReport(asdict(self.rules), self.rules.rules, counts),
        )


def reopen(
    origin: Provenance, batch_rows: int = BATCH_ROWS, scheduler: str | None = None
) -> TripBatches:
    """Go through all trips that a frame's provenance names, reading their files again.

    A loop over it raises `BrokenFileError` where a file no longer holds the trips that it held.
    """
    rules = Cleaning(**origin.cleaning.settings)
    files, engine = _SameFiles(origin, rules), chosen_engine(None)
    return TripBatches(origin.taxi, origin.months, files, rules, batch_rows, engine, scheduler)


def scheduler_of(trips: pd.DataFrame) -> str | None:
    """Return the Dask scheduler whose workers read the months of a frame, if it was loaded so."""
    found = trips.attrs.get(SCHEDULER_KEY)
    return str(found) if found else None


# What is done with a part's batches; workers find these functions by their names.


def nothing(batches: Iterator[CheckedRecords]) -> None:
    """Go through batches, so that they are counted."""
    for _ in batches:
        pass


def count_kept(batches: Iterator[CheckedRecords]) -> int:
    """Count the trips of batches."""
    return sum(int(np.count_nonzero(kept)) for _, kept in batches)


def kept_arrays(batches: Iterator[CheckedRecords], columns: Sequence[str]) -> list[Arrays]:
    """Return the trips of batches as arrays, one for each column that is named."""
    return [
        {column: getattr(records, COLUMNS[column])[kept] for column in columns}
        for records, kept in batches
    ]


def drawn_arrays(batches: Iterator[CheckedRecords], share: float, start: int) -> list[Arrays]:
    """Return a share of the trips of batches, drawn by chance; `start` trips come before them."""
    numbers = np.random.PCG64(0)
    numbers.advance(start)
    chance, found = np.random.Generator(numbers), []
    for arrays in kept_arrays(batches, tuple(COLUMNS)):
        if share < 1:
            drawn = np.flatnonzero(chance.random(len(arrays["duration"])) < share)
            arrays = {name: values[drawn] for name, values in arrays.items()}
        found.append(arrays)
    return found


def frames(batches: Iterator[CheckedRecords]) -> Iterator[pd.DataFrame]:
    """Yield the trips of batches as frames; a batch without trips gives none."""
    for records, kept in batches:
        if kept.any():
            yield _frame({column: getattr(records, at)[kept] for column, at in COLUMNS.items()})


class _SameFiles:
    """The files that trips were read from before, which have to be what they were."""

    def __init__(self, origin: Provenance, rules: Cleaning) -> None:
        self.label = origin.source
        self._rules = rules
        self._files = {file.month: file for file in origin.files}

    def fetch(self, taxi: str, month: str) -> MonthContent:
        file = self._files[month]
        content = open_file(file.path)
        if content.sha256 != file.sha256 and not self._holds_the_same(content, taxi, file):
            raise BrokenFileError(f"{file.path} changed since it was loaded; load it again")
        return content

    def _holds_the_same(self, content: MonthContent, taxi: str, file: MonthFile) -> bool:
        """Tell whether another file, such as one packed anew, has the trips of the one before."""
        if file.trips is None:
            return False
        reader = MonthReader(content, taxi, file.month, self._rules, chosen_engine(None))
        try:
            for _ in reader.batches((), BATCH_ROWS):
                pass
            return reader.finish().file.trips == file.trips
        except TripsError:  # Broken by now, or without any trip.
            return False


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Take each item when the one before it is yet to be worked on."""
    current = next(items, None)
    while current is not None:
        following = next(items, None)
        yield current
        current = following


def _collected(batches: Iterable[Arrays], rows: int, max_trips: int) -> Arrays:
    """Put batches one after the other into columns that are made once, drawn if they are many."""
    share, chance = max_trips / max(rows, 1), np.random.default_rng(0)
    room, length = min(rows, max_trips), 0
    columns = {name: np.empty(room, dtype) for name, dtype in COLUMN_TYPES.items()}
    for arrays in batches:
        if share < 1:
            drawn = np.flatnonzero(chance.random(len(arrays["duration"])) < share)[: room - length]
            arrays = {name: values[drawn] for name, values in arrays.items()}
        start, length = length, length + len(arrays["duration"])
        for name, values in arrays.items():
            columns[name][start:length] = values
    return {name: values[:length] for name, values in columns.items()}


def _frame(arrays: Arrays) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(arrays, copy=False)

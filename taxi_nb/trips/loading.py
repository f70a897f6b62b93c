"""From a taxi, months and a source to clean trips: all in one frame, or batch by batch."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from taxi_nb.tracking.inputs import used_data
from taxi_nb.trips.cleaning import CheckedRecords, Cleaning, clean
from taxi_nb.trips.engines import chosen_engine
from taxi_nb.trips.errors import BrokenFileError, NoTripsError, TripsError
from taxi_nb.trips.origin import MonthFile, Provenance, stamp
from taxi_nb.trips.reading import (
    BATCH_ROWS,
    PART_BATCH_ROWS,
    STAMP_PREFIX,
    Mask,
    MonthContent,
    Records,
    count_rows,
    is_synthetic,
    parts_of,
    read_batches,
)
from taxi_nb.trips.report import CleaningReport, MonthCounts
from taxi_nb.trips.sample import Sample
from taxi_nb.trips.sources import Source, local_place, open_file, open_place
from taxi_nb.trips.tlc import Tlc

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "MAX_TRIPS", "TripBatches", "iter_trips", "load_trips", "reopen"]

logger = logging.getLogger(__name__)

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")

MAX_TRIPS = 10_000_000
"""The most trips that `load_trips` puts into a frame unless told otherwise.

A frame of so many takes 0.4 GB, training on it a few. The number is fixed, and not taken from
the machine's memory: the same parameters have to give the same results everywhere.
"""

COLUMNS: dict[str, str] = {
    "pickup_datetime": "pickup",
    "dropoff_datetime": "dropoff",
    "PULocationID": "pickup_zone",
    "DOLocationID": "dropoff_zone",
    "trip_distance": "distance",
    "duration": "duration",
}
"""The columns of a frame of trips, and what they are called among `Records`."""

Arrays = dict[str, npt.NDArray[Any]]
T = TypeVar("T")


def load_trips(
    taxi: Literal["green", "yellow"],
    months: Sequence[str],
    source: str | os.PathLike[str] | None = None,
    *,
    cleaning: Cleaning | None = None,
    seed: int = 42,
    sample_rows: int = 60_000,
    max_trips: int = MAX_TRIPS,
    engine: Literal["pyarrow", "fastparquet"] | None = None,
) -> pd.DataFrame:
    """
    Load the trips of some months, cleaned and checked.

    Parameters
    ----------
    taxi : {"green", "yellow"}
        Whose records.
    months : sequence of str
        Months such as ``["2021-01", "2021-02"]``, each once.
    source : str, optional
        Where the months are:

        - ``"sample"``: synthetic months, made from `seed`, of `sample_rows` records each;
        - ``"tlc"``: the months that the TLC publishes, downloaded once into ``data/tlc/``;
        - a folder that holds files such as ``green_tripdata_2021-01.parquet``; a relative
          path starts from the project's root;
        - ``s3://bucket/prefix``, or any other URL that fsspec can read.

        Without it: what the environment variable ``TAXI_NB_DATA_DIR`` names if it is set,
        else ``"sample"``.
    cleaning : Cleaning, optional
        The cleaning rules' settings; the default rules without it.
    seed : int
        The seed of a sample. Months of one seed share their zones and streets.
    sample_rows : int
        The records of each month of a sample, broken ones included.
    max_trips : int
        The most trips in the frame. Where the files have more records than that, the frame
        holds trips drawn from them by chance, the same ones each time; a warning, the
        frame's provenance and every title say so. The digest and the cleaning report are
        those of all trips, and training reads all of them, batch by batch.
    engine : {"pyarrow", "fastparquet"}, optional
        The library that decodes the files; the trips are the same. Without it: what the
        environment variable ``TAXI_NB_ENGINE`` names if it is set, else ``"pyarrow"``.

    Returns
    -------
    pandas.DataFrame
        One row for each trip, in the files' order, months in the order given:
        ``pickup_datetime`` and ``dropoff_datetime`` (datetime64[us], New York's clock),
        ``PULocationID`` and ``DOLocationID`` (int32), ``trip_distance`` (float64, miles),
        ``duration`` (float64, minutes). `provenance` tells where they came from.

    Raises
    ------
    TripsError
        If an argument is not as described, a month is missing, a file is broken, or no
        trip of a month is left after cleaning.

    Examples
    --------
    >>> from taxi_nb import load_trips, provenance
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> provenance(trips).title
    'green 2021-01, sample (synthetic)'
    """
    if type(max_trips) is not int or max_trips < 1:
        raise TripsError(f"`max_trips` must be an int of at least 1, got: {max_trips!r}")
    batches = iter_trips(
        taxi,
        months,
        source,
        cleaning=cleaning,
        seed=seed,
        sample_rows=sample_rows,
        engine=engine,
    )
    return batches.one_frame(max_trips)


def iter_trips(
    taxi: Literal["green", "yellow"],
    months: Sequence[str],
    source: str | os.PathLike[str] | None = None,
    *,
    cleaning: Cleaning | None = None,
    seed: int = 42,
    sample_rows: int = 60_000,
    batch_rows: int = BATCH_ROWS,
    engine: Literal["pyarrow", "fastparquet"] | None = None,
) -> TripBatches:
    """
    Go through the trips of some months in batches, in a fixed amount of memory.

    Parameters
    ----------
    taxi, months, source, cleaning, seed, sample_rows, engine
        As in `load_trips`. fastparquet takes a whole row group of the file into memory.
    batch_rows : int
        The most records of a batch.

    Returns
    -------
    TripBatches
        Nothing has been read yet. Each loop over it reads the files again.

    Raises
    ------
    TripsError
        At once if an argument is not as described; in the loop if a month is missing, a
        file is broken, or no trip of a month is left after cleaning.

    Examples
    --------
    >>> from taxi_nb import iter_trips
    >>> batches = iter_trips("green", ["2021-01"], "sample", sample_rows=1_000, batch_rows=400)
    >>> [len(trips) for trips in batches]
    [390, 386, 195]
    >>> batches.provenance.cleaning.rows_kept
    971
    """
    _check_taxi(taxi)
    _check_months(months)
    if type(batch_rows) is not int or batch_rows < 1:
        raise TripsError(f"`batch_rows` must be an int of at least 1, got: {batch_rows!r}")
    rules = _check_cleaning(cleaning)
    place = _open_source(source, Sample(seed, sample_rows))
    return TripBatches(taxi, tuple(months), place, rules, batch_rows, chosen_engine(engine))


class TripBatches:
    """
    The clean trips of some months, to be gone through in batches as often as one likes.

    Each loop reads the files again and gives frames like `load_trips`'; all of them one after
    the other are its frame. While one batch is worked on, the next one is decoded.
    """

    def __init__(
        self,
        taxi: str,
        months: tuple[str, ...],
        place: Source,
        rules: Cleaning,
        batch_rows: int,
        engine: str,
    ) -> None:
        self.taxi = taxi
        self.months = months
        self._place = place
        self._rules = rules
        self._batch_rows = batch_rows
        self._engine = engine
        self._provenance: Provenance | None = None

    @property
    def place(self) -> Source:
        """Where the months are."""
        return self._place

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for arrays in self.arrays(*COLUMNS):
            yield _frame(arrays)

    def arrays(self, *columns: str) -> Iterator[Arrays]:
        """
        Go through the same batches as arrays, without what makes a frame of them.

        Parameters
        ----------
        *columns : str
            Columns of the frame, such as ``"trip_distance"``.

        Yields
        ------
        dict of str to ndarray
            One array for each of `columns`, of equal length.
        """
        unknown = [column for column in columns if column not in COLUMNS]
        if unknown:
            raise ValueError(f"`columns` must be among {list(COLUMNS)}, got: {unknown}")
        yield from self._read(self._fetched(), columns)

    def in_parts(self, work: Callable[[Iterator[CheckedRecords]], T]) -> Iterator[T]:
        """
        Do some work on all records, in parts that are read side by side by all cores.

        How the files are cut into parts, and these into batches, depends on the files alone.
        While a month is worked on the next one is fetched.

        Parameters
        ----------
        work : callable
            Takes the batches of a part: its records, and which of them are trips. Called in
            other threads.

        Yields
        ------
        object
            What the work returned, in the order of the parts.
        """
        read: list[_ReadMonth] = []
        with ThreadPoolExecutor(pa.cpu_count()) as workers:
            try:
                begun = (self._begin(*found, work, workers) for found in self._fetched())
                for reader, results in _one_ahead(begun):
                    for result in results:
                        yield result.result()
                    self._finish(reader, read)
            finally:
                workers.shutdown(cancel_futures=True)
        self._provenance = _origin(self.taxi, self._place, self._rules, read)

    @property
    def provenance(self) -> Provenance:
        """Where the trips came from and what cleaning took out; known after one whole loop."""
        if self._provenance is None:
            for _ in self.arrays():
                pass
        assert self._provenance is not None
        return self._provenance

    def one_frame(self, max_trips: int) -> pd.DataFrame:
        """Return all trips as one frame, or `max_trips` of them drawn by chance."""
        found = list(self._fetched())
        rows = sum(count_rows(content) for _, content in found)
        collected = _Collected(rows, max_trips)
        for arrays in self._read(found, tuple(COLUMNS)):
            collected.add(arrays)
        trips = _frame(collected.arrays())
        stamp(trips, _told(self.provenance, len(trips) if rows > max_trips else None))
        return trips

    def _fetched(self) -> Iterator[tuple[str, MonthContent]]:
        return ((month, self._place.fetch(self.taxi, month)) for month in self.months)

    def _read(
        self, fetched: Iterable[tuple[str, MonthContent]], columns: Sequence[str]
    ) -> Iterator[Arrays]:
        read: list[_ReadMonth] = []
        for month, content in fetched:
            reader = _MonthReader(content, self.taxi, month, self._rules, self._engine)
            yield from reader.batches(columns, self._batch_rows)
            self._finish(reader, read)
        self._provenance = _origin(self.taxi, self._place, self._rules, read)

    def _begin(
        self,
        month: str,
        content: MonthContent,
        work: Callable[[Iterator[CheckedRecords]], T],
        workers: ThreadPoolExecutor,
    ) -> tuple[_MonthReader, list[Future[T]]]:
        reader = _MonthReader(content, self.taxi, month, self._rules, self._engine)
        parts = (reader.checked(PART_BATCH_ROWS, part) for part in parts_of(content))
        return reader, [workers.submit(work, part) for part in parts]

    def _finish(self, reader: _MonthReader, read: list[_ReadMonth]) -> None:
        read.append(reader.finish())
        _check_distinct([done.file for done in read])


def reopen(origin: Provenance, batch_rows: int = BATCH_ROWS) -> TripBatches:
    """
    Go through all trips that a frame's provenance tells of.

    Parameters
    ----------
    origin : Provenance
        Of a frame from `load_trips`.
    batch_rows : int
        The most records that are read at once.

    Returns
    -------
    TripBatches
        A loop over it raises `BrokenFileError` where a file is no longer what it was.
    """
    rules = Cleaning(**origin.cleaning.settings)
    files = _SameFiles(origin)
    return TripBatches(origin.taxi, origin.months, files, rules, batch_rows, chosen_engine(None))


class _SameFiles:
    """The files that trips were read from before, which have to be what they were."""

    def __init__(self, origin: Provenance) -> None:
        self.label = origin.source
        self._files = {file.month: file for file in origin.files}

    def fetch(self, taxi: str, month: str) -> MonthContent:
        file = self._files[month]
        content = open_file(file.path)
        if content.sha256 != file.sha256:
            raise BrokenFileError(f"{file.path} changed since it was loaded; load it again")
        return content


class _MonthReader:
    """Reads one month's clean trips, and keeps count."""

    def __init__(
        self, content: MonthContent, taxi: str, month: str, rules: Cleaning, engine: str
    ) -> None:
        self._content = content
        self._taxi = taxi
        self._month = month
        self._rules = rules
        self._engine = engine
        # Beside the reading: it needs the whole file, the reading some columns of it.
        self._hashing = ThreadPoolExecutor(1)
        self._sha256 = self._hashing.submit(lambda: content.sha256)
        self._counting = Lock()
        self._rows = 0
        self._negative = 0
        self._taken_out = dict.fromkeys(rules.rules, 0)

    def checked(
        self, batch_rows: int, row_groups: Sequence[int] | None = None
    ) -> Iterator[CheckedRecords]:
        found = read_batches(self._content, self._taxi, batch_rows, row_groups, self._engine)
        for records in found:
            kept, taken_out = clean(records, self._month, self._rules)
            self._count(records, kept, taken_out)
            yield records, kept

    def batches(self, columns: Sequence[str], batch_rows: int) -> Iterator[Arrays]:
        for records, kept in self.checked(batch_rows):
            try:
                yield _kept_columns(records, kept, columns)
            except GeneratorExit:  # Who has seen enough has used the file all the same.
                self._tell()
                raise

    def _count(self, records: Records, kept: Mask, taken_out: dict[str, int]) -> None:
        negative = int(np.count_nonzero((records.distance < 0) & kept))
        with self._counting:
            self._rows += len(records)
            self._negative += negative
            for rule, count in taken_out.items():
                self._taken_out[rule] += count

    def finish(self) -> _ReadMonth:
        counts = MonthCounts(self._month, self._rows, self._taken_out)
        if not counts.rows_kept:
            raise NoTripsError(_no_trips(self._content.path, counts, self._rules))
        if self._negative:
            logger.warning(
                "%s: %s trips have a negative distance and stay; Cleaning(min_distance=0) "
                "takes them out",
                self._content.path,
                f"{self._negative:,}",
            )
        # After the records: a file that is not what it should be is answered sooner.
        self._tell()
        file = MonthFile(
            month=self._month,
            path=self._content.path,
            sha256=self._sha256.result(),
            rows=counts.rows_in,
            size=self._content.size,
        )
        self._hashing.shutdown()
        self._content.check_unchanged()
        return _ReadMonth(file, counts, is_synthetic(self._content))

    def _tell(self) -> None:
        used_data(f"{self._taxi} {self._month}", self._content.path, self._sha256.result())


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """Take each item when the one before it is yet to be worked on."""
    current = next(items, None)
    while current is not None:
        following = next(items, None)
        yield current
        current = following


class _ReadMonth(NamedTuple):
    """What is to be remembered of a month's file."""

    file: MonthFile
    counts: MonthCounts
    synthetic: bool


def _check_distinct(files: Sequence[MonthFile]) -> None:
    *before, newest = files
    for file in before:
        if file.sha256 == newest.sha256:
            raise TripsError(
                f"{newest.path} is the same file as {file.path}: one of the months "
                f"{file.month} and {newest.month} is a copy of the other"
            )


def _kept_columns(records: Records, kept: Mask, columns: Sequence[str]) -> Arrays:
    every = bool(kept.all())
    arrays = {column: getattr(records, COLUMNS[column]) for column in columns}
    return arrays if every else {name: values[kept] for name, values in arrays.items()}


_COLUMN_TYPES = {
    "pickup_datetime": "datetime64[us]",
    "dropoff_datetime": "datetime64[us]",
    "PULocationID": "int32",
    "DOLocationID": "int32",
    "trip_distance": "float64",
    "duration": "float64",
}


class _Collected:
    """Batches put one after the other into columns that are made once."""

    def __init__(self, rows: int, max_trips: int) -> None:
        room = min(rows, max_trips)
        self._columns = {name: np.empty(room, dtype) for name, dtype in _COLUMN_TYPES.items()}
        self._length = 0
        self._share = max_trips / max(rows, 1)
        self._chance = np.random.default_rng(0)

    def add(self, arrays: Arrays) -> None:
        if self._share < 1:
            arrays = self._drawn(arrays)
        start, self._length = self._length, self._length + len(arrays["duration"])
        for name, values in arrays.items():
            self._columns[name][start : self._length] = values

    def arrays(self) -> Arrays:
        return {name: values[: self._length] for name, values in self._columns.items()}

    def _drawn(self, arrays: Arrays) -> Arrays:
        room = len(self._columns["duration"]) - self._length
        chosen = np.flatnonzero(self._chance.random(len(arrays["duration"])) < self._share)[:room]
        return {name: values[chosen] for name, values in arrays.items()}


def _told(origin: Provenance, drawn: int | None) -> Provenance:
    if drawn is None:
        return origin
    logger.warning(
        "the frame holds %s trips drawn from the %s of %s; training reads all of them in batches",
        f"{drawn:,}",
        f"{origin.cleaning.rows_kept:,}",
        origin.title,
    )
    return replace(origin, drawn=drawn)


def _frame(arrays: Arrays) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(arrays, copy=False)


def _no_trips(path: str, counts: MonthCounts, rules: Cleaning) -> str:
    if not counts.rows_in:
        return f"{path} holds no records"
    taken = [
        f"{count:,} for: {rules.rules[rule]}" for rule, count in counts.taken_out.items() if count
    ]
    return f"no trip of {path} is left: of {counts.rows_in:,} records, {', '.join(taken)}"


def _origin(taxi: str, place: Source, rules: Cleaning, loaded: list[_ReadMonth]) -> Provenance:
    counts = tuple(month.counts for month in loaded)
    return Provenance(
        taxi=taxi,
        months=tuple(month.file.month for month in loaded),
        source=place.label,
        synthetic=any(month.synthetic for month in loaded),
        files=tuple(month.file for month in loaded),
        cleaning=CleaningReport(rules.to_dict(), rules.rules, counts),
    )


def _open_source(source: str | os.PathLike[str] | None, sample: Sample) -> Source:
    if source is None:
        return local_place() or sample
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        raise TripsError(
            "`source` must be 'sample', 'tlc', a folder of months or a URL such as "
            f"s3://bucket/prefix, got: {source!r}"
        )
    text = str(os.fspath(source))
    if text == "sample":
        return sample
    return Tlc() if text == "tlc" else open_place(text)


def _check_taxi(taxi: object) -> None:
    if not isinstance(taxi, str) or taxi not in STAMP_PREFIX:
        known = " or ".join(map(repr, STAMP_PREFIX))
        raise TripsError(f"`taxi` must be {known}, got: {taxi!r}")


def _check_months(months: object) -> None:
    if isinstance(months, str):
        raise _wrong_months(months, "a string; put it in a list")
    if not isinstance(months, Sequence) or not months:
        raise _wrong_months(months)
    for month in months:
        if not isinstance(month, str) or not MONTH.fullmatch(month):
            raise _wrong_months(month)
    repeated = sorted({month for month in months if months.count(month) > 1})
    if repeated:
        raise _wrong_months(repeated[0], "given twice")


def _wrong_months(value: object, why: str = "") -> TripsError:
    reason = f" ({why})" if why else ""
    return TripsError(
        f"`months` must be a list of months such as ['2021-01', '2021-02'], got: {value!r}{reason}"
    )


def _check_cleaning(cleaning: object) -> Cleaning:
    if cleaning is None:
        return Cleaning()
    if not isinstance(cleaning, Cleaning):
        raise TripsError(f"`cleaning` must be a Cleaning or None, got: {cleaning!r}")
    return cleaning

"""From a taxi, months and a source to clean trips: all in one frame, or batch by batch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from taxi_nb.trips._tlc import Tlc
from taxi_nb.trips.arguments import require_count, require_months, require_taxi
from taxi_nb.trips.batches import TripBatches
from taxi_nb.trips.checks import checks_in_force
from taxi_nb.trips.cleaning import CleaningSettings, cleaning_of
from taxi_nb.trips.engines import chosen_engine
from taxi_nb.trips.errors import TripsError
from taxi_nb.trips.reading import BATCH_ROWS
from taxi_nb.trips.sample import SAMPLE_ROWS, Sample
from taxi_nb.trips.sources import Source, local_place, open_place

if TYPE_CHECKING:
    import pandas as pd

# A frame of so many takes 0.4 GB, training on it a few. The number is fixed, and not taken from
# the machine's memory: the same parameters have to give the same results everywhere.
MAX_TRIPS = 10_000_000


def load_trips(
    taxi: Literal["green", "yellow"],
    months: Sequence[str],
    source: str | os.PathLike[str] | None = None,
    *,
    cleaning: CleaningSettings | None = None,
    seed: int = 42,
    sample_rows: int = SAMPLE_ROWS,
    max_trips: int = MAX_TRIPS,
    engine: Literal["pyarrow", "fastparquet"] | None = None,
    scheduler: str | None = None,
    checks: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Load the trips of some months, cleaned and checked.

    Parameters
    ----------
    taxi : {"green", "yellow"}
        Whose records.
    months : sequence of str
        Months such as ``["2021-01", "2021-02"]``, each once.
    source : str, optional
        Where the months are:

        - ``"sample"``: synthetic months, made from `seed`, of about `sample_rows` records each;
        - ``"tlc"``: the months that the TLC publishes, downloaded once into ``data/tlc/``;
        - a folder of files such as ``green_tripdata_2021-01.parquet``; a relative path starts
          from the project's root;
        - ``s3://bucket/prefix``, or any other URL that fsspec can read.

        Without it: what ``TAXI_NB_DATA_DIR`` names in the environment, else ``"sample"``.
    cleaning : Cleaning or dict, optional
        The settings of the cleaning rules that differ, such as ``{"max_distance": 100}``.
    seed : int
        The seed of a sample. Months of one seed share their zones and streets.
    sample_rows : int
        The records of January 2021 in a sample, broken ones included; other months have 0.7 to
        1.4 times as many.
    max_trips : int
        The most trips in the frame. If the files have more, it holds trips drawn by chance, the
        same ones each time. A warning, the frame's provenance and every title say so. Digest and
        cleaning report are those of all trips, and training reads all, batch by batch.
    engine : {"pyarrow", "fastparquet"}, optional
        What decodes the files; the trips are the same. Without it: what ``TAXI_NB_ENGINE``
        names in the environment, else ``"pyarrow"``.
    scheduler : str, optional
        The address of a Dask scheduler, such as ``"tcp://10.0.0.1:8786"`` (needs the extra
        ``distributed``). Its workers read the files, from the same `source`, which all have to
        reach; `train` counts, sums and measures there as well. Trips, counts and statistics are
        those of one machine, to the last bit.
    checks : mapping, optional
        What each month has to pass, as `checks` of a pipeline file says it:
        ``{"left_out": "5%", "missing_days": 0}``. In a step of a pipeline the file's checks
        count; of one name that given here.

    Returns
    -------
    pandas.DataFrame
        A row for each trip, months in the order given: ``pickup_datetime`` and
        ``dropoff_datetime`` (datetime64[us], New York's clock), ``PULocationID`` and
        ``DOLocationID`` (int32), ``trip_distance`` (float64, miles), ``duration`` (float64,
        minutes). `provenance` tells where they came from.

    Raises
    ------
    TripsError
        If an argument is wrong, a month missing, a file broken, or no trip left in a month; its
        kind `CheckError` if a month does not pass a check.

    Examples
    --------
    >>> from taxi_nb import load_trips, provenance
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> provenance(trips).title
    'green 2021-01, sample (synthetic)'
    """
    require_count("max_trips", max_trips)
    batches = iter_trips(
        taxi,
        months,
        source,
        cleaning=cleaning,
        seed=seed,
        sample_rows=sample_rows,
        engine=engine,
        scheduler=scheduler,
        checks=checks,
    )
    return batches.one_frame(max_trips)


def iter_trips(
    taxi: Literal["green", "yellow"],
    months: Sequence[str],
    source: str | os.PathLike[str] | None = None,
    *,
    cleaning: CleaningSettings | None = None,
    seed: int = 42,
    sample_rows: int = SAMPLE_ROWS,
    batch_rows: int = BATCH_ROWS,
    engine: Literal["pyarrow", "fastparquet"] | None = None,
    scheduler: str | None = None,
    checks: Mapping[str, Any] | None = None,
) -> TripBatches:
    """Go through the trips of some months in batches, in a fixed amount of memory.

    Parameters
    ----------
    taxi, months, source, cleaning, seed, sample_rows, engine, scheduler, checks
        As in `load_trips`. fastparquet takes a whole row group of the file into memory. Where
        there are checks, the months are read once before the first batch comes.
    batch_rows : int
        The most records of a batch.

    Returns
    -------
    TripBatches
        Nothing has been read yet. Each loop over it reads the files again.

    Raises
    ------
    TripsError
        At once if an argument is wrong; in the loop as `load_trips`.

    Examples
    --------
    >>> from taxi_nb import iter_trips
    >>> batches = iter_trips("green", ["2021-01"], "sample", sample_rows=1_000, batch_rows=400)
    >>> [len(trips) for trips in batches]
    [389, 388, 194]
    >>> batches.provenance.cleaning.rows_kept
    971
    """
    require_taxi(taxi)
    require_months(months)
    require_count("batch_rows", batch_rows)
    rules = cleaning_of(cleaning)
    place = place_of(source, Sample(seed, sample_rows))
    in_force = checks_in_force(checks)
    return TripBatches(
        taxi, tuple(months), place, rules, batch_rows, chosen_engine(engine), scheduler, in_force
    )


def place_of(source: str | os.PathLike[str] | None, sample: Sample) -> Source:
    """Return the place that a source names; the sample where it is that."""
    if source is None:
        return local_place() or sample
    if not isinstance(source, str | os.PathLike) or not os.fspath(source):
        must = "'sample', 'tlc', a folder of months or a URL such as s3://bucket/prefix"
        raise TripsError(f"`source` must be {must}, got: {source!r}")
    text = str(os.fspath(source))
    if text == "sample":
        return sample
    return Tlc() if text == "tlc" else open_place(text)

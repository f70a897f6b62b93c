"""From a taxi, months and a source to a clean frame of trips."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from taxi_nb.inputs import used_data
from taxi_nb.trips.cleaning import Cleaning, clean_month
from taxi_nb.trips.errors import NoTripsError, TripsError
from taxi_nb.trips.origin import MonthFile, Provenance, stamp
from taxi_nb.trips.reading import STAMP_PREFIX, MonthContent, is_synthetic, read_month
from taxi_nb.trips.report import CleaningReport, MonthCounts
from taxi_nb.trips.sample import Sample
from taxi_nb.trips.schema import validate_trips
from taxi_nb.trips.sources import Source, local_place, open_place
from taxi_nb.trips.tlc import Tlc

__all__ = ["load_trips"]

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


def load_trips(
    taxi: Literal["green", "yellow"],
    months: Sequence[str],
    source: str | os.PathLike[str] | None = None,
    *,
    cleaning: Cleaning | None = None,
    seed: int = 42,
    sample_rows: int = 60_000,
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
    >>> from taxi_nb.trips import load_trips, provenance
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> provenance(trips).title
    'green 2021-01, sample (synthetic)'
    """
    _check_taxi(taxi)
    _check_months(months)
    rules = _check_cleaning(cleaning)
    place = _open_source(source, Sample(seed, sample_rows))
    loaded = [_load_month(place, taxi, month, rules) for month in months]
    trips = pd.concat([month.trips for month in loaded], ignore_index=True)
    validate_trips(trips, rules)
    stamp(trips, _origin(taxi, place, rules, loaded))
    return trips


class _Month:
    """A month's clean trips, and what is to be remembered of its file."""

    def __init__(
        self,
        content: MonthContent,
        sha256: str,
        trips: pd.DataFrame,
        counts: MonthCounts,
        synthetic: bool,
    ) -> None:
        self.trips = trips
        self.counts = counts
        self.synthetic = synthetic
        self.file = MonthFile(
            month=counts.month,
            path=content.path,
            sha256=sha256,
            rows=counts.rows_in,
            size=content.data.size,
        )


def _load_month(place: Source, taxi: str, month: str, rules: Cleaning) -> _Month:
    content = place.fetch(taxi, month)
    sha256 = hashlib.sha256(content.data).hexdigest()
    used_data(f"{taxi} {month}", content.path, sha256)
    trips, counts = clean_month(read_month(content, taxi), month, rules)
    if not counts.rows_kept:
        raise NoTripsError(_no_trips(content.path, counts, rules))
    return _Month(content, sha256, trips, counts, is_synthetic(content))


def _no_trips(path: str, counts: MonthCounts, rules: Cleaning) -> str:
    if not counts.rows_in:
        return f"{path} holds no records"
    taken = [
        f"{count:,} for: {rules.rules[rule]}" for rule, count in counts.taken_out.items() if count
    ]
    return f"no trip of {path} is left: of {counts.rows_in:,} records, {', '.join(taken)}"


def _origin(taxi: str, place: Source, rules: Cleaning, loaded: list[_Month]) -> Provenance:
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

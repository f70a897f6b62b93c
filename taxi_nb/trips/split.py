"""Two sets of trips: one to learn from and one to be judged on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from taxi_nb.trips.cleaning import CleaningSettings
from taxi_nb.trips.loading import MAX_TRIPS, load_trips
from taxi_nb.trips.origin import provenance
from taxi_nb.trips.sample import SAMPLE_ROWS

if TYPE_CHECKING:
    import pandas as pd


def load_split(
    taxi: Literal["green", "yellow"],
    train_months: Sequence[str],
    valid_months: Sequence[str],
    source: str | os.PathLike[str] | None = None,
    *,
    cleaning: CleaningSettings | None = None,
    seed: int = 42,
    sample_rows: int = SAMPLE_ROWS,
    max_trips: int = MAX_TRIPS,
    engine: Literal["pyarrow", "fastparquet"] | None = None,
    scheduler: str | None = None,
    checks: Mapping[str, Any] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Load the trips of the months to learn from, and of those to be judged on.

    Parameters
    ----------
    train_months, valid_months : sequence of str
        Months such as ``["2021-01"]``.
    taxi, source, cleaning, seed, sample_rows, max_trips, engine, scheduler, checks
        As in `load_trips`, for both.

    Returns
    -------
    training, validation : DataFrame

    Raises
    ------
    TripsError
        As `load_trips`.

    Examples
    --------
    >>> from taxi_nb import load_split
    >>> sets = load_split("green", ["2021-01"], ["2021-02"], "sample", sample_rows=1_000)
    >>> [len(trips) for trips in sets]
    [971, 946]
    """
    trips_of = partial(
        load_trips,
        taxi,
        source=source,
        cleaning=cleaning,
        seed=seed,
        sample_rows=sample_rows,
        max_trips=max_trips,
        engine=engine,
        scheduler=scheduler,
        checks=checks,
    )
    return trips_of(train_months), trips_of(valid_months)


def require_disjoint(training: pd.DataFrame, validation: pd.DataFrame) -> None:
    """Refuse to validate on months that were trained on."""
    known, new = provenance(training), provenance(validation)
    if shared := set(known.months) & set(new.months):
        raise ValueError(
            "`training` and `validation` must not share a month, both have: "
            + ", ".join(sorted(shared))
        )
    copied = [
        (old.path, file.path) for old in known.files for file in new.files if file.has_trips_of(old)
    ]
    if copied:
        raise ValueError(
            "`training` and `validation` must not share trips, and these files hold the same: "
            + "; ".join(map(" and ".join, copied))
        )


def split_by_time(trips: pd.DataFrame, share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the earlier trips, and the share of them that is last by pick-up."""
    is_earlier = trips["pickup_datetime"] < trips["pickup_datetime"].quantile(1 - share)
    return trips[is_earlier], trips[~is_earlier]

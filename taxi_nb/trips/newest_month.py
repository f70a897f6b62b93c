"""The newest month that a source has."""

from __future__ import annotations

import datetime as dt
import logging
import os
from collections.abc import Mapping
from typing import Any

from taxi_nb.calendar_months import month_plus
from taxi_nb.trips._tlc import Tlc, is_published, months_here
from taxi_nb.trips.arguments import require_taxi
from taxi_nb.trips.errors import DownloadError, MissingMonthError, TripsError
from taxi_nb.trips.loading import place_of
from taxi_nb.trips.sample import Sample
from taxi_nb.trips.sources import Place, months_among

logger = logging.getLogger(__name__)

# The TLC is asked no further back: it publishes about two months after a month's end.
_MONTHS_BACK = 12


def newest_month(taxi: str, source: str | os.PathLike[str] | None = None) -> str:
    """Return the newest month that a source has.

    Parameters
    ----------
    taxi, source
        As in `load_trips`. The TLC is asked which months it has published; what is on this
        machine already counts too.

    Returns
    -------
    str
        Such as ``"2023-03"``.

    Raises
    ------
    TripsError
        If there is none, if the source cannot be asked, or if it makes any month: a sample.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for month in ("2021-12", "2022-01"):
    ...         Path(folder, f"green_tripdata_{month}.parquet").touch()
    ...     newest_month("green", folder)
    '2022-01'
    """
    require_taxi(taxi)
    place = place_of(source, Sample(0))
    if isinstance(place, Sample):
        raise TripsError("a sample is made for any month; name one, such as 2021-06")
    if isinstance(place, Tlc):
        return _newest_of_tlc(taxi)
    assert isinstance(place, Place)
    if months := months_among(place.names(), taxi):
        return months[-1]
    raise MissingMonthError(f"{place.label} has no month of {taxi}")


def newest_month_of(settings: Mapping[str, Any]) -> str:
    """Return the newest month of the source and taxi that a pipeline's parameters name."""
    return newest_month(settings.get("taxi", "green"), settings.get("source"))


def _newest_of_tlc(taxi: str) -> str:
    here = max(months_here(taxi), default="")
    asked = f"{dt.datetime.now(dt.UTC):%Y-%m}"
    try:
        for _ in range(_MONTHS_BACK):
            if asked <= here:
                break
            if is_published(taxi, asked):
                return asked
            asked = month_plus(asked, -1)
    except DownloadError as error:
        if not here:
            raise DownloadError(
                f"{error}. Without a network, name a month, or a folder of months as the source"
            ) from None
        logger.warning("%s; of the months on this machine the newest is taken, %s", error, here)
    if not here:
        raise MissingMonthError(f"the TLC has no month of {taxi} since {asked}")
    return here

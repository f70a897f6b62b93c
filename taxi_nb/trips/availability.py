"""Whether a source has months, before any of them is read."""

from __future__ import annotations

from collections.abc import Iterable

from taxi_nb.project import data_dir
from taxi_nb.trips._tlc import Tlc, is_published
from taxi_nb.trips.errors import DownloadError, MissingMonthError, UnreachableError
from taxi_nb.trips.loading import place_of
from taxi_nb.trips.sample import Sample
from taxi_nb.trips.sources import Folder, Place, local_place, months_among


def require_months(source: str, taxi: str, months: Iterable[str]) -> None:
    """Ask a source, once, whether it has months; those on this machine need no network.

    Raises `MissingMonthError` if it lacks one, `UnreachableError` if it does not answer, another
    `TripsError` if it is no source.
    """
    place = place_of(source, Sample(0))
    if isinstance(place, Place):
        place.require(taxi, months)
    elif isinstance(place, Tlc):
        own = data_dir() / "tlc"
        places = [local_place(), Folder(own) if own.is_dir() else None]
        here = {month for one in places if one for month in months_among(one.names(), taxi)}
        for month in sorted(set(months) - here):
            _require_published(taxi, month)


def _require_published(taxi: str, month: str) -> None:
    try:
        is_there = is_published(taxi, month)
    except UnreachableError as error:
        hint = "without a network, let `source` be a folder of months"
        raise UnreachableError(f"{error}; {hint}") from None
    except DownloadError:
        return  # A server that stumbles may serve the step, which tries more than once.
    if not is_there:
        raise MissingMonthError(f"the TLC has published no {month} of {taxi} taxis")

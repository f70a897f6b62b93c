"""Whether a source has months, before any of them is read."""

from __future__ import annotations

from collections.abc import Iterable

from taxi_nb.trips._tlc import Tlc, is_published, months_here
from taxi_nb.trips.errors import DownloadError, MissingMonthError, UnreachableError
from taxi_nb.trips.loading import place_of
from taxi_nb.trips.sample import Sample
from taxi_nb.trips.sources import Place


def require_months(source: str, taxi: str, months: Iterable[str]) -> None:
    """Ask a source, once, whether it has months; those on this machine need no network.

    Raises `MissingMonthError` if it lacks one, `UnreachableError` if it does not answer, another
    `TripsError` if it is no source.
    """
    place = place_of(source, Sample(0))
    if isinstance(place, Place):
        place.require(taxi, months)
    elif isinstance(place, Tlc):
        for month in sorted(set(months) - months_here(taxi)):
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

"""
Trips: where they come from, what a trip is, loading them.

Names are imported when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taxi_nb.models.zones import boroughs, zone_table
    from taxi_nb.trips.cleaning import Cleaning
    from taxi_nb.trips.errors import (
        BrokenFileError,
        DownloadError,
        MissingMonthError,
        NoTripsError,
        SchemaError,
        TripsError,
    )
    from taxi_nb.trips.loading import TripBatches, iter_trips, load_trips
    from taxi_nb.trips.origin import MonthFile, Provenance, provenance
    from taxi_nb.trips.report import CleaningReport, MonthCounts
    from taxi_nb.trips.sample import BROKEN_SHARES
    from taxi_nb.trips.schema import trips_schema, validate_trips

__all__ = [
    "BROKEN_SHARES",
    "BrokenFileError",
    "Cleaning",
    "CleaningReport",
    "DownloadError",
    "MissingMonthError",
    "MonthCounts",
    "MonthFile",
    "NoTripsError",
    "Provenance",
    "SchemaError",
    "TripBatches",
    "TripsError",
    "boroughs",
    "iter_trips",
    "load_trips",
    "provenance",
    "trips_schema",
    "validate_trips",
    "zone_table",
]

_HOMES = {
    "BROKEN_SHARES": ".sample",
    "BrokenFileError": ".errors",
    "Cleaning": ".cleaning",
    "CleaningReport": ".report",
    "DownloadError": ".errors",
    "MissingMonthError": ".errors",
    "MonthCounts": ".report",
    "MonthFile": ".origin",
    "NoTripsError": ".errors",
    "Provenance": ".origin",
    "SchemaError": ".errors",
    "TripBatches": ".loading",
    "TripsError": ".errors",
    "boroughs": "taxi_nb.models.zones",
    "iter_trips": ".loading",
    "load_trips": ".loading",
    "provenance": ".origin",
    "trips_schema": ".schema",
    "validate_trips": ".schema",
    "zone_table": "taxi_nb.models.zones",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

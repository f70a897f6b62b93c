"""Trips that somebody asks about over HTTP, checked before the model sees them.

A request is bounded: in bytes, in trips, in depth. What is no trip is refused with the trip and
the column, since a model has a number for any zone and any distance.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from taxi_nb.scoring._month_records import AT_PICKUP

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 2 << 20
MOST_TRIPS = 10_000
_ZONES = 265
# What pandas can tell in nanoseconds.
_YEARS = range(1678, 2262)
_FORMS = ("dataframe_records", "dataframe_split")
_SPLIT = ("columns", "data")


class RequestError(ValueError):
    """A request that cannot be answered; the message says what is wrong with it."""


@dataclass(frozen=True)
class RequestedTrips:
    """Trips that were asked about: those of the columns of `AT_PICKUP` that every trip has."""

    columns: Mapping[str, npt.NDArray[Any]]
    count: int

    @classmethod
    def together(cls, parts: Sequence[RequestedTrips]) -> RequestedTrips:
        """Put trips one after the other; all have the same columns."""
        if len(parts) == 1:
            return parts[0]
        columns = {
            name: np.concatenate([part.columns[name] for part in parts])
            for name in parts[0].columns
        }
        return cls(columns, sum(part.count for part in parts))

    def frame(self) -> pd.DataFrame:
        """Return them as a table, a row a trip."""
        import pandas as pd

        return pd.DataFrame(self.columns)


def requested_trips(body: bytes, needed: Collection[str]) -> RequestedTrips:
    """Read the trips of a request in one of MLflow's forms for JSON.

    Parameters
    ----------
    body : bytes
        ``{"dataframe_records": [{column: value}]}``, or ``{"dataframe_split": {"columns": [...],
        "data": [[...]]}}``; other columns than those of `AT_PICKUP` are left out.
    needed : collection of str
        Those that the model reads: every trip must have them.

    Raises
    ------
    RequestError
        If it is too large, no JSON of these forms, or something in it is no trip.

    Examples
    --------
    >>> requested_trips(b'{"dataframe_records": [{"trip_distance": 1.8}]}', []).frame()
       trip_distance
    0            1.8
    """
    if len(body) > MOST_BYTES:
        raise RequestError(f"a request may have {MOST_BYTES:,} bytes; send fewer trips at once")
    # Before anything is made of it: two million brackets would be as many objects.
    if (found := sum(map(body.count, (b"{", b"[")))) > MOST_TRIPS + 10:
        raise RequestError(f"a request may have {MOST_TRIPS:,} trips, got {found:,} brackets")
    try:
        content = json.loads(body)
    except RecursionError:
        raise RequestError("the JSON is nested too deeply to be trips") from None
    except ValueError as error:
        raise RequestError(f"no JSON in UTF-8: {error}"[:200]) from None
    return _trips(_records(content), needed)


def _records(content: Any) -> Sequence[Mapping[str, Any]]:
    form = next((name for name in _FORMS if isinstance(content, dict) and name in content), None)
    if form is None:
        raise RequestError(f"must be an object with {' or '.join(map(repr, _FORMS))}")
    found = content[form]
    if form == "dataframe_split":
        names, rows = (found.get(key) if isinstance(found, dict) else 0 for key in _SPLIT)
        if not (isinstance(names, list) and isinstance(rows, list)):
            raise RequestError(f"{form!r} must have the lists {_SPLIT[0]!r} and {_SPLIT[1]!r}")
        if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
            raise RequestError(f"{form!r}: each row must have a value for each column")
        if not all(isinstance(name, str) for name in names):
            raise RequestError(f"{form!r}: columns must be texts")
        _require_few(rows)
        return [dict(zip(names, row, strict=True)) for row in rows]
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise RequestError(f"{form!r} must be a list of objects, one for each trip")
    _require_few(found)
    return found


def _require_few(trips: Sequence[Any]) -> None:
    if not 1 <= len(trips) <= MOST_TRIPS:
        raise RequestError(f"a request must have 1 to {MOST_TRIPS:,} trips, got {len(trips):,}")


def _trips(records: Sequence[Mapping[str, Any]], needed: Collection[str]) -> RequestedTrips:
    columns = {}
    for name in AT_PICKUP:
        values = [record.get(name) for record in records]
        there = _column(name, values)
        if there is None:  # Slowly: which trip is it, and is it wrong or only left out?
            _require_trips(name, values, is_needed=name in needed)
        else:
            columns[name] = there
    return RequestedTrips(columns, len(records))


def _column(name: str, values: list[Any]) -> npt.NDArray[Any] | None:
    """Return a column of the signature's type; None if a value is missing or wrong."""
    kinds = set(map(type, values))
    if name == "pickup_datetime":
        try:
            times = [datetime.fromisoformat(value) for value in values] if kinds == {str} else []
        except ValueError:
            return None
        if not times or any(one.tzinfo or one.year not in _YEARS for one in times):
            return None
        return np.array(times, "datetime64[us]").astype("datetime64[ns]")
    if not kinds <= {int, float}:
        return None
    try:
        numbers = np.array(values, np.float64)
    except OverflowError:
        return None
    if name == "trip_distance":
        return numbers if bool(((numbers >= 0) & np.isfinite(numbers)).all()) else None
    zones = np.isin(numbers, np.arange(1, _ZONES + 1)).all()
    return numbers.astype(np.int64) if zones else None


def _require_trips(name: str, values: list[Any], *, is_needed: bool) -> None:
    for number, value in enumerate(values, 1):
        if value is None:
            if is_needed:
                raise RequestError(f"trip {number}: {name} is missing")
        elif _column(name, [value]) is None:
            raise RequestError(f"trip {number}: {name} must be {_MUST[name]}, got {value!r:.60}")


_MUST = dict.fromkeys(AT_PICKUP, f"the number of a zone, 1 to {_ZONES}")
_MUST |= {
    "trip_distance": "0 or more miles",
    "pickup_datetime": "New York's time in ISO 8601 without a zone, such as 2021-03-01T08:30:00",
}

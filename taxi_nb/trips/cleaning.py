"""The rules that decide which records are trips."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from taxi_nb.trips.arguments import require
from taxi_nb.trips.errors import TripsError
from taxi_nb.trips.records import Mask, Records

LAST_ZONE = 265

CheckedRecords = tuple[Records, Mask]
"""Records, and which of them are trips."""


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """The settings of the cleaning rules. Every bound is inclusive.

    Parameters
    ----------
    min_minutes, max_minutes : float
        The shortest and the longest duration of a trip, in minutes.
    min_zone, max_zone : int
        The lowest and the highest zone number, of pick-up and drop-off alike.
    within_month : bool
        Whether a trip must start in the month that its file is named after.
    min_distance, max_distance : float, optional
        The shortest and the longest distance of a trip, in miles. Without them no trip
        is taken out for its distance, however impossible.

    Raises
    ------
    ValueError
        If a setting is not a number, or a lower bound is above its upper bound.

    Examples
    --------
    >>> from taxi_nb import Cleaning
    >>> Cleaning(max_distance=100).max_distance
    100
    """

    min_minutes: float = 1.0
    max_minutes: float = 60.0
    min_zone: int = 1
    max_zone: int = LAST_ZONE
    within_month: bool = True
    min_distance: float | None = None
    max_distance: float | None = None

    def __post_init__(self) -> None:
        for kind in ("minutes", "zone", "distance"):
            low, high = f"min_{kind}", f"max_{kind}"
            bounds = {name: getattr(self, name) for name in (low, high)}
            given = {name: value for name, value in bounds.items() if value is not None}
            for name, value in given.items():
                _check_number(name, value, is_zone=kind == "zone")
            if len(given) == 2 and given[low] > given[high]:
                raise ValueError(
                    f"`{low}` must not be above `{high}`, got: {given[low]!r} > {given[high]!r}"
                )
        within = self.within_month
        require(isinstance(within, bool), "within_month", within, "be True or False")

    @property
    def rules(self) -> dict[str, str]:
        """The names of the rules in force, in the order they are applied, with what each says."""
        rules = {"missing": "a time, zone or distance is missing"}
        if self.within_month:
            rules["month"] = "pick-up outside the month"
        rules["zone"] = f"zone outside {self.min_zone} to {self.max_zone}"
        rules["short"] = f"shorter than {_count(self.min_minutes, 'minute')}"
        rules["long"] = f"longer than {_count(self.max_minutes, 'minute')}"
        match self.min_distance, self.max_distance:
            case None, None:
                pass
            case low, None:
                rules["distance"] = f"distance under {_count(low, 'mile')}"
            case None, high:
                rules["distance"] = f"distance over {_count(high, 'mile')}"
            case low, high:
                rules["distance"] = f"distance outside {low:g} to {_count(high, 'mile')}"
        return rules


CleaningSettings = Cleaning | Mapping[str, Any]
"""The settings as `Cleaning`, or those that differ from the default as a dict."""


def cleaning_of(settings: CleaningSettings | None) -> Cleaning:
    """Return the rules of some settings; `TripsError` if a setting is unknown or wrong."""
    if settings is None or isinstance(settings, Cleaning):
        return settings or Cleaning()
    if not isinstance(settings, Mapping):
        raise TripsError(f"`cleaning` must be a Cleaning, a dict or None, got: {settings!r}")
    known = [field.name for field in fields(Cleaning)]
    for name in settings:
        if name not in known:
            raise TripsError(
                f"`cleaning` has no setting {name!r}; its settings are {', '.join(known)}"
            )
    try:
        return Cleaning(**settings)
    except ValueError as error:
        raise TripsError(f"`cleaning`: {error}") from None


def clean(records: Records, month: str, cleaning: Cleaning) -> tuple[Mask, dict[str, int]]:
    """Tell which records of a month are trips, and how many each rule takes out.

    A record counts once, under the first rule that it breaks.
    """
    kept = np.ones(len(records), dtype=np.bool_)
    taken_out = {}
    left = len(records)
    for rule in cleaning.rules:
        keeps = _keeping(rule, records, month, cleaning)
        if keeps is not None:
            kept &= keeps
        before, left = left, int(np.count_nonzero(kept))
        taken_out[rule] = before - left
    return kept, taken_out


def _keeping(rule: str, records: Records, month: str, cleaning: Cleaning) -> Mask | None:
    """Return which records keep a rule; None where all do."""
    match rule:
        case "missing":
            return None if records.missing is None else ~records.missing
        case "month":
            first = np.datetime64(month, "M")
            start, end = np.array([first, first + 1]).astype("datetime64[us]").view(np.int64)
            return _within(records.pickup.view(np.int64), start, end - 1)
        case "zone":
            low, high = cleaning.min_zone, cleaning.max_zone
            known = _within(records.pickup_zone, low, high)
            return known & _within(records.dropoff_zone, low, high)
        case "short":
            return np.asarray(records.duration >= cleaning.min_minutes)
        case "long":
            return np.asarray(records.duration <= cleaning.max_minutes)
    shortest = -math.inf if cleaning.min_distance is None else cleaning.min_distance
    longest = math.inf if cleaning.max_distance is None else cleaning.max_distance
    return _within(records.distance, shortest, longest)


def _within(values: npt.NDArray[Any], low: float, high: float) -> Mask:
    return np.asarray((values >= low) & (values <= high))


def _check_number(name: str, value: Any, *, is_zone: bool) -> None:
    if is_zone:
        on_the_map = type(value) is int and 1 <= value <= LAST_ZONE
        require(on_the_map, name, value, f"be an int from 1 to {LAST_ZONE}")
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    require(is_number and math.isfinite(value), name, value, "be a finite number")
    require(value >= 0, name, value, "not be negative")


def _count(number: float | None, unit: str) -> str:
    return f"{number:g} {unit}" if number == 1 else f"{number:g} {unit}s"

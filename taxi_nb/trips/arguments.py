"""Arguments, checked before anything is read: one sentence names each, and what it must be."""

from __future__ import annotations

from collections.abc import Sequence

from taxi_nb.calendar_months import is_month
from taxi_nb.trips.errors import TripsError
from taxi_nb.trips.records import STAMP_PREFIX


def require(
    holds: bool, name: str, value: object, must: str, error: type[ValueError] = ValueError
) -> None:
    """Raise an error that names an argument unless its condition holds."""
    if not holds:
        raise error(f"`{name}` must {must}, got: {value!r}")


def require_count(name: str, value: object, at_least: int = 1) -> None:
    """Require a whole number."""
    holds = type(value) is int and value >= at_least
    require(holds, name, value, f"be an int of at least {at_least}", TripsError)


def require_taxi(taxi: object) -> None:
    """Require the name of a taxi whose records there are."""
    known = " or ".join(map(repr, STAMP_PREFIX))
    require(isinstance(taxi, str) and taxi in STAMP_PREFIX, "taxi", taxi, f"be {known}", TripsError)


def require_month(month: object) -> None:
    """Require one month, such as ``"2021-03"``."""
    require(is_month(month), "month", month, "be a month such as '2021-03'", TripsError)


def require_months(months: object) -> None:
    """Require a list of months, each of them once."""
    if isinstance(months, str):
        raise _wrong_months(months, "a string; put it in a list")
    if not isinstance(months, Sequence) or not months:
        raise _wrong_months(months)
    for month in months:
        if not is_month(month):
            raise _wrong_months(month)
    if repeated := sorted({month for month in months if months.count(month) > 1}):
        raise _wrong_months(repeated[0], "given twice")


def _wrong_months(value: object, why: str = "") -> TripsError:
    reason = f" ({why})" if why else ""
    return TripsError(
        f"`months` must be a list of months such as ['2021-01', '2021-02'], got: {value!r}{reason}"
    )

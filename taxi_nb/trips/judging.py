"""Months held against the checks that are in force, before anything is made of their trips."""

from __future__ import annotations

import logging
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from taxi_nb.calendar_months import month_plus
from taxi_nb.models.zones import PAIR_BASE
from taxi_nb.tracking.inputs import used_data
from taxi_nb.tracking.judgements import Judgement, note, worst_first
from taxi_nb.trips.checks import Checks, Limit
from taxi_nb.trips.cleaning import Cleaning, clean
from taxi_nb.trips.errors import TripsError, one_line
from taxi_nb.trips.month_file import MonthContent
from taxi_nb.trips.reading import has_drop_offs, read_batches
from taxi_nb.trips.report import MonthCounts
from taxi_nb.trips.sources import Source

logger = logging.getLogger(__name__)


class CheckError(TripsError):
    """Data do not pass a check."""

    def __init__(self, message: str, checks: tuple[str, ...]) -> None:
        super().__init__(message)
        self.checks = checks


# A value and what it is, in words.
_Found = tuple[float, str]


class _NotKnownError(Exception):
    """A check cannot be judged; the message says why."""


def judge(
    checks: Checks, place: Source, taxi: str, rules: Cleaning, counted: Sequence[MonthCounts]
) -> tuple[Judgement, ...]:
    """Hold months that were read against the checks; log what was found, and return it.

    Raises `CheckError` if one fails that is not accepted.
    """
    if not checks.limits:
        return ()
    months = _Months(place, taxi, rules)
    found = worst_first(
        _judged(name, limit, months, counts, checks)
        for counts in counted
        for name, limit in checks.limits.items()
    )
    note(found)
    for one in found:
        if one.verdict in ("warn", "accepted"):
            logger.warning("check: %s", one)
    if failed := [one for one in found if one.verdict == "fail"]:
        names = sorted({one.check for one in failed})
        accept = " ".join(f"--accept {name}" for name in names)
        raise CheckError(
            f"{'; '.join(map(str, failed))}. To let it pass once: {accept}, or with the reason, "
            f"--accept '{names[0]}=WHY'",
            tuple(names),
        )
    return tuple(found)


def _judged(
    name: str, limit: Limit, months: _Months, counts: MonthCounts, checks: Checks
) -> Judgement:
    about = f"{months.taxi} {counts.month}"
    try:
        value, says = _MEASURES[name](months, counts)
    except _NotKnownError as error:
        limit_says = limit.words("pass")
        return Judgement(name, about, "not judged", f"of {about}", limit_says, reason=str(error))
    verdict = limit.verdict(abs(value))
    says = f"{_number(value, limit, name)} {says}"
    reason = checks.accepted.get(name)
    if verdict == "fail" and reason is not None:
        found = Judgement(name, about, "accepted", says, limit.words(verdict), value)
        return replace(found, is_least=limit.is_least, reason=reason)
    return Judgement(name, about, verdict, says, limit.words(verdict), value, limit.is_least)


def _number(value: float, limit: Limit, name: str) -> str:
    """Show a value, a share with so many digits that it is not shown as the limit that it passed.

    >>> _number(0.050001, Limit(0.05, None, False, True), "left_out")
    '5.0001 %'
    """
    if not limit.is_share:
        return f"{value:,.0f}"
    sign = "+" if name in _CHANGES else ""
    bounds = [100 * bound for bound in (limit.bound, limit.warn) if bound is not None]
    percent = 100 * value
    shown = f"{percent:{sign}.2f}"
    for digits in range(3, 9):
        if not any(_looks_like(shown, bound, percent) for bound in bounds):
            break
        shown = f"{percent:{sign}.{digits}f}"
    return f"{shown} %"


def _looks_like(shown: str, bound: float, percent: float) -> bool:
    """Whether a number is shown as one that it is not."""
    return abs(abs(float(shown)) - bound) < 1e-9 < abs(abs(percent) - bound)


@dataclass
class _Months:
    """The months of a source, as far as checks have to read them."""

    place: Source
    taxi: str
    rules: Cleaning
    _fetched: dict[str, MonthContent] = field(default_factory=dict)
    _pairs: dict[str, Counter[tuple[int, int]]] = field(default_factory=dict)

    def before(self, month: str) -> str:
        """Return the month before one, where the source has it."""
        earlier = month_plus(month, -1)
        try:
            self.content(earlier)
        except TripsError as error:
            why = one_line(error).partition(";")[0]
            raise _NotKnownError(f"the month before cannot be had: {why}") from None
        return earlier

    def content(self, month: str) -> MonthContent:
        """Return a month's file; that of the month before is what a step used, too."""
        if month not in self._fetched:
            content = self._fetched[month] = self.place.fetch(self.taxi, month)
            content.opened()
            used_data(f"{self.taxi} {month}", content.path, content.sha256)
        return self._fetched[month]

    def pairs(self, month: str) -> Counter[tuple[int, int]]:
        """Return how many trips each pair of zones has in a month."""
        if month not in self._pairs:
            self._pairs[month] = sum(map(_pairs_of, self._zones(month)), Counter())
        return self._pairs[month]

    def _zones(self, month: str) -> Iterator[npt.NDArray[np.int64]]:
        content = self.content(month)
        known = has_drop_offs(content, self.taxi)
        rules = self.rules if known else replace(self.rules, min_minutes=0)
        for records in read_batches(content, self.taxi, with_drop_offs=known):
            kept, _ = clean(records, month, rules)
            begins, ends = records.pickup_zone[kept], records.dropoff_zone[kept]
            yield begins.astype(np.int64) * PAIR_BASE + ends
        content.check_unchanged()


def _pairs_of(numbers: npt.NDArray[np.int64]) -> Counter[tuple[int, int]]:
    found, counts = np.unique(numbers, return_counts=True)
    pairs = (divmod(number, PAIR_BASE) for number in found.tolist())
    return Counter(dict(zip(pairs, counts.tolist(), strict=True)))


def _left_out(_: _Months, counts: MonthCounts) -> _Found:
    share = (counts.rows_in - counts.rows_kept) / _some(counts.rows_in, "records")
    return share, f"of {counts.rows_in:,} records of {counts.month}"


def _not_positive(_: _Months, counts: MonthCounts) -> _Found:
    share = (counts.not_positive or 0) / _some(counts.rows_kept, "trips")
    return share, f"of {counts.rows_kept:,} trips of {counts.month}"


def _missing_days(_: _Months, counts: MonthCounts) -> _Found:
    year, number = map(int, counts.month.split("-"))
    days = monthrange(year, number)[1]
    return len(counts.days_without or ()), f"of {days} days of {counts.month}"


def _rows(_: _Months, counts: MonthCounts) -> _Found:
    return counts.rows_in, f"records of {counts.month}"


def _rows_against_last(months: _Months, counts: MonthCounts) -> _Found:
    earlier = months.before(counts.month)
    before = _some(months.content(earlier).rows, f"records of {earlier}")
    change = (counts.rows_in - before) / before
    return change, f"from {before:,} records of {earlier} to {counts.rows_in:,} of {counts.month}"


def _zones_new(months: _Months, counts: MonthCounts) -> _Found:
    earlier = months.before(counts.month)
    try:
        known = {zone for pair in months.pairs(earlier) for zone in pair}
    except TripsError as error:
        raise _NotKnownError(f"the month before cannot be used: {one_line(error)}") from None
    _some(len(known), f"trips of {earlier}")
    pairs = months.pairs(counts.month)
    new = sum(count for pair, count in pairs.items() if not known.issuperset(pair))
    trips = _some(pairs.total(), "trips")
    return new / trips, f"of {trips:,} trips of {counts.month} (zones without a trip in {earlier})"


def _some(count: int, of: str) -> int:
    if not count:
        raise _NotKnownError(f"there are no {of}")
    return count


# What grows or shrinks, and is shown with its sign.
_CHANGES = ("rows.against_last",)
_MEASURES: dict[str, Callable[[_Months, MonthCounts], _Found]] = {
    "left_out": _left_out,
    "missing_days": _missing_days,
    "not_positive": _not_positive,
    "rows": _rows,
    "rows.against_last": _rows_against_last,
    "zones_new": _zones_new,
}

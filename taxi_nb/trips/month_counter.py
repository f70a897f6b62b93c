"""What is counted of a month while it is read, in whatever parts that is done."""

from __future__ import annotations

import logging
from calendar import monthrange
from collections import Counter
from collections.abc import Mapping

import numpy as np

from taxi_nb.trips._digest import TripsDigest
from taxi_nb.trips.cleaning import CheckedRecords
from taxi_nb.trips.records import Mask, Records
from taxi_nb.trips.report import MonthCounts

logger = logging.getLogger(__name__)

_DAY = np.timedelta64(1, "D").astype("timedelta64[us]").view(np.int64)


class PartCounter:
    """Counts one part of a month, in one thread."""

    def __init__(self, month: str) -> None:
        self._first = np.datetime64(month, "M").astype("datetime64[us]").view(np.int64)
        year, _, number = month.partition("-")
        # One more for all that is on none of the month's days.
        self.days_seen = np.zeros(monthrange(int(year), int(number))[1] + 1, dtype=np.bool_)
        self.rows = 0
        self.not_positive = 0
        self.negative = 0
        self.taken_out: Counter[str] = Counter()
        self.digest = TripsDigest()

    def add(self, checked: CheckedRecords, taken_out: Mapping[str, int]) -> None:
        """Count a batch: records, which are trips, and how many each rule took out."""
        records, kept = checked
        self.rows += len(records)
        self.taken_out.update(taken_out)
        short = (records.distance <= 0) & kept
        if short.any():
            self.not_positive += int(np.count_nonzero(short))
            self.negative += int(np.count_nonzero((records.distance < 0) & kept))
        self.digest.add(checked)
        if len(records) and not self.days_seen[:-1].all():
            self._see_days(records, kept)

    def _see_days(self, records: Records, kept: Mask) -> None:
        moments, none = records.pickup.view(np.int64), len(self.days_seen) - 1
        # As a rule a batch is a part of one day, and this is all there is to do.
        ends = np.array([moments.min(), moments.max()])
        if len(set(found := (ends - self._first) // _DAY)) > 1:
            days = (moments - self._first) // _DAY
            np.copyto(days, none, where=~kept)
            found = np.append(days[:1], days[1:][days[1:] != days[:-1]])
        elif not kept.any():
            return
        self.days_seen[np.where((found < 0) | (found > none), none, found)] = True


class MonthCounter:
    """Counts a month, read as a whole or in parts side by side."""

    def __init__(self, month: str) -> None:
        self.month = month
        self._parts: dict[int, PartCounter] = {}

    def part(self, number: int = 0) -> PartCounter:
        """Return the counter of a part; parts are put together in the order of their numbers."""
        return self._parts.setdefault(number, PartCounter(self.month))

    def take(self, number: int, part: PartCounter) -> None:
        """Take the counter of a part that was read elsewhere."""
        self._parts[number] = part

    @property
    def trips_digest(self) -> str:
        """The digest of the month's trips."""
        whole = TripsDigest()
        for number in sorted(self._parts):
            whole.join(self._parts[number].digest)
        return whole.text

    def counts(self, rules: Mapping[str, str]) -> MonthCounts:
        """Return what the cleaning report says of the month, where some rules were in force."""
        parts = self._parts.values()
        seen = np.any([part.days_seen for part in parts], axis=0)[:-1]
        return MonthCounts(
            self.month,
            sum(part.rows for part in parts),
            {rule: sum(part.taken_out[rule] for part in parts) for rule in rules},
            sum(part.not_positive for part in parts),
            tuple(f"{self.month}-{day + 1:02}" for day in np.flatnonzero(~seen)),
        )

    def warn(self, path: str, counts: MonthCounts) -> None:
        """Log what is odd about the trips of a file."""
        if negative := sum(part.negative for part in self._parts.values()):
            logger.warning(
                "%s: %s trips have a negative distance and stay; Cleaning(min_distance=0) "
                "takes them out",
                path,
                f"{negative:,}",
            )
        if gap := counts.gap:
            logger.warning("%s: %s. Is the file whole?", path, gap)

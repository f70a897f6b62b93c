"""A month's records as they are when a model is asked about them, clean or not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from taxi_nb.tracking.inputs import used_data
from taxi_nb.trips.cleaning import Cleaning, clean
from taxi_nb.trips.errors import NoTripsError
from taxi_nb.trips.month_counter import MonthCounter
from taxi_nb.trips.origin import MonthFile, Provenance
from taxi_nb.trips.reading import has_drop_offs, read_batches
from taxi_nb.trips.records import COLUMNS, Mask, Records
from taxi_nb.trips.report import CleaningReport
from taxi_nb.trips.sources import Source

# A group of rows of the predictions' file; large enough for readers, small enough for memory.
BATCH_ROWS = 1 << 18

# The rules that what happened after the pick-up can break.
_ENDING_RULES = ("short", "long")

_AFTERWARDS = ("dropoff_datetime", "duration")
AT_PICKUP = {name: attribute for name, attribute in COLUMNS.items() if name not in _AFTERWARDS}
"""The columns that a prediction can be made from, and what they are called among `Records`."""


@dataclass(frozen=True)
class PredictableBatch:
    """Records that a model can be asked about."""

    rows: npt.NDArray[np.int64]  # Their row numbers in the month's file, from 0.
    columns: dict[str, npt.NDArray[Any]]  # The columns of `AT_PICKUP`.
    duration: npt.NDArray[np.float64]  # Minutes; zero where durations are not known.
    is_clean: Mask  # By all cleaning rules that can be checked.

    def __len__(self) -> int:
        return len(self.rows)

    def clean_columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the clean records alone."""
        if self.is_clean.all():
            return self.columns
        return {name: values[self.is_clean] for name, values in self.columns.items()}


class MonthRecords:
    """A month, opened to be gone through once; `TripsError` if it is not there, broken or empty.

    A record with a time, zone or distance missing, or a zone that is none, cannot be predicted;
    others can, whether they are clean by the rules or not.
    """

    def __init__(self, place: Source, taxi: str, month: str, rules: Cleaning) -> None:
        self.place, self._taxi, self._month, self.rules = place, taxi, month, rules
        self._content = place.fetch(taxi, month)
        self.rows = self._content.rows
        if not self.rows:
            raise NoTripsError(f"{self._content.path} holds no records")
        self.durations_known = has_drop_offs(self._content, taxi)
        # By the rule that they break; known after the loop.
        self.not_predicted: Counter[str] = Counter()
        self._counter = MonthCounter(month)
        zones = {"min_zone": rules.min_zone, "max_zone": rules.max_zone}
        self._rules_at_pickup = Cleaning(min_minutes=0, within_month=False, **zones)
        # Without drop-offs all durations are zero.
        self._all_rules = rules if self.durations_known else replace(rules, min_minutes=0)

    def batches(self) -> Iterator[PredictableBatch]:
        """Go through the records that can be predicted, in the file's order."""
        first = 0
        for records in read_batches(
            self._content, self._taxi, BATCH_ROWS, with_drop_offs=self.durations_known
        ):
            yield self._predictable(records, first)
            first += len(records)
        self._content.check_unchanged()

    def _predictable(self, records: Records, first: int) -> PredictableBatch:
        # At pick-up nobody knows how long a trip takes.
        begun = replace(records, duration=np.zeros(len(records)))
        possible, impossible = clean(begun, self._month, self._rules_at_pickup)
        is_clean, taken_out = clean(records, self._month, self._all_rules)
        self.not_predicted.update({rule: n for rule, n in impossible.items() if n})
        self._counter.part().add((records, is_clean), taken_out)
        return PredictableBatch(
            rows=first + np.flatnonzero(possible),
            columns={name: getattr(records, at)[possible] for name, at in AT_PICKUP.items()},
            duration=records.duration[possible],
            is_clean=is_clean[possible],
        )

    def _checked_rules(self) -> dict[str, str]:
        skipped = () if self.durations_known else _ENDING_RULES
        return {name: says for name, says in self.rules.rules.items() if name not in skipped}

    def origin(self) -> Provenance:
        """Return where the records came from and what cleaning says of them, after the loop."""
        content, rules = self._content, self._checked_rules()
        counts, trips = self._counter.counts(rules), self._counter.trips_digest
        self._counter.warn(content.path, counts)
        used_data(f"{self._taxi} {self._month}", content.path, content.sha256, trips)
        return Provenance(
            taxi=self._taxi,
            months=(self._month,),
            source=self.place.label,
            synthetic=content.is_synthetic,
            files=(MonthFile.of(self._month, content, self.rows, trips),),
            cleaning=CleaningReport(asdict(self.rules), rules, (counts,)),
        )

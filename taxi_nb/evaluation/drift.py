"""Drift: how far a month is from the trips that a model learned on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation._distribution import (
    Distribution,
    index_by_bin,
    index_by_chance,
    index_by_chance_of_days,
    population_stability_index,
)
from taxi_nb.evaluation.clock import hours_of, weekdays_of
from taxi_nb.plain_data import to_json
from taxi_nb.trips.batches import reopen, scheduler_of
from taxi_nb.trips.origin import is_part, provenance

if TYPE_CHECKING:
    import pandas as pd

REFERENCE_FILE = "drift/reference.json"
"""The artifact of a training run that keeps its `DriftReference`."""

LARGE = 0.25
"""A population stability index above this is a large change, see `population_stability_index`."""

_SEEN = ("trip_distance", "PULocationID", "DOLocationID")

Arrays = Mapping[str, npt.NDArray[Any]]
Counts = dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Feature:
    """A property of trips whose distribution is watched."""

    column: str
    unit: str  # For axes.
    is_number: bool
    # Makes it of the raw column.
    read: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = np.asarray

    def distribution(self, column: npt.NDArray[Any], stamps: npt.NDArray[Any]) -> Distribution:
        """Count the column's values in bins of their own, by the day of the time stamps."""
        make = Distribution.of_numbers if self.is_number else Distribution.of_categories
        return make(self.read(column), stamps)


FEATURES: Mapping[str, Feature] = {
    "trip_distance": Feature("trip_distance", "distance (miles)", True),
    "PULocationID": Feature("PULocationID", "pick-up zone", False),
    "DOLocationID": Feature("DOLocationID", "drop-off zone", False),
    "pickup_hour": Feature("pickup_datetime", "hour of pick-up", False, hours_of),
    "pickup_weekday": Feature(
        "pickup_datetime", "weekday of pick-up, 0 is Monday", False, weekdays_of
    ),
}
"""Name -> `Feature`. A model's are those of the columns that it reads."""

COLUMNS = tuple(dict.fromkeys(feature.column for feature in FEATURES.values()))
PICKUP = "pickup_datetime"
PREDICTIONS = "predictions"


@dataclass(frozen=True)
class Shift:
    """How far some trips are from those to expect, days being unknown."""

    index: float  # The population stability index.
    by_chance: float  # It stays below this 999 times of 1,000 if nothing has changed.

    @classmethod
    def between(cls, expected: Distribution, found: npt.NDArray[np.int64]) -> Self:
        """Compare counts in the bins of what was expected; trips are taken for independent."""
        by_chance = index_by_chance(len(found), expected.trips, int(found.sum()))
        return cls(population_stability_index(expected.counts, found), by_chance)


@dataclass(frozen=True)
class DriftReference:
    """The distributions that a model has to expect."""

    features: Mapping[str, Distribution]  # Of the training trips, for each of `FEATURES`.
    # Of its predictions of the validation trips, in minutes: as in use, it has not seen them.
    predictions: Distribution
    trained_on: str  # The titles of these trips.
    predicted_on: str
    # The shortest and longest distance, and the zones, among the training trips of the frame; of
    # models logged by older commits it is not known.
    seen: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, training: pd.DataFrame, validation: pd.DataFrame, predicted: npt.ArrayLike) -> Self:
        """Count the trips that a model learned from, and its predictions of the validation trips.

        Of months beyond memory all trips are counted, in bins that those in the frame decide.
        """
        features = {
            name: feature.distribution(
                training[feature.column].to_numpy(), training[PICKUP].to_numpy()
            )
            for name, feature in FEATURES.items()
        }
        origin = provenance(training)
        if is_part(training):
            batches = reopen(origin, scheduler=scheduler_of(training))
            features = counted(features, batches.arrays(*COLUMNS))
        predictions = Distribution.of_numbers(
            np.asarray(predicted, np.float64), validation[PICKUP].to_numpy()
        )
        seen = {column: _seen(column, training[column].to_numpy()) for column in _SEEN}
        return cls(features, predictions, origin.title, provenance(validation).title, seen)

    def out_of_range(self, trips: pd.DataFrame) -> dict[str, int]:
        """Count trips with a distance or a zone that none of the training trips had."""
        found = {}
        for column, seen in self.seen.items():
            if column not in trips:
                continue
            values = trips[column].to_numpy()
            if column == "trip_distance":
                inside = (values >= seen[0]) & (values <= seen[-1])
            else:
                inside = np.isin(values, seen)
            found[column] = int(np.count_nonzero(~inside))
        return found

    def counts(self, trips: pd.DataFrame, predicted: npt.NDArray[np.float64]) -> Counts:
        """Count some trips of no certain day in the bins of their features and predictions.

        Hours and weekdays are not: those of a few trips are never those of months.
        """
        found = {PREDICTIONS: self.predictions.of(predicted).counts}
        for name in _SEEN:
            if name in trips and name in self.features:
                found[name] = self.features[name].of(trips[name].to_numpy()).counts
        return found

    def shifts(self, counts: Counts) -> dict[str, Shift]:
        """Say how far counts are from what is to be expected."""
        expected = {**self.features, PREDICTIONS: self.predictions}
        return {name: Shift.between(expected[name], found) for name, found in counts.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold; `from_dict` reads it."""
        seen = {column: list(values) for column, values in self.seen.items()}
        return {
            "trained_on": self.trained_on,
            "predicted_on": self.predicted_on,
            "features": {name: found.to_dict() for name, found in self.features.items()},
            PREDICTIONS: self.predictions.to_dict(),
            **({"seen": seen} if seen else {}),  # As it was before this was noted.
        }

    def to_json(self) -> str:
        """Return the content of `REFERENCE_FILE`."""
        return to_json(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Make the reference again from what `to_dict` returned."""
        return cls(
            {name: Distribution.from_dict(found) for name, found in kept["features"].items()},
            Distribution.from_dict(kept[PREDICTIONS]),
            kept["trained_on"],
            kept["predicted_on"],
            {column: tuple(values) for column, values in kept.get("seen", {}).items()},
        )


def _seen(column: str, values: npt.NDArray[Any]) -> tuple[float, ...]:
    """Return the ends of a range of distances, or every zone once."""
    if column == "trip_distance":
        return (float(values.min()), float(values.max()))
    return tuple(np.flatnonzero(np.bincount(values)).tolist())


def counted(like: Mapping[str, Distribution], batches: Iterable[Arrays]) -> dict[str, Distribution]:
    """Count batches of trips in the bins of some features' distributions."""
    found = {
        name: replace(one, counts=np.zeros_like(one.counts), days={}) for name, one in like.items()
    }
    for arrays in batches:
        for name, distribution in found.items():
            feature = FEATURES[name]
            read = feature.read(arrays[feature.column])
            found[name] = distribution + distribution.of(read, arrays[PICKUP])
    return found


@dataclass(frozen=True)
class Drift:
    """How far a distribution is from the one to expect."""

    name: str  # One of `FEATURES`, or ``"predictions"``.
    expected: Distribution  # In the calendar of what was found, where its days are known.
    found: Distribution
    index: float  # The population stability index.
    # The index stays below this, 999 times of 1,000, when nothing has changed and days are drawn,
    # each with all its trips; what lasts longer than a day is not in it.
    by_chance: float

    @classmethod
    def between(cls, name: str, expected: Distribution, found: Distribution) -> Self:
        """Compare what was expected with what was found, weekday by weekday."""
        by_chance = index_by_chance_of_days(expected, found)
        expected = expected.in_the_calendar_of(found)
        index = population_stability_index(expected.counts, found.counts)
        return cls(name, expected, found, index, by_chance)

    @property
    def unit(self) -> str:
        """The unit of the bins, for axes."""
        feature = FEATURES.get(self.name)
        return feature.unit if feature else "predicted duration (minutes)"

    @property
    def most_changed(self) -> str:
        """The bin that adds most to the index, and its shares, in words."""
        before, after = self.expected.shares, self.found.shares
        bin_ = int(np.argmax(index_by_bin(self.expected.counts, self.found.counts)))
        return f"{self.expected.labels[bin_]}: {before[bin_]:.1%} -> {after[bin_]:.1%}"

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {
            "psi": self.index,
            "by_chance": self.by_chance,
            "expected": self.expected.to_dict(),
            "found": self.found.to_dict(),
        }

"""Drift: how far a month is from the trips that a model learned on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation._distribution import (
    Distribution,
    index_by_bin,
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

Arrays = Mapping[str, npt.NDArray[Any]]


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
class DriftReference:
    """The distributions that a model has to expect."""

    features: Mapping[str, Distribution]  # Of the training trips, for each of `FEATURES`.
    # Of its predictions of the validation trips, in minutes: as in use, it has not seen them.
    predictions: Distribution
    trained_on: str  # The titles of these trips.
    predicted_on: str

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
        return cls(features, predictions, origin.title, provenance(validation).title)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold; `from_dict` reads it."""
        return {
            "trained_on": self.trained_on,
            "predicted_on": self.predicted_on,
            "features": {name: found.to_dict() for name, found in self.features.items()},
            PREDICTIONS: self.predictions.to_dict(),
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
        )


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

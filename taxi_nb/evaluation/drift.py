"""How far a month is from what a model learned on: distributions, and an index of their distance.

Distributions are counts in fixed bins. They add up, so that a month of any size is compared
batch by batch, and they are small, so that a model keeps those of its training trips.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

REFERENCE_FILE = "drift/reference.json"
"""The artifact of a training run that keeps its `DriftReference`."""

LITTLE, LARGE = 0.1, 0.25
"""Below the first a population stability index counts as little change, above the second as much.

The rule of thumb of Siddiqi (2006), see `population_stability_index`.
"""

_BINS = 10
# A value rarer than this among the training trips shares a bin with all others as rare.
_COMMON = 0.01
# One in a thousand months that did not change is above the index that chance explains.
_BY_CHANCE = 0.001

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[Any]]


def population_stability_index(expected: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Measure how far apart two distributions over the same bins are.

    The sum over bins of ``(q - p) * ln(q / p)``, p and q being the shares of the bin in the
    one and in the other: the divergence of Jeffreys (1946), known in credit scoring as the
    population stability index, where less than 0.1 counts as little change and more than
    0.25 as a large one (Siddiqi, *Credit Risk Scorecards*, Wiley 2006).

    Half a trip is added to each bin of both sides, so that an empty one is no infinity.

    Parameters
    ----------
    expected, found : array-like of int, shape (n_bins,)
        How many are in each bin.

    Returns
    -------
    float
        0 or more; 0 for equal shares.

    Raises
    ------
    ValueError
        If the bins are not the same number.
    """
    counts = [np.asarray(side, np.float64) for side in (expected, found)]
    if counts[0].shape != counts[1].shape:
        sizes = " and ".join(str(len(side)) for side in counts)
        raise ValueError(f"`expected` and `found` must have the same bins, got {sizes} of them")
    p, q = ((side + 0.5) / (side.sum() + len(side) / 2) for side in counts)
    return float(np.sum((q - p) * np.log(q / p)))


def index_by_chance(bins: int, expected: int, found: int) -> float:
    """Return the index that two samples of one distribution stay below, 999 times of 1,000.

    Without any change the index, divided by ``1 / expected + 1 / found``, is distributed as
    chi-squared with one degree of freedom less than there are bins, if the samples are large
    (Yurdakul, *Statistical Properties of Population Stability Index*, PhD thesis, Western
    Michigan University 2018).

    Parameters
    ----------
    bins : int
        How many bins there are.
    expected, found : int
        How many trips each of the samples has.
    """
    from scipy.special import chdtri

    if not (expected and found):
        return float("inf")
    return float(chdtri(max(bins - 1, 1), _BY_CHANCE)) * (1 / expected + 1 / found)


@dataclass(frozen=True)
class Distribution:
    """Counts in bins.

    Attributes
    ----------
    edges : tuple of float
        Of numbers: the inner borders of the bins, ascending. A value on a border belongs to
        the bin below it; the outermost bins have no end.
    values : tuple of int
        Of categories: the value of each bin but the last, which has all others.
    counts : ndarray of int64, shape (n_bins,)
        One more than there are edges or values.
    """

    counts: Counts
    edges: tuple[float, ...] = ()
    values: tuple[int, ...] = ()

    @classmethod
    def of_numbers(cls, sample: npt.NDArray[Any]) -> Self:
        """Put numbers into bins of which each has about a tenth of them."""
        inner = np.quantile(sample, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
        made = cls(np.zeros(1, np.int64), edges=tuple(np.unique(inner).tolist()))
        return made.of(sample)

    @classmethod
    def of_categories(cls, sample: npt.NDArray[Any]) -> Self:
        """Give the ten most common values, and all that one in a hundred has, a bin each."""
        seen = np.bincount(sample)
        enough = min(_COMMON * len(sample), np.sort(seen)[-_BINS:][0])
        common = np.flatnonzero(seen >= max(enough, 1))
        return cls(np.zeros(1, np.int64), values=tuple(common.tolist())).of(sample)

    def of(self, sample: npt.NDArray[Any]) -> Self:
        """Count a sample in the same bins."""
        bins = len(self.edges or self.values) + 1
        return replace(self, counts=np.bincount(self._bin(sample), minlength=bins))

    def _bin(self, sample: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        if not self.values:
            return np.searchsorted(self.edges, sample)
        bin_of = np.full(self.values[-1] + 2, len(self.values))
        bin_of[list(self.values)] = np.arange(len(self.values))
        return bin_of[np.clip(sample, -1, len(bin_of) - 1)]

    def __add__(self, other: Distribution) -> Self:
        """Add what was counted in the same bins."""
        return replace(self, counts=self.counts + other.counts)

    @property
    def trips(self) -> int:
        """How many were counted."""
        return int(self.counts.sum())

    @property
    def shares(self) -> Floats:
        """The share of each bin; 0 where nothing was counted."""
        return np.asarray(self.counts / max(self.trips, 1))

    @property
    def labels(self) -> list[str]:
        """What each bin holds, for tables and figures."""
        if self.values:
            return [*map(str, self.values), "other"]
        if not self.edges:
            return ["all"]
        texts = [f"{edge:.3g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(texts)]
        return [f"up to {texts[0]}", *between, f"over {texts[-1]}"]

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold; `from_dict` reads it."""
        bins = {"values": list(self.values)} if self.values else {"edges": list(self.edges)}
        return {
            **bins,
            "counts": self.counts.tolist(),
            "shares": np.round(self.shares, 6).tolist(),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Make the distribution again from what `to_dict` returned."""
        return cls(
            np.array(kept["counts"], np.int64),
            tuple(kept.get("edges", ())),
            tuple(kept.get("values", ())),
        )


@dataclass(frozen=True)
class Feature:
    """Something of a trip whose distribution is watched.

    Attributes
    ----------
    column : str
        The raw column that it is read from.
    unit : str
        For axes.
    is_number : bool
        Whether it is a number, and not a category.
    read : callable
        From the column's array to the feature's.
    """

    column: str
    unit: str
    is_number: bool
    read: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


def _as_it_is(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return column


def _hours(stamps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(stamps.astype("datetime64[h]").view(np.int64) % 24)


def _weekdays(stamps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # The epoch's first day was a Thursday.
    return np.asarray((stamps.astype("datetime64[D]").view(np.int64) + 3) % 7)


FEATURES: Mapping[str, Feature] = {
    "trip_distance": Feature("trip_distance", "distance (miles)", True, _as_it_is),
    "PULocationID": Feature("PULocationID", "pick-up zone", False, _as_it_is),
    "DOLocationID": Feature("DOLocationID", "drop-off zone", False, _as_it_is),
    "pickup_hour": Feature("pickup_datetime", "hour of pick-up", False, _hours),
    "pickup_weekday": Feature(
        "pickup_datetime", "weekday of pick-up, 0 is Monday", False, _weekdays
    ),
}
"""Name -> `Feature`. A model's are those of the columns that it reads."""

COLUMNS = tuple(dict.fromkeys(feature.column for feature in FEATURES.values()))
PREDICTIONS = "predictions"


@dataclass(frozen=True)
class DriftReference:
    """What a model has to expect.

    Attributes
    ----------
    features : mapping of str to Distribution
        Of the training trips, for each of `FEATURES`.
    predictions : Distribution
        Of the model's predictions of the validation trips, in minutes: those are, as in use,
        trips that it has not seen.
    trained_on, predicted_on : str
        Which trips these are.
    """

    features: Mapping[str, Distribution]
    predictions: Distribution
    trained_on: str
    predicted_on: str

    @classmethod
    def of(cls, training: pd.DataFrame, validation: pd.DataFrame, predicted: npt.ArrayLike) -> Self:
        """Count the trips that a model learned from, and its predictions.

        Of months beyond memory all trips are counted, batch by batch, in bins that the
        trips in the frame decide.

        Parameters
        ----------
        training, validation : DataFrame
            As `load_trips` returned them.
        predicted : array-like, shape (n_validation_trips,)
            Minutes.
        """
        from taxi_nb.trips.origin import provenance

        frame = {column: training[column].to_numpy() for column in COLUMNS}
        features = {name: _first(feature, frame) for name, feature in FEATURES.items()}
        origin = provenance(training)
        if origin.drawn == len(training):
            from taxi_nb.trips.loading import reopen

            features = counted(features, reopen(origin).arrays(*COLUMNS))
        return cls(
            features,
            Distribution.of_numbers(np.asarray(predicted, np.float64)),
            origin.title,
            provenance(validation).title,
        )

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
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Make the reference again from what `to_dict` returned."""
        return cls(
            {name: Distribution.from_dict(found) for name, found in kept["features"].items()},
            Distribution.from_dict(kept[PREDICTIONS]),
            kept["trained_on"],
            kept["predicted_on"],
        )


def _first(feature: Feature, arrays: Arrays) -> Distribution:
    make = Distribution.of_numbers if feature.is_number else Distribution.of_categories
    return make(feature.read(arrays[feature.column]))


def counted(like: Mapping[str, Distribution], batches: Iterable[Arrays]) -> dict[str, Distribution]:
    """Count batches of trips in the bins of some features' distributions.

    Parameters
    ----------
    like : mapping of str to Distribution
        Feature -> what to take the bins from.
    batches : iterable of mapping of str to ndarray
        The columns that the features are read from.
    """
    found = {name: replace(one, counts=np.zeros_like(one.counts)) for name, one in like.items()}
    for arrays in batches:
        for name, distribution in found.items():
            feature = FEATURES[name]
            found[name] = distribution + distribution.of(feature.read(arrays[feature.column]))
    return found


@dataclass(frozen=True)
class Drift:
    """How far a distribution is from the one to expect.

    Attributes
    ----------
    name : str
        One of `FEATURES`, or ``"predictions"``.
    index : float
        The population stability index.
    by_chance : float
        What the index stays below, 999 times of 1,000, when nothing has changed and both are
        samples of this size.
    """

    name: str
    expected: Distribution
    found: Distribution
    index: float
    by_chance: float

    @classmethod
    def between(cls, name: str, expected: Distribution, found: Distribution) -> Self:
        """Compare what was expected with what was found."""
        return cls(
            name,
            expected,
            found,
            population_stability_index(expected.counts, found.counts),
            index_by_chance(len(expected.counts), expected.trips, found.trips),
        )

    @property
    def unit(self) -> str:
        """What the bins are of, for axes."""
        feature = FEATURES.get(self.name)
        return feature.unit if feature else "predicted duration (minutes)"

    @property
    def most_changed(self) -> str:
        """The bin that adds most to the index, and its shares, in words."""
        before, after = self.expected.shares, self.found.shares
        smooth = [np.maximum(shares, 1e-9) for shares in (before, after)]
        bin_ = int(np.argmax((after - before) * np.log(smooth[1] / smooth[0])))
        return f"{self.expected.labels[bin_]}: {before[bin_]:.1%} -> {after[bin_]:.1%}"

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {
            "psi": self.index,
            "by_chance": self.by_chance,
            "expected": self.expected.to_dict(),
            "found": self.found.to_dict(),
        }

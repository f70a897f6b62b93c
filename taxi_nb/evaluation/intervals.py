"""How far a prediction may be off: intervals by split conformal prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import clone

from taxi_nb.evaluation.clock import hours_of
from taxi_nb.trips.arguments import require
from taxi_nb.trips.split import split_by_time

INTERVALS_FILE = "intervals/calibration.json"
"""The artifact of a training run that keeps the calibration of its model's intervals."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_HOURS = 24
# Groups of similar predictions whose usual error is measured, and how many trips one needs.
_BINS = 10
_TRIPS_A_BIN = 20
# The trips that calibrate are cut into so many folds: what is usual is said by the other ones.
_FOLDS = 10
# The share of an interval's misses that may come from the range of durations being too narrow.
_LOST_TO_RANGE = 0.1
# Below this a 90 % interval would rest on a handful of trips.
_FEWEST_TRIPS = 100
# From so many trips on an hour's coverage is told apart from chance.
_BUSY_HOUR_TRIPS = 500


@dataclass(frozen=True)
class ConformalIntervals:
    """A model's predictions of minutes, with intervals that say how sure they are.

    Split conformal prediction (Papadopoulos and others, ECML 2002; Lei and others, JASA 113,
    2018): a copy of the model learns on the earlier training trips. Its errors on the later ones,
    which it has not seen, say how far the model may be off elsewhere. They are divided by the
    usual error of predictions of that length (normalised scores), which nine tenths of the later
    trips say for the other tenth: no error is a part of its own measure. Too long and too short
    are measured apart.

    Each hour of the day has its own scores and, since quiet hours need trips enough, those of its
    neighbours. So the promise is for an hour with its neighbours on average, and not for the hour
    alone; only without neighbours are these the disjoint categories for each of which it holds
    (Mondrian; Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005). An hour
    whose trips are too few takes those of the day. Where even these are too few for the level, an
    interval has no end: it reaches down to zero, or up to infinity.

    The middle is the model that learned on all training trips. It is a little better than its
    copy, so the intervals are rather too wide than too narrow. No method can promise its coverage
    for a month that is unlike the one it was calibrated on.

    Attributes
    ----------
    estimator : sklearn.pipeline.Pipeline
        The fitted model.
    level : float
        The share of trips that shall be inside.
    knots, scales : ndarray of float64, shape (n_knots,)
        Predicted minutes, ascending, and the usual absolute error there, in minutes.
    below, above : ndarray of float64, shape (24,)
        By hour, how many scales the interval reaches down and up; infinite where no number of
        them is known to be enough.
    shortest, longest : float
        Minutes that neither predictions nor the ends of intervals leave, unless an end is infinite:
        the range of the training durations, or zero to infinity if these are too few to know it.

    Examples
    --------
    >>> from taxi_nb import load_trips, make_model
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> model = make_model("linear").fit(trips, trips["duration"])
    >>> intervals = ConformalIntervals.calibrate(model, trips, level=0.8).predict(trips)
    >>> list(intervals)
    ['lower', 'predicted', 'upper']
    """

    estimator: Any
    level: float
    knots: Floats
    scales: Floats
    below: Floats
    above: Floats
    shortest: float
    longest: float

    @classmethod
    def calibrate(
        cls,
        estimator: Any,
        training: pd.DataFrame,
        *,
        level: float = 0.9,
        share: float = 0.5,
        neighbours: int = 2,
    ) -> Self:
        """Measure a fitted model's errors on trips that a copy of it has not seen.

        Parameters
        ----------
        estimator : sklearn.pipeline.Pipeline
            A model that was fitted on `training`.
        level : float
            The share of trips that shall be inside, between 0 and 1.
        share : float
            The share of trips, last by pick-up, that calibrate.
        neighbours : int
            How many hours before and after lend an hour their trips; 0 to 12.
        """
        require(0 < level < 1, "level", level, "be between 0 and 1")
        require(0 < share < 1, "share", share, "be between 0 and 1")
        most = _HOURS // 2
        require(0 <= neighbours <= most, "neighbours", neighbours, f"be 0 to {most}")
        earlier, later = split_by_time(training, share)
        if min(len(earlier), len(later)) < _FEWEST_TRIPS:
            raise ValueError(
                f"`training` must have {_FEWEST_TRIPS} trips or more to learn from and as many to "
                f"calibrate on, got: {len(earlier)} and {len(later)}"
            )
        copy = clone(estimator).fit(earlier, earlier["duration"])
        predicted = np.asarray(copy.predict(later), np.float64)
        error = later["duration"].to_numpy(np.float64) - predicted
        knots, scales = _usual_errors(predicted, error)
        by_hour = _scores_by_hour(_scores(predicted, error), _hours(later), neighbours)
        tail = (1 - level) / 2
        durations = training["duration"].to_numpy(np.float64)
        # The next trip is beyond the range of n trips once in (n + 1) / 2 times.
        is_range_known = 1 / (len(durations) + 1) <= _LOST_TO_RANGE * tail
        return cls(
            estimator=estimator,
            level=level,
            knots=knots,
            scales=scales,
            below=np.array([_reach(-scores, 1 - tail) for scores in by_hour]),
            above=np.array([_reach(scores, 1 - tail) for scores in by_hour]),
            shortest=float(durations.min()) if is_range_known else 0.0,
            longest=float(durations.max()) if is_range_known else np.inf,
        )

    def predict(self, trips: pd.DataFrame) -> pd.DataFrame:
        """Return a table of ``lower``, ``predicted`` and ``upper``, in minutes, one row a trip.

        Predictions stay within `shortest` and `longest` as the ends do: each is in its interval.
        """
        predicted = self.within_range(np.asarray(self.estimator.predict(trips), np.float64))
        lower, upper = self.bounds(predicted, _hours(trips))
        return pd.DataFrame(
            {"lower": lower, "predicted": predicted, "upper": upper}, index=trips.index
        )

    def within_range(self, minutes: Floats) -> Floats:
        """Return minutes with those beyond `shortest` and `longest` moved there."""
        return minutes.clip(self.shortest, self.longest)

    def bounds(self, predicted: Floats, hours: Ints) -> tuple[Floats, Floats]:
        """Return the lower and upper ends around predicted minutes, by the hours of pick-up.

        The minutes are those that the model gives, or the same `within_range`.
        """
        predicted = self.within_range(predicted)
        scale = np.interp(predicted, self.knots, self.scales)
        below, above = (np.maximum(reach[hours], 0) for reach in (self.below, self.above))
        lower = self.within_range(predicted - below * scale)
        upper = self.within_range(predicted + above * scale)
        lowest = min(0.0, self.shortest)
        return np.where(np.isinf(below), lowest, lower), np.where(np.isinf(above), np.inf, upper)

    def log(self, run_id: str) -> None:
        """Keep the calibration with the model's training run, where scoring finds it."""
        from mlflow import MlflowClient

        MlflowClient().log_dict(run_id, self.to_dict(), INTERVALS_FILE)

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration, without the model, as JSON can hold it; null is infinity."""
        numbers = {name: value for name, value in vars(self).items() if name != "estimator"}
        return {name: _plain(value) for name, value in numbers.items()}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any], estimator: Any) -> Self:
        """Make a model's intervals again from the content of `INTERVALS_FILE`."""
        values: dict[str, Any] = {
            name: _with_infinity(value) if value is None or isinstance(value, list) else value
            for name, value in kept.items()
        }
        return cls(estimator=estimator, **values)


def coverage_by(trips: pd.DataFrame, intervals: pd.DataFrame, by: pd.Series) -> pd.DataFrame:
    """Measure how many trips are inside their intervals, within slices.

    Parameters
    ----------
    trips, intervals : DataFrame
        With ``duration`` in minutes; what `ConformalIntervals.predict` gave for them.
    by : Series, shape (n_trips,)
        The slice that each trip belongs to.

    Returns
    -------
    DataFrame, one row a slice
        ``trips`` (a count), ``coverage`` (a share) and ``width`` (mean, minutes).

    Examples
    --------
    >>> trips = pd.DataFrame({"duration": [8.0, 12.0, 30.0]})
    >>> intervals = pd.DataFrame({"lower": [5, 5, 5], "upper": [9, 9, 35]})
    >>> coverage_by(trips, intervals, pd.Series(["day", "day", "night"]))["coverage"].to_dict()
    {'day': 0.5, 'night': 1.0}
    """
    inside = trips["duration"].between(intervals["lower"], intervals["upper"])
    width = intervals["upper"] - intervals["lower"]
    groups = pd.DataFrame({"inside": inside, "width": width}).groupby(by, observed=True)
    return pd.DataFrame(
        {
            "trips": groups.size(),
            "coverage": groups["inside"].mean(),
            "width": groups["width"].mean(),
        }
    )


def coverage_metrics(trips: pd.DataFrame, intervals: pd.DataFrame) -> dict[str, float]:
    """Measure the coverage of all trips, and of the worst and the best busy hour.

    Parameters
    ----------
    trips, intervals : DataFrame
        As for `coverage_by`; the trips with ``pickup_datetime``, too.

    Returns
    -------
    dict
        ``interval_coverage`` (a share), ``interval_width`` (mean, minutes) and, if any hour has
        500 trips, ``interval_coverage_lowest_hour`` and ``interval_coverage_highest_hour``.

    Examples
    --------
    >>> pickups = pd.to_datetime(["2021-01-01 08:00", "2021-01-01 20:00"])
    >>> trips = pd.DataFrame({"pickup_datetime": pickups, "duration": [8.0, 30.0]})
    >>> coverage_metrics(trips, pd.DataFrame({"lower": [5.0, 5.0], "upper": [9.0, 25.0]}))
    {'interval_coverage': 0.5, 'interval_width': 12.0}
    """
    by_hour = coverage_by(trips, intervals, trips["pickup_datetime"].dt.hour)
    weights = by_hour["trips"] / by_hour["trips"].sum()
    metrics = {
        "interval_coverage": float((by_hour["coverage"] * weights).sum()),
        "interval_width": float((by_hour["width"] * weights).sum()),
    }
    busy = by_hour.loc[by_hour["trips"] >= _BUSY_HOUR_TRIPS, "coverage"]
    if len(busy):
        metrics["interval_coverage_lowest_hour"] = float(busy.min())
        metrics["interval_coverage_highest_hour"] = float(busy.max())
    return metrics


def _hours(trips: pd.DataFrame) -> Ints:
    return hours_of(trips["pickup_datetime"].to_numpy())


def _usual_errors(predicted: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Return the mean absolute error in groups of similar predictions."""
    bins = int(np.clip(len(error) // _TRIPS_A_BIN, 1, _BINS))
    groups = np.array_split(np.argsort(predicted, kind="stable"), bins)
    knots = np.array([predicted[group].mean() for group in groups])
    scales = np.array([np.abs(error[group]).mean() for group in groups])
    return knots, scales.clip(min=1e-6)


def _scores(predicted: Floats, error: Floats) -> Floats:
    """Return each trip's error in units of what the other folds' trips say is usual."""
    fold = np.arange(len(error)) % _FOLDS
    scores = np.empty(len(error))
    for one in range(_FOLDS):
        there, others = fold == one, fold != one
        usual = np.interp(predicted[there], *_usual_errors(predicted[others], error[others]))
        scores[there] = error[there] / usual
    return scores


def _scores_by_hour(scores: Floats, hours: Ints, neighbours: int) -> list[Floats]:
    """Return each hour's scores and its neighbours'; those of all hours if these are few."""
    pooled = []
    for hour in range(_HOURS):
        apart = np.abs(hours - hour)
        near = scores[np.minimum(apart, _HOURS - apart) <= neighbours]
        pooled.append(near if len(near) >= _FEWEST_TRIPS else scores)
    return pooled


def _reach(scores: Floats, share: float) -> float:
    """Return the conformal quantile: that of the scores and one more, infinitely large."""
    # Without the last digits, in which 0.95 * 20 is more than 19.
    rank = int(np.ceil(np.round((len(scores) + 1) * share, 9)))
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf


def _plain(value: Any) -> Any:
    """Return numbers as JSON has them."""
    if isinstance(value, np.ndarray):
        return [_plain(float(one)) for one in value]
    return None if np.isinf(value) else float(value)


def _with_infinity(kept: list[float | None] | None) -> Any:
    if kept is None:
        return np.inf
    return np.array([np.inf if value is None else value for value in kept])

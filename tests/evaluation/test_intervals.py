"""Intervals that cover what they promise, and say when they cannot."""

from __future__ import annotations

import json
from typing import Any, Self

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

from taxi_nb.evaluation.intervals import ConformalIntervals, coverage_by, coverage_metrics


class TwoMinutesAMile(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A model that knows the rule and learns nothing."""

    def fit(self, trips: pd.DataFrame, minutes: pd.Series) -> Self:
        self.is_fitted_ = True
        return self

    def predict(self, trips: pd.DataFrame) -> Any:
        return 2 * trips["trip_distance"].to_numpy()


def noisy_trips(size: int, seed: int) -> pd.DataFrame:
    """Long trips are less sure than short ones, and evenings less sure than mornings."""
    rng = np.random.default_rng(seed)
    pickup = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.uniform(0, 28, size), "D")
    miles = rng.uniform(5, 15, size)
    spread = 0.05 * miles * np.where(pickup.hour >= 12, 3, 1)
    minutes = 2 * miles + spread * (rng.exponential(1, size) - 1)
    return pd.DataFrame({"pickup_datetime": pickup, "trip_distance": miles, "duration": minutes})


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    return noisy_trips(20_000, seed=0)


@pytest.fixture(scope="module")
def later() -> pd.DataFrame:
    return noisy_trips(20_000, seed=1)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_they_cover_what_they_promise_overall_by_hour_and_by_length(
    level: float, training: pd.DataFrame, later: pd.DataFrame
) -> None:
    intervals = ConformalIntervals.calibrate(
        TwoMinutesAMile(), training, level=level, neighbours=0
    ).predict(later)
    slices = {
        "hour": later["pickup_datetime"].dt.hour,
        "miles": later["trip_distance"] // 5,
        "all": pd.Series("all", later.index),
    }
    for name, allowed in (("all", 0.02), ("hour", 0.08), ("miles", 0.03)):
        coverage = coverage_by(later, intervals, slices[name])["coverage"]
        assert coverage.between(level - allowed, level + allowed).all(), name


def test_unsure_trips_have_wider_intervals_and_the_long_tail_is_the_upper_one(
    training: pd.DataFrame, later: pd.DataFrame
) -> None:
    made = ConformalIntervals.calibrate(TwoMinutesAMile(), training).predict(later)
    width = made["upper"] - made["lower"]
    hour = later["pickup_datetime"].dt.hour
    assert width[hour == 18].mean() > 2 * width[hour == 6].mean()
    assert (
        width[later["trip_distance"] > 12].mean() > 1.3 * width[later["trip_distance"] < 8].mean()
    )
    assert (made["upper"] - made["predicted"]).mean() > (made["predicted"] - made["lower"]).mean()


def test_no_interval_leaves_the_durations_that_training_knows(training: pd.DataFrame) -> None:
    far = noisy_trips(50, seed=2).assign(trip_distance=[0.0, 500.0] * 25)
    made = ConformalIntervals.calibrate(TwoMinutesAMile(), training).predict(far)
    assert made[["lower", "upper"]].ge(training["duration"].min()).all(axis=None)
    assert made[["lower", "upper"]].le(training["duration"].max()).all(axis=None)


def test_the_target_of_a_trip_is_no_part_of_its_interval(
    training: pd.DataFrame, later: pd.DataFrame
) -> None:
    intervals = ConformalIntervals.calibrate(TwoMinutesAMile(), training)
    changed = intervals.predict(later.assign(duration=1.0))
    pd.testing.assert_frame_equal(intervals.predict(later), changed)


def test_an_hour_without_trips_borrows_those_of_the_day(
    training: pd.DataFrame, later: pd.DataFrame
) -> None:
    day = training[training["pickup_datetime"].dt.hour.between(8, 20)]
    made = ConformalIntervals.calibrate(TwoMinutesAMile(), day).predict(later)
    at_night = later["pickup_datetime"].dt.hour == 2
    assert (made["upper"] > made["lower"])[at_night].all()


def test_the_metrics_are_the_tables(training: pd.DataFrame, later: pd.DataFrame) -> None:
    made = ConformalIntervals.calibrate(TwoMinutesAMile(), training).predict(later)
    inside = (later["duration"] >= made["lower"]) & (later["duration"] <= made["upper"])
    metrics = coverage_metrics(later, made)
    assert metrics["interval_coverage"] == pytest.approx(inside.mean())
    assert metrics["interval_width"] == pytest.approx((made["upper"] - made["lower"]).mean())
    assert metrics["interval_coverage_lowest_hour"] < metrics["interval_coverage"]
    few = later.head(100)
    assert "interval_coverage_lowest_hour" not in coverage_metrics(few, made.head(100))


@pytest.mark.parametrize(("size", "level"), [(200, 0.99), (400, 0.99), (200, 0.9)])
def test_few_trips_cover_what_they_promise_on_average(size: int, level: float) -> None:
    coverage = []
    for seed in range(60):
        months = noisy_trips(size + 400, seed=seed + 10)
        made = ConformalIntervals.calibrate(TwoMinutesAMile(), months.head(size), level=level)
        new = months.tail(400)
        ends = made.predict(new)
        inside = new["duration"].between(ends["lower"], ends["upper"])
        coverage.append(inside.mean())
    # Four errors of a mean of so many.
    allowed = 4 * np.std(coverage, ddof=1) / len(coverage) ** 0.5
    assert np.mean(coverage) >= level - allowed
    assert np.mean(coverage) < 1 or level == 0.99


def test_too_few_trips_for_the_level_leave_an_interval_without_ends() -> None:
    few = noisy_trips(200, seed=3)
    intervals = ConformalIntervals.calibrate(TwoMinutesAMile(), few, level=0.99)
    made = intervals.predict(few)
    assert np.isinf(made["upper"]).all()
    assert (made["lower"] == 0).all()
    # Their record is JSON, which knows no infinity.
    text = json.dumps(intervals.to_dict(), allow_nan=False)
    again = ConformalIntervals.from_dict(json.loads(text), TwoMinutesAMile())
    pd.testing.assert_frame_equal(again.predict(few), made)
    enough = ConformalIntervals.calibrate(TwoMinutesAMile(), few, level=0.9).predict(few)
    assert np.isfinite(enough).all(axis=None)


@pytest.mark.parametrize("size", [200, 2_000])
def test_no_prediction_is_outside_its_own_interval(size: int) -> None:
    training = noisy_trips(size, seed=4)
    # Always too long: even the smallest error is below.
    training["duration"] = training["duration"] / 10 + 1
    far = noisy_trips(50, seed=5).assign(trip_distance=[-9.0, 244_152.0] * 25)
    for trips in (training, far):
        made = ConformalIntervals.calibrate(TwoMinutesAMile(), training).predict(trips)
        assert (made["lower"] <= made["predicted"]).all()
        assert (made["predicted"] <= made["upper"]).all()


def test_mistakes_are_named(training: pd.DataFrame) -> None:
    for wrong in ({"level": 1.0}, {"share": 0.0}, {"neighbours": 13}):
        (name,) = wrong
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            ConformalIntervals.calibrate(TwoMinutesAMile(), training, **wrong)
    with pytest.raises(ValueError, match=r"100 trips or more to learn .*got: 50 and 50"):
        ConformalIntervals.calibrate(TwoMinutesAMile(), training.head(100))

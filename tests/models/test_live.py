"""`-live` models: what has ended is told, what has not is unknown, and without both it is said."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from taxi_nb import make_model, with_recent
from tests.models.test_trip_features import FAST, some_trips


def with_dropoffs(trips: pd.DataFrame) -> pd.DataFrame:
    ends = trips["pickup_datetime"] + pd.to_timedelta(trips["duration"], unit="min")
    return trips.assign(dropoff_datetime=ends.astype("datetime64[us]"))


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    """January, in which every other day is one third slower than the ones beside it."""
    trips = some_trips(4000, seed=0)
    slow = np.where(trips["pickup_datetime"].dt.day % 2, 1.0, 1.5)
    return with_dropoffs(trips.assign(duration=(trips["duration"] * slow).clip(1, 60)))


@pytest.fixture(scope="module")
def february() -> pd.DataFrame:
    return with_dropoffs(some_trips(1500, seed=1, month="2021-02"))


@pytest.fixture(scope="module")
def model(training: pd.DataFrame) -> Pipeline:
    return make_model("xgboost-rich-live", FAST).fit(training, training["duration"])


@pytest.mark.parametrize("seed", range(4))
def test_nothing_of_a_trip_that_has_not_ended_enters(
    model: Pipeline, february: pd.DataFrame, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    asked = february.sample(20, random_state=seed).sort_values("pickup_datetime")
    now = asked["pickup_datetime"].iloc[-1]
    later = (february["dropoff_datetime"] > now).to_numpy()
    others = february.copy()
    for column in ("PULocationID", "DOLocationID", "trip_distance"):
        others.loc[later, column] = rng.permutation(february.loc[later, column])
    # They take hours, or end in the moment after; some had begun before.
    others.loc[later, "dropoff_datetime"] = now + pd.to_timedelta(
        rng.integers(1, 10**7, later.sum()), "us"
    )
    others.loc[later, "pickup_datetime"] = others.loc[later, "dropoff_datetime"] - pd.to_timedelta(
        rng.integers(60, 7200, later.sum()), "s"
    )
    told = with_recent(model, february).predict(asked)
    assert np.array_equal(with_recent(model, others).predict(asked), told)
    # Nor does it matter whether they are there, or in which order.
    there = february[~later].sample(frac=1, random_state=seed)
    assert np.array_equal(with_recent(model, there).predict(asked), told)


def test_a_trip_that_ended_just_now_counts_and_one_that_ends_a_moment_later_does_not(
    model: Pipeline, february: pd.DataFrame
) -> None:
    asked = february.iloc[[0]].assign(pickup_datetime=pd.Timestamp("2021-02-20 12:00"))
    one = february.iloc[[1]].assign(pickup_datetime=pd.Timestamp("2021-02-20 10:00"))

    def told(end: str) -> float:
        recent = one.assign(dropoff_datetime=pd.Timestamp(end))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(with_recent(model, recent).predict(asked)[0])

    assert told("2021-02-20 12:00:00") != told("2021-02-20 12:00:00.000001")
    # As usual, which is what it says without any.
    assert told("2021-02-20 12:00:00.000001") == told("2021-02-20 15:00")


def test_a_slow_city_makes_longer_trips(model: Pipeline, february: pd.DataFrame) -> None:
    last = february[february["pickup_datetime"] >= "2021-02-10"]
    slow = with_dropoffs(february.assign(duration=february["duration"] * 1.5))
    usual = with_recent(model, february).predict(last).mean()
    assert with_recent(model, slow).predict(last).mean() > 1.02 * usual


def test_it_errs_less_where_days_differ(model: Pipeline, training: pd.DataFrame) -> None:
    days = some_trips(3000, seed=7, month="2021-02")
    slow = np.where(days["pickup_datetime"].dt.day % 2, 1.0, 1.5)
    days = with_dropoffs(days.assign(duration=(days["duration"] * slow).clip(1, 60)))
    with pytest.warns(UserWarning, match="no recent ones"):
        untold = np.mean((model.predict(days) - days["duration"]) ** 2)
    assert np.mean((with_recent(model, days).predict(days) - days["duration"]) ** 2) < untold


def test_without_recent_trips_it_says_so_and_predicts_as_the_model_beside(
    model: Pipeline, training: pd.DataFrame, february: pd.DataFrame
) -> None:
    late = february[february["pickup_datetime"] >= "2021-02-10"]
    with pytest.warns(UserWarning, match=rf"of {len(late)} of {len(late)} trips no recent ones"):
        untold = model.predict(late)
    beside = make_model("xgboost-rich", FAST).fit(training, training["duration"])
    assert np.array_equal(untold, beside.predict(late))
    # The end of its training months it knows itself.
    first = february.iloc[[0]].assign(pickup_datetime=training["dropoff_datetime"].max())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(first)
        with_recent(model, february).predict(late)


def test_telling_a_model_leaves_it_as_it_was(model: Pipeline, february: pd.DataFrame) -> None:
    late = february[february["pickup_datetime"] >= "2021-02-10"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = model.predict(late)
        with_recent(model, february)
        assert np.array_equal(model.predict(late), before)


def test_mistakes_are_named(
    model: Pipeline, training: pd.DataFrame, february: pd.DataFrame
) -> None:
    with pytest.raises(ValueError, match=r"one of \['xgboost-rich-live'\]"):
        with_recent(make_model("linear").fit(training, training["duration"]), february)
    with pytest.raises(ValueError, match=r"missing: \['dropoff_datetime'\]"):
        with_recent(model, february.drop(columns="dropoff_datetime"))
    with pytest.raises(ValueError, match="must have no null dropoff_datetime"):
        with_recent(model, february.assign(dropoff_datetime=np.datetime64("NaT", "us")))
    with pytest.raises(ValueError, match="one row or more"):
        with_recent(model, february.iloc[:0])

"""Features of what is known at pick-up: right, and without a trip's own duration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from taxi_nb import make_model
from taxi_nb.models._zone_map import zone_positions
from taxi_nb.models._zone_statistics import ZoneStatistics, trip_groups
from taxi_nb.models.specs import GROUPS, KNOWN_AT_PICKUP
from taxi_nb.models.trip_features import TripFeatures

FAST = {"n_estimators": 20, "learning_rate": 0.3}


def some_trips(size: int, seed: int, month: str = "2021-01") -> pd.DataFrame:
    """Trips between zones on a grid; how long they take depends on distance, hour and zone."""
    rng = np.random.default_rng(seed)
    zones = rng.integers(1, 31, (size, 2))
    x, y = zones % 6, zones // 6
    miles = 1 + np.hypot(*np.diff([x, y]).squeeze(-1)) * rng.uniform(1, 1.3, size)
    pickup = pd.Timestamp(f"{month}-01") + pd.to_timedelta(rng.integers(0, 27 * 86400, size), "s")
    pace = 3 + np.isin(pickup.hour, [8, 17]) + zones[:, 0] / 15
    return pd.DataFrame(
        {
            "pickup_datetime": pickup.astype("datetime64[us]"),
            "PULocationID": zones[:, 0].astype("int32"),
            "DOLocationID": zones[:, 1].astype("int32"),
            "trip_distance": miles,
            "duration": (miles * pace * rng.lognormal(0, 0.1, size)).clip(1, 60),
        }
    )


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    return some_trips(1500, seed=0)


@pytest.fixture(scope="module")
def validation() -> pd.DataFrame:
    return some_trips(400, seed=1, month="2021-02")


@pytest.mark.parametrize("name", ["xgboost-rich", "xgboost-before"])
def test_a_validation_trips_target_changes_no_prediction(
    name: str, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    model = make_model(name, FAST).fit(training, training["duration"])
    told = model.predict(validation.assign(dropoff_datetime=validation["pickup_datetime"]))
    for other in (validation.assign(duration=60.0), validation.drop(columns="duration")):
        assert np.array_equal(model.predict(other), told)


def test_no_prediction_depends_on_the_other_trips_asked_for(
    training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    model = make_model("xgboost-rich", FAST).fit(training, training["duration"])
    alone = [float(model.predict(validation.iloc[[row]])[0]) for row in range(5)]
    assert alone == model.predict(validation)[:5].tolist()


def test_a_training_trips_own_target_is_no_part_of_its_features(training: pd.DataFrame) -> None:
    before = TripFeatures().fit_transform(training, training["duration"])
    changed = training["duration"].copy()
    changed.iloc[7] = 60.0
    after = TripFeatures().fit_transform(training, changed)
    pd.testing.assert_series_equal(before.iloc[7], after.iloc[7])
    # It is part of others': the statistics are not simply left out.
    assert not before.drop(index=7).equals(after.drop(index=7))
    # And where no folds are used it is part of its own, as for any other trip like it.
    plain = TripFeatures().fit(training, training["duration"]).transform(training)
    leaking = TripFeatures().fit(training, changed).transform(training)
    assert not plain.iloc[7].equals(leaking.iloc[7])


def test_with_random_minutes_out_of_fold_features_promise_nothing() -> None:
    rng = np.random.default_rng(0)
    trips = some_trips(1500, seed=3)
    noise = pd.Series(rng.uniform(1, 60, len(trips)))
    out_of_fold = TripFeatures().fit_transform(trips, noise)["minutes_pair"]
    in_sample = TripFeatures().fit(trips, noise).transform(trips)["minutes_pair"]
    assert abs(np.corrcoef(out_of_fold, noise)[0, 1]) < 0.1
    assert np.corrcoef(in_sample, noise)[0, 1] > 0.3


@pytest.mark.parametrize("seconds", [0, 1, 59])
def test_how_a_trip_was_recorded_is_not_known(
    seconds: int, training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    features = TripFeatures().fit(training, training["duration"])
    stamps = validation["pickup_datetime"].dt.floor("15min") + pd.Timedelta(seconds=seconds)
    rounded = features.transform(validation.assign(pickup_datetime=stamps, RatecodeID=np.nan))
    pd.testing.assert_frame_equal(rounded, features.transform(validation))


def test_an_implausible_distance_counts_as_what_is_usual_there(training: pd.DataFrame) -> None:
    features = TripFeatures().fit(training, training["duration"])
    trips = training.iloc[[3] * 5].assign(trip_distance=[0.0, -4.0, 90_000.0, np.nan, 2.0])
    made = features.transform(trips)
    usual = np.exp(made["log_miles_pair"].to_numpy())
    assert made["miles_plausible"].tolist() == [0, 0, 0, 0, 1]
    assert made["miles"].to_numpy()[:4] == pytest.approx(usual[:4], rel=1e-5)
    assert made["miles"].iloc[4] == 2.0


def test_without_the_distance_it_is_not_asked_for(
    training: pd.DataFrame, validation: pd.DataFrame
) -> None:
    model = make_model("xgboost-before", FAST).fit(training, training["duration"])
    known = validation[list(KNOWN_AT_PICKUP)]
    wrong = validation.assign(trip_distance=99.0)
    assert np.array_equal(model.predict(known), model.predict(wrong))


def test_zones_and_pairs_that_training_has_not_seen_get_coarser_means(
    training: pd.DataFrame,
) -> None:
    features = TripFeatures().fit(training, training["duration"])
    row = training.iloc[[0]]
    unseen = row.assign(PULocationID=200, DOLocationID=201)
    nowhere = row.assign(PULocationID=999, DOLocationID=-1)
    for trip in (unseen, nowhere):
        made = features.transform(trip).iloc[0]
        assert np.isfinite(made["minutes_pair"])
        assert np.isnan(made["pickup_x"])
    minutes = make_model("xgboost-rich", FAST).fit(training, training["duration"])
    assert np.isfinite(minutes.predict(pd.concat([unseen, nowhere]))).all()


@pytest.mark.parametrize("left_out", GROUPS)
def test_each_group_can_be_left_out(left_out: str, training: pd.DataFrame) -> None:
    groups = [group for group in GROUPS if group != left_out]
    all_of_them = set(TripFeatures().fit_transform(training, training["duration"]))
    features = TripFeatures(groups)
    made = features.fit_transform(training, training["duration"])
    assert set(made) < all_of_them
    assert list(features.transform(training)) == list(made)


def test_mistakes_are_named(training: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"missing: \['pickup_datetime'\]"):
        TripFeatures().fit(training.drop(columns="pickup_datetime"), training["duration"])
    with pytest.raises(ValueError, match=r"`groups` must be among .*got: \['weather'\]"):
        TripFeatures(["weather"]).fit(training, training["duration"])
    with pytest.raises(ValueError, match="`y` must hold the minutes"):
        TripFeatures().fit_transform(training)
    with pytest.raises(ValueError, match="one entry a trip, 1500, got: 3"):
        TripFeatures().fit(training, [1.0, 2.0, 3.0])


def test_few_trips_are_drawn_to_the_coarser_mean_and_many_are_not() -> None:
    def mean_of_a_pair(times: int) -> float:
        trips = pd.DataFrame(
            {
                "pickup_datetime": pd.Timestamp("2021-01-04 08:00"),
                "PULocationID": [4] * times + [7] * 500,
                "DOLocationID": [4] * times + [7] * 500,
            }
        )
        groups = trip_groups(trips)
        minutes = np.array([30.0] * times + [10.0] * 500)
        return float(ZoneStatistics().fit(groups, minutes).means(groups)["pair"][0])

    once, often = mean_of_a_pair(1), mean_of_a_pair(400)
    assert 10 < once < 20
    assert often == pytest.approx(30, abs=0.5)


def test_the_map_keeps_distances() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 10, (20, 2))
    a, b = (ends.ravel() for ends in np.meshgrid(np.arange(20), np.arange(20)))
    miles = np.hypot(*(truth[a] - truth[b]).T)
    found = zone_positions(a, b, miles, zones=25)
    assert np.isnan(found[20:]).all()
    assert np.hypot(*(found[a] - found[b]).T) == pytest.approx(miles, abs=1e-6)

"""Distributions in fixed bins, and the index of how far apart two of them are."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from taxi_nb import load_trips, provenance
from taxi_nb.evaluation._distribution import index_by_bin, index_by_chance
from taxi_nb.evaluation.drift import (
    COLUMNS,
    FEATURES,
    Distribution,
    Drift,
    DriftReference,
    counted,
    population_stability_index,
)


def test_the_index_is_the_sum_over_bins_of_difference_times_log_ratio() -> None:
    # Shares of 0.5, 0.5 and of 0.7, 0.3, but for the half trip that each bin gets.
    by_hand = (0.7 - 0.5) * math.log(0.7 / 0.5) + (0.3 - 0.5) * math.log(0.3 / 0.5)
    found = population_stability_index([500_000, 500_000], [700_000, 300_000])
    assert found == pytest.approx(by_hand, rel=1e-4)
    assert population_stability_index([7, 3], [5, 5]) == population_stability_index([5, 5], [7, 3])


def test_equal_shares_have_none_however_many_trips() -> None:
    assert population_stability_index([10, 20], [10, 20]) == 0
    assert population_stability_index([100_000, 200_000], [1_000, 2_000]) < 1e-6


def test_a_bin_that_is_empty_on_one_side_is_far_but_not_infinitely() -> None:
    assert 0.25 < population_stability_index([100, 100, 0], [100, 0, 100]) < 20


def test_other_bins_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="must have the same bins, got 2 and 3"):
        population_stability_index([1, 2], [1, 2, 3])


@pytest.mark.parametrize("size", [200, 20_000])
def test_chance_stays_below_what_it_explains(size: int) -> None:
    chance = np.random.default_rng(1)
    days = np.resize(np.arange("2021-01-01", "2021-02-01", dtype="datetime64[D]"), 20_000)
    expected = Distribution.of_numbers(chance.normal(size=5_000), days[:5_000])
    drawn = [
        Drift.between("x", expected, expected.of(chance.normal(size=size), days[:size]))
        for _ in range(300)
    ]
    indices = [drift.index for drift in drawn]
    assert sum(drift.index > drift.by_chance for drift in drawn) <= 2
    # It is no looser than it has to be.
    assert max(indices) > drawn[0].by_chance / 2


def month_of_days(chance: np.random.Generator, first: str, days: int) -> tuple:
    """Trips of a month in which each day has a mind of its own: values and time stamps."""
    stamps = np.repeat(np.arange(days), 600) + np.datetime64(first, "D")
    return chance.normal(np.repeat(chance.normal(0, 0.5, days), 600)), stamps


def test_days_that_differ_are_chance_and_not_drift() -> None:
    chance = np.random.default_rng(5)
    beyond, beyond_of_trips = 0, 0
    for _ in range(150):
        expected = Distribution.of_numbers(*month_of_days(chance, "2021-01-01", 31))
        found = expected.of(*month_of_days(chance, "2021-02-01", 28))
        drift = Drift.between("x", expected, found)
        beyond += drift.index > drift.by_chance
        chance_of_trips = index_by_chance(len(found.counts), expected.trips, found.trips)
        beyond_of_trips += drift.index > chance_of_trips
    assert beyond <= 2
    # Taken for independent, nearly all months would have changed.
    assert beyond_of_trips > 100


def test_a_change_beyond_the_days_is_drift() -> None:
    chance = np.random.default_rng(6)
    values, stamps = month_of_days(chance, "2021-02-01", 28)
    expected = Distribution.of_numbers(*month_of_days(chance, "2021-01-01", 31))
    drift = Drift.between("x", expected, expected.of(values + 1.5, stamps))
    assert drift.index > max(drift.by_chance, 0.25)


def weekdays(first: str, last: str, trips: dict[int, int] | None = None) -> Distribution:
    """Trips of the same weekdays each week: 100 a day, or as many as `trips` says."""
    days = np.arange(np.datetime64(first), np.datetime64(last) + 1)
    read = FEATURES["pickup_weekday"].read(days)
    stamps = np.repeat(days, [(trips or {}).get(int(day), 100) for day in read])
    return Distribution.of_categories(FEATURES["pickup_weekday"].read(stamps), stamps)


def test_five_mondays_are_no_drift() -> None:
    february, march = (
        weekdays("2021-02-01", "2021-02-28"),
        weekdays("2021-03-01", "2021-03-31"),
    )
    assert np.abs(march.shares - february.shares).max() > 0.01
    assert Drift.between("pickup_weekday", february, march).index == pytest.approx(0, abs=1e-4)
    # Fewer people on each of these Mondays are.
    quiet = weekdays("2021-03-01", "2021-03-31", {0: 5})
    found = Drift.between("pickup_weekday", february, quiet)
    assert found.index > max(found.by_chance, 0.25)
    assert found.most_changed.startswith("0: ")


def test_a_weekday_without_any_trip_is_drift_and_a_month_cut_short_is_none() -> None:
    february = weekdays("2021-02-01", "2021-02-28")
    no_mondays = weekdays("2021-03-01", "2021-03-31", {0: 0})
    missing = Drift.between("pickup_weekday", february, february.of(*_trips_of(no_mondays)))
    assert missing.index > 0.25
    ten_days = february.of(*_trips_of(weekdays("2021-03-01", "2021-03-10")))
    assert Drift.between("pickup_weekday", february, ten_days).index < 0.01


def _trips_of(one: Distribution) -> tuple[np.ndarray, np.ndarray]:
    counts = [int(counts.sum()) for counts in one.days.values()]
    stamps = np.repeat(np.array(list(one.days)).view("datetime64[D]"), counts)
    return FEATURES["pickup_weekday"].read(stamps), stamps


def test_a_single_day_explains_everything() -> None:
    chance = np.random.default_rng(7)
    expected = Distribution.of_numbers(*month_of_days(chance, "2021-01-01", 31))
    found = expected.of(*month_of_days(chance, "2021-02-01", 1))
    assert Drift.between("x", expected, found).by_chance == math.inf


def test_where_the_days_of_the_training_are_not_known_those_of_the_month_tell() -> None:
    chance = np.random.default_rng(8)
    with_days = Distribution.of_numbers(*month_of_days(chance, "2021-01-01", 31))
    kept = with_days.to_dict()
    del kept["days"]
    found = with_days.of(*month_of_days(chance, "2021-02-01", 28))
    known, unknown = (
        Drift.between("x", expected, found)
        for expected in (with_days, Distribution.from_dict(kept))
    )
    assert unknown.by_chance == pytest.approx(known.by_chance, rel=0.5)
    assert unknown.by_chance > 10 * index_by_chance(10, with_days.trips, found.trips)


def test_the_bin_that_changed_most_is_the_one_that_adds_most_to_the_index() -> None:
    # Without trips before, the first bin's logarithm is large, and what it adds is small.
    expected = Distribution(np.array([0, 5_000, 5_000]), edges=(1.0, 2.0))
    found = Distribution(np.array([100, 3_000, 6_900]), edges=(1.0, 2.0))
    drift = Drift.between("trip_distance", expected, found)
    added = index_by_bin(expected.counts, found.counts)
    assert added.sum() == pytest.approx(drift.index)
    assert added.argmax() == 1
    assert drift.most_changed == "1 to 2: 50.0% -> 30.0%"


def test_few_trips_explain_a_large_index() -> None:
    assert index_by_chance(10, 50_000, 30) > 0.25 > index_by_chance(10, 50_000, 50_000)
    assert index_by_chance(10, 50_000, 0) == math.inf


def test_numbers_fall_into_tenths_and_a_border_belongs_to_the_bin_below() -> None:
    found = Distribution.of_numbers(np.arange(1, 101))
    assert found.edges == tuple(range(10, 100, 10))
    assert found.counts.tolist() == [10] * 10
    assert found.of(np.array([10, 10.5, -1e9, 1e9])).counts.tolist() == [2, 1, *[0] * 7, 1]


def test_many_equal_numbers_make_fewer_bins() -> None:
    found = Distribution.of_numbers(np.array([0.0] * 80 + [1.0, 2.0] * 10))
    assert found.edges == (0.0, 1.0)
    assert found.counts.tolist() == [80, 10, 10]
    assert found.labels == ["up to 0", "0 to 1", "over 1"]


def test_rare_and_unknown_categories_share_a_bin() -> None:
    zones = np.repeat(np.arange(1, 15), [500, *[40] * 12, 1])
    found = Distribution.of_categories(zones)
    assert found.values == tuple(range(1, 14))
    assert found.counts[-1] == 1
    assert found.of(np.array([1, 14, 15, 265])).counts.tolist() == [1, *[0] * 12, 3]
    assert found.labels[-1] == "other"


def test_categories_of_which_none_is_common_still_have_bins() -> None:
    found = Distribution.of_categories(np.repeat(np.arange(1, 266), 5))
    assert len(found.values) >= 10


def test_hours_and_weekdays_are_those_of_the_clock() -> None:
    monday = np.array(["2021-02-01T23:59:59"], "datetime64[us]")
    assert FEATURES["pickup_hour"].read(monday).tolist() == [23]
    assert FEATURES["pickup_weekday"].read(monday).tolist() == [0]


@pytest.fixture
def reference(project: object) -> DriftReference:
    trips = load_trips("green", ["2021-01"], "sample", sample_rows=4_000)
    return DriftReference.of(trips, trips, trips["duration"])


def test_a_reference_survives_json(reference: DriftReference) -> None:
    again = DriftReference.from_dict(json.loads(json.dumps(reference.to_dict())))
    assert again.to_dict() == reference.to_dict()
    assert again.trained_on == "green 2021-01, sample (synthetic)"
    for name, distribution in reference.features.items():
        same = Drift.between(name, distribution, again.features[name])
        assert same.index == 0


def test_batches_add_up_to_the_month(reference: DriftReference) -> None:
    trips = load_trips("green", ["2021-02"], "sample", sample_rows=4_000)
    columns = {name: trips[name].to_numpy() for name in COLUMNS}
    halves = [
        {name: column[part] for name, column in columns.items()}
        for part in (slice(0, 1_000), slice(1_000, None))
    ]
    whole, added = counted(reference.features, [columns]), counted(reference.features, halves)
    assert [one.counts.tolist() for one in whole.values()] == [
        one.counts.tolist() for one in added.values()
    ]


def test_of_months_beyond_memory_all_trips_are_counted(project: object) -> None:
    part = load_trips("green", ["2021-01"], "sample", sample_rows=4_000, max_trips=500)
    found = DriftReference.of(part, part, part["duration"])
    kept = provenance(part).cleaning.rows_kept
    assert kept > 3_800
    assert {one.trips for one in found.features.values()} == {kept}

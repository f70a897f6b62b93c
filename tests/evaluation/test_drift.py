"""Distributions in fixed bins, and the index of how far apart two of them are."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from taxi_nb import load_trips, provenance
from taxi_nb.evaluation.drift import (
    COLUMNS,
    FEATURES,
    Distribution,
    Drift,
    DriftReference,
    counted,
    index_by_bin,
    index_by_chance,
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
    expected = Distribution.of_numbers(chance.normal(size=5_000))
    drawn = [
        Drift.between("x", expected, expected.of(chance.normal(size=size))) for _ in range(300)
    ]
    indices = [drift.index for drift in drawn]
    assert sum(drift.index > drift.by_chance for drift in drawn) <= 2
    # It is no looser than it has to be.
    assert max(indices) > drawn[0].by_chance / 2


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

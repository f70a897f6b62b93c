"""Errors of means whose trips go together within a day."""

from __future__ import annotations

import numpy as np
import pytest

from taxi_nb import ReportedError, load_trips
from taxi_nb.evaluation.day_blocks import DayMean, rmse_gain, rmse_of_days


def test_without_effects_of_days_it_is_the_usual_standard_error() -> None:
    values = np.random.default_rng(1).normal(size=200_000)
    found = DayMean.of(values, np.arange(len(values)) % 400)
    assert found.mean == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std() / len(values) ** 0.5, rel=0.1)


def test_an_interval_holds_as_often_as_it_says_though_trips_go_together() -> None:
    chance = np.random.default_rng(2)
    missed = missed_by_trips = 0
    months = 1_000
    for _ in range(months):
        trips = chance.integers(20, 80, 28)
        day = np.repeat(np.arange(28), trips)
        values = chance.normal(chance.normal(0, 0.5, 28)[day])
        found = DayMean.of(values, day)
        missed += abs(found.mean) > found.reach()
        missed_by_trips += abs(found.mean) > 2 * values.std() / len(values) ** 0.5
    # In both directions, one of twenty.
    assert 0.03 < missed / months < 0.075
    assert missed_by_trips / months > 0.3


def test_more_comparisons_reach_further() -> None:
    found = DayMean.of([1.0, 2.0, 4.0, 3.0], [1, 2, 3, 4])
    assert found.reach() == pytest.approx(3.1824 * found.error, rel=1e-4)
    assert found.reach(9) > 1.9 * found.reach()


def test_of_one_day_nothing_is_known() -> None:
    found = rmse_of_days([3.0, 4.0], [1, 1])
    assert found.days == 1
    assert found.error == found.reach() == float("inf")


def test_a_gain_is_the_difference_of_the_roots_and_equal_models_have_none() -> None:
    chance = np.random.default_rng(3)
    before, after = chance.normal(0, 5, 900) ** 2, chance.normal(0, 4, 900) ** 2
    days = np.arange(900) // 100
    gain = rmse_gain(before, after, days)
    assert gain.mean == pytest.approx(before.mean() ** 0.5 - after.mean() ** 0.5)
    assert rmse_gain(before, before, days) == DayMean(0.0, 0.0, 9)


@pytest.mark.usefixtures("project")
def test_an_error_says_whether_its_trips_chose_the_model() -> None:
    trips = load_trips("green", ["2021-02"], "sample", sample_rows=500)
    for candidates, says in ((1, "it was the only model"), (9, "the number is optimistic")):
        chosen = ReportedError.of(trips, trips["duration"] + 3, candidates=candidates)
        assert says in str(chosen)
        assert set(chosen.logged) == {"selection_rmse_day_error"}


@pytest.mark.usefixtures("project")
def test_test_months_that_taught_or_chose_are_refused() -> None:
    training, validation, test = (
        load_trips("green", [month], "sample", sample_rows=500)
        for month in ("2021-01", "2021-02", "2021-03")
    )

    class TenMinutes:
        def predict(self, trips: object) -> np.ndarray:
            return np.full(len(trips), 10.0)  # type: ignore[arg-type]

    reported = ReportedError.on_test(test, TenMinutes(), chosen_by=[training, validation])
    assert str(reported).endswith("these trips taught and chose nothing")
    assert set(reported.logged) == {"test_rmse", "test_mae", "test_r2", "test_rmse_day_error"}
    for wrong in (training, validation):
        with pytest.raises(ValueError, match="`test_months` must be months that taught and chose"):
            ReportedError.on_test(wrong, TenMinutes(), chosen_by=[training, validation])

"""Measuring predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from taxi_nb import error_by, regression_metrics, rule_of_thumb


def test_metrics_of_a_known_case() -> None:
    metrics = regression_metrics([10.0, 20.0], [13.0, 16.0])
    assert metrics["rmse"] == pytest.approx(np.sqrt((9 + 16) / 2))
    assert metrics["mae"] == pytest.approx(3.5)
    assert metrics["r2"] == pytest.approx(1 - 25 / 50)


def test_errors_by_slice_count_and_keep_the_order_of_a_categorical() -> None:
    trips = pd.DataFrame({"duration": [10.0, 10.0, 30.0, 8.0]}, index=[5, 6, 7, 8])
    miles = pd.cut(pd.Series([1, 1, 20, 5], index=trips.index), [0, 4, 16, 30])
    table = error_by(trips, [12.0, 8.0, 33.0, 8.0], miles)
    assert list(table["trips"]) == [2, 1, 1]
    assert list(table["rmse"]) == pytest.approx([2.0, 0.0, 3.0])
    assert list(table["bias"]) == pytest.approx([0.0, 0.0, 3.0])


def test_the_rule_of_thumb_is_distance_by_the_hours_median_speed() -> None:
    at = pd.to_datetime(["2021-01-01 08:00", "2021-01-01 08:30", "2021-01-01 20:00"])
    training = pd.DataFrame(
        {"pickup_datetime": at, "trip_distance": [2.0, 1.0, 2.0], "duration": [8.0, 6.0, 4.0]}
    )
    asked = pd.DataFrame(
        {
            "pickup_datetime": pd.to_datetime(["2021-02-01 08:05", "2021-02-01 20:05"]),
            "trip_distance": [1.0, 3.0],
        }
    )
    # 5 minutes a mile at eight, 2 at twenty; never beyond what training has seen.
    assert list(rule_of_thumb(training, asked)) == pytest.approx([5.0, 6.0])
    far = asked.assign(trip_distance=[500.0, 0.0])
    assert list(rule_of_thumb(training, far)) == pytest.approx([8.0, 4.0])

"""Measuring predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from taxi_nb import error_by, gain_over, load_trips, plots, regression_metrics, rule_of_thumb


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


def test_slices_come_with_errors_over_days_and_another_prediction_beside(project: object) -> None:
    trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000).head(900)
    late = 3.0 + trips["pickup_datetime"].dt.day % 2
    first = trips["pickup_datetime"].dt.day == 1
    slices = first.map({True: "the first", False: "later"})
    table = error_by(trips, trips["duration"] + late, slices, beside=trips["duration"] + 5.0)
    assert table["trips"].sum() == 900
    assert list(table["beside_rmse"]) == pytest.approx([5.0, 5.0])
    assert list(table["gain"]) == pytest.approx(list(5.0 - table["rmse"]))
    later, one_day = table.loc["later"], table.loc["the first"]
    assert (one_day["days"], one_day["rmse"]) == (1, 4.0)
    # Nobody knows from one day how days scatter.
    assert np.isnan(one_day["rmse_error"])
    assert np.isnan(one_day["gain_error"])
    among = trips[~first]
    gain = gain_over(among, among["duration"] + 5.0, among["duration"] + late[~first])
    assert (later["gain"], later["gain_error"]) == pytest.approx((gain.mean, gain.error))
    assert later["rmse_error"] > 0

    (axes,) = plots.error_by_slice(table, "Error", "day", trips).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [f"{name}\n{count}" for name, count in table["trips"].items()]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "model",
        "± standard error over days",
        "rule of thumb",
    ]


def test_the_rule_of_thumb_is_a_line_in_distance_for_each_hour() -> None:
    miles = np.tile([1.0, 2.0, 3.0], 20)
    training = pd.DataFrame(
        {
            "pickup_datetime": pd.to_datetime(
                ["2021-01-04 08:10"] * 60 + ["2021-01-04 22:10"] * 60
            ),
            "trip_distance": [*miles, *miles],
            "duration": [*(2 + 4 * miles), *(1 + 3 * miles)],
        }
    )
    asked = pd.DataFrame(
        {
            "pickup_datetime": pd.to_datetime(["2021-02-01 08:00", "2021-02-01 22:00"] * 2),
            "trip_distance": [5.0, 5.0, -3.0, 244_152.0],
        }
    )
    assert list(rule_of_thumb(training, asked)) == pytest.approx([22.0, 16.0, 2.0, 121.0])
    # No trip of that hour is known: the line of all hours.
    night = asked.assign(pickup_datetime=pd.Timestamp("2021-02-01 03:00")).head(1)
    assert list(rule_of_thumb(training, night)) == pytest.approx([1.5 + 3.5 * 5])
    # A line through one distance is level.
    same = training.assign(trip_distance=2.0).head(60)
    assert list(rule_of_thumb(same, asked.head(1))) == pytest.approx([10.0])


def test_the_rule_of_thumb_is_worth_beating_on_real_months(real_months: Path) -> None:
    training, validation = (
        load_trips("green", [month], real_months) for month in ("2021-01", "2021-02")
    )
    found = regression_metrics(validation["duration"], rule_of_thumb(training, validation))
    assert found["rmse"] == pytest.approx(7.69, abs=0.005)

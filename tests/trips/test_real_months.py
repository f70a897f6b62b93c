"""Months as the TLC published them give the counts that are known of them."""

import pytest

from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.loading import load_trips
from taxi_nb.trips.origin import provenance


@pytest.mark.parametrize(
    ("month", "within_month", "rows"),
    [
        ("2021-01", False, 73_908),
        ("2021-02", False, 61_921),
        ("2021-01", True, 73_906),
        ("2021-02", True, 61_920),
        ("2023-01", True, 65_943),
    ],
)
def test_rows_that_stay(real_months, month, within_month, rows):
    rules = Cleaning(within_month=within_month)
    trips = load_trips("green", [month], real_months, cleaning=rules)
    assert len(trips) == rows


def test_the_published_month_is_cleaned(real_months):
    report = provenance(load_trips("green", ["2023-01"], real_months)).cleaning
    assert report.rows_in == 68_211
    assert report.taken_out == {"missing": 0, "month": 4, "zone": 0, "short": 1645, "long": 619}


def test_real_months_are_not_called_synthetic(real_months):
    origin = provenance(load_trips("green", ["2021-01", "2021-02"], real_months))
    assert not origin.synthetic
    assert origin.title == f"green 2021-01, 2021-02, {real_months}"


def test_duration_is_exactly_that_of_the_file(real_months):
    import pandas as pd

    trips = load_trips("green", ["2021-01"], real_months, cleaning=Cleaning(within_month=False))
    saved = pd.read_parquet(f"{real_months}/green_tripdata_2021-01.parquet")
    assert trips["duration"].tolist() == saved["duration"].tolist()
    assert trips["trip_distance"].tolist() == saved["trip_distance"].tolist()

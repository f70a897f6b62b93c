"""Synthetic months: shaped like the TLC's, plausible, reproducible, and broken as documented."""

import datetime as dt
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from taxi_nb.evaluation.metrics import regression_metrics
from taxi_nb.models.choice import make_model
from taxi_nb.models.zones import boroughs
from taxi_nb.project import publish
from taxi_nb.trips._made_month import BROKEN_SHARES
from taxi_nb.trips.errors import BrokenFileError, TripsError
from taxi_nb.trips.loading import load_trips
from taxi_nb.trips.origin import provenance
from tests.conftest import REPOSITORY

ROWS = 40_000
TAXIS = ("green", "yellow")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("project")


@pytest.fixture(autouse=True)
def _project(root, monkeypatch):
    monkeypatch.setenv("TAXI_NB_ROOT", str(root))
    monkeypatch.delenv("TAXI_NB_DATA_DIR", raising=False)


def _sample(taxi: str = "green", month: str = "2021-01", **options: int) -> pd.DataFrame:
    return load_trips(taxi, [month], "sample", **({"sample_rows": ROWS} | options))  # type: ignore[arg-type]


def _file_of(trips: pd.DataFrame) -> Path:
    return Path(provenance(trips).files[0].path)


@pytest.mark.parametrize("taxi", ["green", "yellow"])
@pytest.mark.parametrize("rows", [1, 137, ROWS])
def test_the_cleaning_report_finds_exactly_the_broken_share(taxi, rows):
    report = provenance(_sample(taxi, sample_rows=rows)).cleaning
    assert report.rows_in == rows
    assert report.taken_out == {rule: round(share * rows) for rule, share in BROKEN_SHARES.items()}


def test_a_sample_is_the_default_source_and_says_what_it_is():
    trips = load_trips("green", ["2021-01"], sample_rows=500)
    origin = provenance(trips)
    assert origin.synthetic
    assert origin.title == "green 2021-01, sample (synthetic)"


def test_a_sample_says_what_it_is_wherever_it_is_copied(tmp_path):
    content = _file_of(_sample(sample_rows=500)).read_bytes()
    (tmp_path / "green_tripdata_2021-01.parquet").write_bytes(content)
    origin = provenance(load_trips("green", ["2021-01"], str(tmp_path)))
    assert origin.synthetic
    assert origin.title == f"green 2021-01, {tmp_path} (synthetic)"


def test_the_same_seed_gives_the_same_bytes_in_another_process(root, tmp_path):
    # Another salt for hash() must not matter.
    code = (
        "from taxi_nb import load_trips, provenance;"
        "print(provenance(load_trips('green', ['2021-01'], 'sample', sample_rows=5000))"
        ".files[0].sha256)"
    )
    settings = {"TAXI_NB_ROOT": str(tmp_path), "PYTHONHASHSEED": "7"}
    other = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    here = _file_of(_sample(sample_rows=5000)).read_bytes()
    assert other.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_every_choice_makes_another_file():
    samples = [
        _sample(sample_rows=900),
        _sample(sample_rows=901),
        _sample(sample_rows=900, seed=1),
        _sample(sample_rows=900, month="2021-02"),
        _sample("yellow", sample_rows=900),
    ]
    assert len({_file_of(trips) for trips in samples}) == 5
    assert len({provenance(trips).files[0].sha256 for trips in samples}) == 5


def test_a_month_is_made_once():
    first = _file_of(_sample(sample_rows=700))
    written = first.stat().st_mtime_ns
    assert _file_of(_sample(sample_rows=700)).stat().st_mtime_ns == written


def test_no_part_file_stays_behind(root):
    _sample(sample_rows=600)
    assert not [path for path in (root / "data/sample").iterdir() if path.suffix != ".parquet"]


def test_a_harmed_sample_says_how_to_mend_it():
    path = _file_of(_sample(sample_rows=800))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BrokenFileError, match=r"is cut short.*Delete it, and it is made again"):
        _sample(sample_rows=800)


def test_a_sample_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("a file where a folder should be")
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path))
    with pytest.raises(TripsError, match=r"\.parquet cannot be written: Not a directory"):
        _sample()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "`seed` must be an int of at least 0, got: -1"),
        ({"seed": 1.5}, r"`seed` must be an int of at least 0, got: 1\.5"),
        ({"sample_rows": 0}, "`sample_rows` must be an int of at least 1, got: 0"),
        ({"sample_rows": "many"}, "`sample_rows` must be an int of at least 1, got: 'many'"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(TripsError, match=message):
        _sample(**options)


GREEN = """VendorID int64, lpep_pickup_datetime timestamp[us], lpep_dropoff_datetime timestamp[us],
store_and_fwd_flag string, RatecodeID double, PULocationID int64, DOLocationID int64,
passenger_count double, trip_distance double, fare_amount double, extra double, mta_tax double,
tip_amount double, tolls_amount double, ehail_fee null, improvement_surcharge double,
total_amount double, payment_type double, trip_type double, congestion_surcharge double"""

YELLOW = """VendorID int64, tpep_pickup_datetime timestamp[us], tpep_dropoff_datetime timestamp[us],
passenger_count double, trip_distance double, RatecodeID double, store_and_fwd_flag string,
PULocationID int64, DOLocationID int64, payment_type int64, fare_amount double, extra double,
mta_tax double, tip_amount double, tolls_amount double, improvement_surcharge double,
total_amount double, congestion_surcharge double, airport_fee double"""


@pytest.mark.parametrize(("taxi", "published"), [("green", GREEN), ("yellow", YELLOW)])
def test_files_have_the_columns_that_the_tlc_publishes(taxi, published):
    schema = pq.read_schema(_file_of(_sample(taxi)))
    columns = [f"{field.name} {field.type}" for field in schema]
    assert columns == " ".join(published.split()).split(", ")


def test_amounts_add_up_to_the_total():
    records = pd.read_parquet(_file_of(_sample("yellow")))
    parts = [
        "fare_amount extra mta_tax tip_amount tolls_amount improvement_surcharge",
        "congestion_surcharge airport_fee",
    ]
    total = records[" ".join(parts).split()].sum(axis=1)
    np.testing.assert_allclose(records["total_amount"], total, atol=0.006)


def test_green_and_yellow_work_where_they_do_in_the_city():
    green = boroughs(_sample("green")["PULocationID"]).value_counts(normalize=True)
    yellow = boroughs(_sample("yellow")["PULocationID"]).value_counts(normalize=True)
    assert yellow["Manhattan"] > 0.8
    assert green["Manhattan"] < 0.5
    assert green["Queens"] > 0.15
    assert green["Brooklyn"] > 0.15
    airports = _sample("yellow")["PULocationID"].isin([132, 138]).mean()
    assert 0.04 < airports < 0.15


def test_few_zones_have_most_of_the_trips():
    shares = _sample()["PULocationID"].value_counts(normalize=True)
    assert shares.head(26).sum() > 0.4
    assert len(shares) > 150


def test_demand_has_rush_hours_quiet_nights_and_quiet_sundays():
    pickup = _sample()["pickup_datetime"].dt
    by_hour = pickup.hour.value_counts()
    assert by_hour[17] > 3 * by_hour[4] > 0
    per_day = pickup.date.value_counts()
    sundays = [day for day in per_day.index if day.weekday() == 6]
    thursdays = [day for day in per_day.index if day.weekday() == 3]
    assert per_day[sundays].mean() < 0.9 * per_day[thursdays].mean()
    assert len(per_day) == 31


def test_records_come_in_the_order_of_pickup_with_whole_seconds():
    pickup = _sample()["pickup_datetime"]
    assert pickup.is_monotonic_increasing
    assert (pickup == pickup.dt.floor("s")).all()


def test_a_short_month_has_only_its_own_days():
    days = _sample(month="2024-02")["pickup_datetime"].dt.date
    assert (days.min(), days.max()) == (dt.date(2024, 2, 1), dt.date(2024, 2, 29))


def test_rush_hour_is_slower_than_the_night():
    trips = _sample()
    speed = trips["trip_distance"] / trips["duration"] * 60
    hour = trips["pickup_datetime"].dt.hour
    assert speed[hour == 17].median() < 0.75 * speed[hour == 3].median()
    assert 6 < speed.median() < 25


# The shares are those of the TLC's green months of 2021 to 2023.
MONTHS = ["2021-01", "2021-02", "2021-03", "2022-01"]


@pytest.mark.parametrize("taxi", ["green", "yellow"])
def test_distances_of_zero_and_absurd_ones_have_real_shares(taxi):
    for month in MONTHS:
        miles = _sample(taxi, month)["trip_distance"]
        assert 0.012 < (miles <= 0).mean() < 0.035
        assert 0.0002 < (miles > 100).mean() < 0.0012
        assert 20_000 < miles.max() <= 244_152


def test_lengths_are_those_of_each_taxi():
    # Real medians: green 2.6 miles and 14 minutes, yellow 1.7 and 10.
    green, yellow = (_sample(taxi)[["trip_distance", "duration"]].median() for taxi in TAXIS)
    assert 2 < green["trip_distance"] < 4.5
    assert 1.5 < yellow["trip_distance"] < 2
    assert 10 < yellow["duration"] < 13 < green["duration"] < 17


def test_months_differ_in_their_number_of_records():
    rows = [provenance(_sample(month=month)).cleaning.rows_in for month in MONTHS]
    assert rows[0] == ROWS
    assert len(set(rows)) == len(MONTHS)
    assert all(0.7 * ROWS <= one <= 1.4 * ROWS for one in rows)


def test_records_without_the_meters_details_are_of_whole_minutes():
    for month in MONTHS:
        records = pd.read_parquet(_file_of(_sample(month=month)))
        bare = records["store_and_fwd_flag"].isna()
        assert 0.05 < bare.mean() < 0.49
        stamps = records[["lpep_pickup_datetime", "lpep_dropoff_datetime"]]
        whole = (stamps.apply(lambda one: one.dt.second) == 0).all(axis=1)
        assert whole[bare].mean() > 0.95
        assert whole[~bare].mean() < 0.01


def test_absurd_distances_stop_lsqr_before_it_has_converged():
    training = _sample(sample_rows=30_000)
    stopped, exact = (
        regression_metrics(
            training["duration"],
            make_model(name).fit(training, training["duration"]).predict(training),
        )
        for name in ("linear-lsqr", "linear")
    )
    # On the real January: 5.70 and 4.64.
    assert stopped["rmse"] > 1.1 * exact["rmse"]


def test_the_months_of_a_seed_share_the_city():
    typical = [
        _sample(month=month, seed=seed, sample_rows=200_000)
        .groupby(["PULocationID", "DOLocationID"])["duration"]
        .agg(["median", "size"])
        for month, seed in [("2021-01", 42), ("2021-02", 42), ("2021-02", 7)]
    ]
    january, february, elsewhere = [pairs[pairs["size"] > 60]["median"] for pairs in typical]
    assert january.corr(february) > 0.95
    assert february.corr(elsewhere) < 0.7


def test_models_learn_from_january_what_helps_in_february():
    trees = pytest.importorskip("xgboost")
    train, valid = _sample(), _sample(month="2021-02")
    columns = ["PULocationID", "DOLocationID", "trip_distance"]
    model = trees.XGBRegressor(n_estimators=60, learning_rate=0.2, random_state=0, n_jobs=1)
    model.fit(train[columns], train["duration"])

    def rmse(predicted: object) -> float:
        return float(np.sqrt(((valid["duration"] - predicted) ** 2).mean()))  # type: ignore[operator]

    assert rmse(train["duration"].mean()) > 10
    assert 5 < rmse(model.predict(valid[columns])) < 8


def test_a_month_that_another_process_makes_at_the_same_time_is_not_replaced(tmp_path, warm_python):
    """Kernels side by side need the same month: nobody's file may change while it is read."""
    load = "from taxi_nb import load_trips; load_trips('green', ['2021-01'], sample_rows=20_000)"
    env = {**os.environ, "TAXI_NB_ROOT": str(tmp_path)}
    processes = [warm_python.start(["-c", load], REPOSITORY, env) for _ in range(3)]
    assert [process.communicate(timeout=60) for process in processes] == [("", "")] * 3
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [path.suffix for path in (tmp_path / "data" / "sample").iterdir()] == [".parquet"]


def test_the_first_of_two_files_stays(tmp_path):
    part, path = tmp_path / "part", tmp_path / "whole"
    part.write_text("second")
    path.write_text("first")
    assert not publish(part, path, replace=False)
    assert path.read_text() == "first"
    path.unlink()
    assert publish(part, path, replace=False)
    assert path.read_text() == "second"

"""What is a trip: the rules, the report of what they took out, and the schema."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from taxi_nb.plain_data import from_plain
from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.errors import NoTripsError, SchemaError, TripsError
from taxi_nb.trips.loading import load_trips
from taxi_nb.trips.origin import provenance
from taxi_nb.trips.report import CleaningReport
from taxi_nb.trips.schema import validate_trips

GOOD = {
    "lpep_pickup_datetime": "2021-01-15 10:00:00",
    "minutes": 10.0,
    "PULocationID": 43,
    "DOLocationID": 74,
    "trip_distance": 2.5,
}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Write records, given as what is special about each, as a month of green, and load it."""
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path))

    def load(*records: dict, cleaning: Cleaning | None = None) -> pd.DataFrame:
        frame = pd.DataFrame([GOOD | record for record in records])
        pickup = pd.to_datetime(frame["lpep_pickup_datetime"]).astype("datetime64[us]")
        elapsed = pd.to_timedelta(frame.pop("minutes") * 60, unit="s")
        frame["lpep_pickup_datetime"] = pickup
        frame["lpep_dropoff_datetime"] = pickup + elapsed
        frame.to_parquet(tmp_path / "green_tripdata_2021-01.parquet")
        return load_trips("green", ["2021-01"], str(tmp_path), cleaning=cleaning)

    return load


def _taken_out(trips: pd.DataFrame) -> dict[str, int]:
    report = provenance(trips).cleaning
    return {rule: count for rule, count in report.taken_out.items() if count}


def test_a_frame_of_trips(load):
    trips = load({})
    assert {name: str(kind) for name, kind in trips.dtypes.items()} == {
        "pickup_datetime": "datetime64[us]",
        "dropoff_datetime": "datetime64[us]",
        "PULocationID": "int32",
        "DOLocationID": "int32",
        "trip_distance": "float64",
        "duration": "float64",
    }
    assert trips.index.equals(pd.RangeIndex(1))
    assert trips.loc[0].tolist() == [
        pd.Timestamp("2021-01-15 10:00"),
        pd.Timestamp("2021-01-15 10:10"),
        43,
        74,
        2.5,
        10.0,
    ]


@pytest.mark.parametrize(
    ("record", "rule"),
    [
        ({"minutes": 59 / 60}, "short"),
        ({"minutes": 0.0}, "short"),
        ({"minutes": -5.0}, "short"),
        ({"minutes": 60 + 1 / 60}, "long"),
        ({"minutes": 24 * 60.0}, "long"),
        ({"PULocationID": 0}, "zone"),
        ({"DOLocationID": 266}, "zone"),
        ({"DOLocationID": -3}, "zone"),
        ({"PULocationID": 43.5}, "zone"),
        ({"PULocationID": None}, "missing"),
        ({"DOLocationID": None}, "missing"),
        ({"trip_distance": None}, "missing"),
        ({"trip_distance": np.inf}, "missing"),
        ({"lpep_pickup_datetime": None}, "missing"),
        ({"minutes": None}, "missing"),
        ({"lpep_pickup_datetime": "2020-12-31 23:59:59"}, "month"),
        ({"lpep_pickup_datetime": "2021-02-01 00:00:00"}, "month"),
        ({"lpep_pickup_datetime": "2009-01-15 10:00:00"}, "month"),
    ],
)
def test_each_rule_takes_out_what_breaks_it(load, record, rule):
    trips = load({}, record)
    assert len(trips) == 1
    assert _taken_out(trips) == {rule: 1}


@pytest.mark.parametrize(
    "record",
    [
        {"minutes": 1.0},
        {"minutes": 60.0},
        {"PULocationID": 1},
        {"DOLocationID": 265},
        {"lpep_pickup_datetime": "2021-01-01 00:00:00"},
        {"lpep_pickup_datetime": "2021-01-31 23:59:59"},
        {"trip_distance": 0.0},
        {"trip_distance": 244_152.01},
    ],
)
def test_what_is_just_within_the_rules_stays(load, record):
    assert len(load(record)) == 1


def test_a_row_counts_once_under_the_first_rule_that_it_breaks(load):
    hopeless = {"PULocationID": 0, "minutes": 0.0, "lpep_pickup_datetime": "2009-01-01 00:00:00"}
    trips = load({}, hopeless, hopeless | {"DOLocationID": None})
    assert _taken_out(trips) == {"missing": 1, "month": 1}


def test_rows_keep_the_order_of_the_file(load):
    distances = [5.0, 1.0, 3.0, 2.0]
    trips = load(*({"trip_distance": miles} for miles in distances), {"minutes": 0.0})
    assert trips["trip_distance"].tolist() == distances


def test_distances_are_judged_only_where_asked(load):
    records = [{"trip_distance": miles} for miles in (0.0, 0.1, 100.0, 100.1)]
    assert len(load(*records)) == 4
    trips = load(*records, cleaning=Cleaning(min_distance=0.1, max_distance=100))
    assert trips["trip_distance"].tolist() == [0.1, 100.0]
    assert _taken_out(trips) == {"distance": 2}
    assert len(load(*records, cleaning=Cleaning(min_distance=0.1))) == 3
    assert len(load(*records, cleaning=Cleaning(max_distance=100))) == 3


def test_other_settings(load):
    settings = Cleaning(min_minutes=0, max_minutes=90, max_zone=263, within_month=False)
    trips = load(
        {"minutes": 0.0},
        {"minutes": 90.0},
        {"PULocationID": 264},
        {"lpep_pickup_datetime": "2009-01-01 00:00:00"},
        cleaning=settings,
    )
    assert len(trips) == 3
    assert _taken_out(trips) == {"zone": 1}
    assert "month" not in provenance(trips).cleaning.rules


def test_nothing_left_is_an_error_that_shows_the_counts(load):
    with pytest.raises(NoTripsError) as error:
        load({"minutes": 0.0}, {"minutes": 0.5}, {"PULocationID": 0})
    assert str(error.value).endswith(
        "green_tripdata_2021-01.parquet is left: of 3 records, "
        "1 for: zone outside 1 to 265, 2 for: shorter than 1 minute"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_minutes": 61}, r"`min_minutes` must not be above `max_minutes`, got: 61 > 60.0"),
        ({"min_minutes": -1}, "`min_minutes` must not be negative, got: -1"),
        ({"max_minutes": "60"}, "`max_minutes` must be a finite number, got: '60'"),
        ({"max_minutes": float("nan")}, "`max_minutes` must be a finite number, got: nan"),
        ({"min_zone": 0}, "`min_zone` must be an int from 1 to 265, got: 0"),
        ({"min_zone": 9, "max_zone": 8}, "`min_zone` must not be above `max_zone`, got: 9 > 8"),
        ({"within_month": "no"}, "`within_month` must be True or False, got: 'no'"),
        ({"max_distance": True}, "`max_distance` must be a finite number, got: True"),
        (
            {"min_distance": 5, "max_distance": 4},
            "`min_distance` must not be above `max_distance`, got: 5 > 4",
        ),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        Cleaning(**settings)


def test_cleaning_of_another_type_is_an_error():
    message = r"`cleaning` must be a Cleaning, a dict or None, got: \[\]"
    with pytest.raises(TripsError, match=message):
        load_trips("green", ["2021-01"], "sample", cleaning=[])  # type: ignore[arg-type]


def test_cleaning_may_be_a_dict(project: object) -> None:
    trips, same = (
        load_trips("green", ["2021-01"], "sample", sample_rows=1_000, cleaning=cleaning)
        for cleaning in ({"max_distance": 3}, Cleaning(max_distance=3))
    )
    assert provenance(trips) == provenance(same)
    with pytest.raises(TripsError, match=r"no setting 'max_miles'; its settings are min_minutes, "):
        load_trips("green", ["2021-01"], "sample", cleaning={"max_miles": 3})
    with pytest.raises(TripsError, match="`max_distance` must be a finite number, got: 'far'"):
        load_trips("green", ["2021-01"], "sample", cleaning={"max_distance": "far"})


@pytest.fixture
def report(load) -> CleaningReport:
    trips = load({}, {}, {}, {"minutes": 0.0}, {"PULocationID": 999})
    return provenance(trips).cleaning


def test_the_report_adds_up(report):
    assert (report.rows_in, report.rows_kept) == (5, 3)
    assert report.rows_in - sum(report.taken_out.values()) == report.rows_kept


def test_the_report_as_a_table(report):
    table = report.to_frame()
    assert table["2021-01"].to_dict() == {
        "rows in": 5,
        "a time, zone or distance is missing": 0,
        "pick-up outside the month": 0,
        "zone outside 1 to 265": 1,
        "shorter than 1 minute": 1,
        "longer than 60 minutes": 0,
        "rows kept": 3,
        "of these, distance of zero or less": 0,
    }
    assert table["total"].equals(table["2021-01"].rename("total"))


def test_the_report_as_text(report):
    assert str(report).splitlines() == [
        "                                     2021-01    share",
        "rows in                                    5  100.00%",
        "a time, zone or distance is missing        0    0.00%",
        "pick-up outside the month                  0    0.00%",
        "zone outside 1 to 265                      1   20.00%",
        "shorter than 1 minute                      1   20.00%",
        "longer than 60 minutes                     0    0.00%",
        "rows kept                                  3   60.00%",
        "of these, distance of zero or less         0    0.00%",
        "no trip on 30 of the 31 days of 2021-01: 1 to 14, 16 to 31",
    ]


def test_the_report_in_a_notebook(report):
    html = report._repr_html_()
    assert html.count("<tr>") == 9
    assert "shorter than 1 minute" in html
    assert "20.00%" in html


def test_the_report_survives_json(report):
    assert from_plain(CleaningReport, json.loads(json.dumps(report.to_dict()))) == report


def test_the_report_names_the_distance_rule():
    rules = Cleaning(min_distance=1, max_distance=2.5).rules
    assert list(rules) == ["missing", "month", "zone", "short", "long", "distance"]
    assert rules["distance"] == "distance outside 1 to 2.5 miles"
    assert Cleaning(max_distance=1).rules["distance"] == "distance over 1 mile"


def test_loaded_trips_keep_the_schema(load):
    validate_trips(load({}, {}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.assign(duration=61.0), "duration: in_range.* fails for 2 value"),
        (lambda t: t.assign(duration=np.nan), "duration: not_nullable"),
        (lambda t: t.assign(DOLocationID=np.int32(266)), "DOLocationID: in_range.*such as 266"),
        (lambda t: t.astype({"PULocationID": "int64"}), "PULocationID: dtype"),
        (lambda t: t.astype({"pickup_datetime": "datetime64[ns]"}), "pickup_datetime: dtype"),
        (lambda t: t.drop(columns="trip_distance"), "missing column trip_distance"),
        (lambda t: t.assign(more=1), "column that is not in the schema: more"),
        (lambda t: t[t.columns[::-1]], "column out of order"),
    ],
)
def test_a_frame_that_breaks_the_schema(load, spoil, message):
    with pytest.raises(SchemaError, match=message):
        validate_trips(spoil(load({}, {})))


def test_the_schema_follows_the_rules(load):
    trips = load({"minutes": 80.0, "trip_distance": 50.0}, cleaning=Cleaning(max_minutes=90))
    validate_trips(trips, Cleaning(max_minutes=90, max_distance=50))
    with pytest.raises(SchemaError, match="trip_distance"):
        validate_trips(trips, Cleaning(max_minutes=90, max_distance=49))
    with pytest.raises(SchemaError, match="trip_distance"):
        validate_trips(trips, Cleaning(max_minutes=90, min_distance=51))


def test_errors_cross_process_boundaries(load):
    with pytest.raises(NoTripsError) as error:
        load({"minutes": 0.0})
    copy = pickle.loads(pickle.dumps(error.value))
    assert (type(copy), str(copy)) == (NoTripsError, str(error.value))

"""Files of every flavour load; what is no month of trips gets one clear error."""

import datetime as dt
import gzip
import json
import os
import re
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_nb.trips.batches import reopen
from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.errors import BrokenFileError, MissingMonthError, NoTripsError, TripsError
from taxi_nb.trips.loading import iter_trips, load_trips
from taxi_nb.trips.origin import Provenance, provenance
from taxi_nb.trips.reading import has_drop_offs, read_batches
from taxi_nb.trips.sources import read_file

PICKUPS = [dt.datetime(2021, 1, 4, 8, 0, 30), dt.datetime(2021, 1, 5, 9), dt.datetime(2021, 1, 6)]
DROPOFFS = [moment + dt.timedelta(minutes=12.5) for moment in PICKUPS]


@pytest.fixture(params=["pyarrow", "fastparquet"])
def folder(request, tmp_path, monkeypatch) -> Path:
    """An empty project; its files are read by one engine and by the other."""
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path))
    monkeypatch.setenv("TAXI_NB_ENGINE", request.param)
    return tmp_path


def _columns(prefix: str = "lpep", **others: object) -> dict:
    return {
        f"{prefix}_pickup_datetime": pa.array(PICKUPS, pa.timestamp("us")),
        f"{prefix}_dropoff_datetime": pa.array(DROPOFFS, pa.timestamp("us")),
        "PULocationID": pa.array([43, 74, 166]),
        "DOLocationID": pa.array([7, 8, 9]),
        "trip_distance": pa.array([1.0, 2.0, 3.0]),
    } | others


def _write(folder: Path, columns: dict, taxi: str = "green") -> Path:
    path = folder / f"{taxi}_tripdata_2021-01.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def _load(folder: Path, taxi: str = "green") -> pd.DataFrame:
    return load_trips(taxi, ["2021-01"], str(folder))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "zones",
    [
        pa.array([43, 74, 166], pa.int32()),
        pa.array([43, 74, 166], pa.int64()),
        pa.array([43, 74, 166], pa.uint16()),
        pa.array([43.0, 74.0, 166.0]),
        pa.array(["43", "74", "166"]),
        pa.array(["43.0", "74.0", "166.0"], pa.large_string()),
        pa.array(["43", "74", "166"]).dictionary_encode(),
        pa.array([Decimal("43"), Decimal("74"), Decimal("166")]),
    ],
    ids=lambda zones: str(zones.type),
)
def test_zones_of_every_type(folder, zones):
    _write(folder, _columns(PULocationID=zones))
    trips = _load(folder)
    assert trips["PULocationID"].tolist() == [43, 74, 166]
    assert trips["PULocationID"].dtype == np.int32


@pytest.mark.parametrize(
    ("zones", "rule"),
    [
        (pa.array(["43", "abc", "166"]), "zone"),
        (pa.array(["43", "", "166"]), "zone"),
        (pa.array(["43", "nan", "166"]), "zone"),
        (pa.array(["43", "7.4", "166"]), "zone"),
        (pa.array(["43", None, "166"]), "missing"),
        (pa.array([43, None, 166], pa.int32()), "missing"),
        (pa.array([43.0, None, 166.0]), "missing"),
        (pa.array(["43", None, "166"]).dictionary_encode(), "missing"),
    ],
)
def test_zones_that_are_none(folder, zones, rule):
    _write(folder, _columns(PULocationID=zones))
    trips = _load(folder)
    assert trips["PULocationID"].tolist() == [43, 166]
    assert provenance(trips).cleaning.taken_out[rule] == 1


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"), pa.string()],
    ids=str,
)
def test_time_stamps_of_every_unit(folder, kind):
    stamps = {
        name: column.cast(kind) for name, column in _columns().items() if name.startswith("lpep")
    }
    _write(folder, _columns(**stamps))
    trips = _load(folder)
    assert trips["pickup_datetime"].tolist() == PICKUPS
    assert trips["pickup_datetime"].dtype == "datetime64[us]"
    assert trips["duration"].tolist() == [12.5] * 3


def _as_utc(column: pa.Array) -> pa.Array:
    """Five hours later and marked as UTC: the same moments in winter."""
    shifted = [moment + dt.timedelta(hours=5) for moment in column.to_pylist()]
    return pa.array(shifted, pa.timestamp("us", tz="UTC"))


def test_time_stamps_with_a_time_zone_become_new_yorks_clock(folder):
    utc = {name: _as_utc(column) for name, column in _columns().items() if name.startswith("lpep")}
    _write(folder, _columns(**utc))
    assert _load(folder)["pickup_datetime"].tolist() == PICKUPS


def test_other_columns_do_not_matter(folder):
    _write(
        folder,
        _columns(
            ehail_fee=pa.nulls(3),
            duration=pa.array(["not", "a", "number"]),
            __index_level_0__=pa.array([5, 6, 7]),
        ),
    )
    assert _load(folder)["duration"].tolist() == [12.5] * 3


def test_a_file_saved_from_pandas_with_an_index(folder):
    frame = pa.table(_columns()).to_pandas().set_index("lpep_pickup_datetime")
    frame.to_parquet(folder / "green_tripdata_2021-01.parquet")
    assert len(_load(folder)) == 3


def test_a_file_of_many_row_groups(folder):
    zones = pa.array([str(zone % 265 + 1) for zone in range(600)])
    columns = {name: pa.concat_arrays([column] * 200) for name, column in _columns().items()}
    path = folder / "green_tripdata_2021-01.parquet"
    pq.write_table(pa.table(columns | {"PULocationID": zones}), path, row_group_size=7)
    assert _load(folder)["PULocationID"].tolist() == [int(zone) for zone in zones.to_pylist()]


def test_yellow_comes_out_with_the_same_names(folder):
    _write(folder, _columns("tpep"), taxi="yellow")
    _write(folder, _columns("lpep"), taxi="green")
    pd.testing.assert_frame_equal(_load(folder, "yellow"), _load(folder, "green"))


def test_months_come_in_the_order_given(folder):
    columns = _columns()
    _write(folder, columns)
    later = {
        name: pa.array([m + dt.timedelta(days=31) for m in columns[name].to_pylist()])
        for name in columns
        if name.startswith("lpep")
    }
    pq.write_table(pa.table(columns | later), folder / "green_tripdata_2021-02.parquet")
    trips = load_trips("green", ["2021-02", "2021-01"], str(folder))
    assert trips["pickup_datetime"].dt.month.tolist() == [2, 2, 2, 1, 1, 1]
    assert trips.index.equals(pd.RangeIndex(6))
    assert list(provenance(trips).cleaning.to_frame().columns) == ["2021-02", "2021-01", "total"]


def _error(folder: Path, kind: type[Exception] = BrokenFileError, taxi: str = "green") -> str:
    with pytest.raises(kind) as error:
        _load(folder, taxi)
    message = str(error.value)
    assert f"{taxi}_tripdata_2021-01.parquet" in message
    assert "\n" not in message
    assert error.value.__cause__ is None
    return message


def test_a_truncated_file(folder):
    path = _write(folder, _columns())
    path.write_bytes(path.read_bytes()[:-100])
    assert "is cut short" in _error(folder)


def test_an_empty_file(folder):
    (folder / "green_tripdata_2021-01.parquet").touch()
    assert "is empty (0 bytes)" in _error(folder)


@pytest.mark.parametrize(
    "content",
    [b"<html>Access denied</html>", b"a,b\n1,2\n", b"\x00", gzip.compress(b"x", mtime=0), b"{}"],
)
def test_a_file_that_is_not_parquet(folder, content):
    (folder / "green_tripdata_2021-01.parquet").write_bytes(content)
    assert "is not a parquet file" in _error(folder)


def test_a_file_with_only_the_marks_of_parquet(folder):
    (folder / "green_tripdata_2021-01.parquet").write_bytes(b"PAR1 nothing at all PAR1")
    assert "is not a readable parquet file" in _error(folder)


def test_a_file_damaged_in_the_middle(folder):
    path = _write(folder, _columns())
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    assert "is damaged: its records cannot be decoded" in _error(folder)


def test_a_folder_in_place_of_a_file(folder):
    (folder / "green_tripdata_2021-01.parquet").mkdir()
    assert "is a folder without files; it should be" in _error(folder)
    (folder / "green_tripdata_2021-01.parquet" / "part-0.csv").write_text("a,b\n1,2\n")
    assert "is a folder of 1 CSV files, such as part-0.csv; it should be" in _error(folder)


def _a_socket(path: Path) -> None:
    # Its address has to be short.
    os.chdir(path.parent)
    socket.socket(socket.AF_UNIX).bind(path.name)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.symlink_to("gone.parquet"), "is a link to gone.parquet, which is not"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
        (os.mkfifo, "is a named pipe, not a file"),
        (_a_socket, "is a socket, not a file"),
    ],
    ids=["link to nothing", "link to itself", "device", "pipe", "socket"],
)
def test_what_is_no_file_is_named(folder, monkeypatch, make, what):
    monkeypatch.chdir(folder)
    make(folder / "green_tripdata_2021-01.parquet")
    assert what in _error(folder)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 9\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html>Sign in</html>", "an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML, .*AccessDenied"),
        (b'{"message": "Not Found"}', "JSON, .*Not Found"),
        (b"VendorID,lpep_pickup_datetime\n2,2021-01-01\n", "CSV, beginning with 'VendorID,lpep"),
        ("VendorID;DOLocationID\n".encode("utf-16"), "CSV, beginning with 'VendorID;DO"),
        (b"404: Not Found", "text, beginning with '404: Not Found'"),
        (gzip.compress(b"PAR1", mtime=0), "data packed by gzip"),
        (b"PK\x03\x04xl", "a zip archive"),
        (bytes(1000), "nothing but zeros"),
    ],
)
def test_what_is_in_a_file_that_is_not_parquet_is_named(folder, content, what):
    (folder / "green_tripdata_2021-01.parquet").write_bytes(content)
    assert re.search(f"is not a parquet file but (a )?{what}", _error(folder))


@pytest.mark.parametrize("name", ["green_tripdata_2021-01.csv", "green_tripdata_2021-01.csv.gz"])
def test_a_folder_of_months_in_another_form(folder, name):
    (folder / name).write_text("VendorID")
    with pytest.raises(MissingMonthError, match=f"{name} is not read, only parquet"):
        _load(folder)


def test_a_column_twice(folder):
    columns = _columns()
    names, arrays = [*columns, "trip_distance"], [*columns.values(), columns["trip_distance"]]
    path = folder / "green_tripdata_2021-01.parquet"
    pq.write_table(pa.Table.from_arrays(arrays, names), path)
    assert "has the column trip_distance more than once" in _error(folder)
    names[-1] = "lpep_dropoff_datetime"
    pq.write_table(pa.Table.from_arrays([*arrays[:-1], arrays[1]], names), path)
    assert has_drop_offs(read_file(path), "green")  # Reading says what is wrong.
    assert "has the column lpep_dropoff_datetime more than once" in _error(folder)


def test_a_yellow_file_named_green(folder):
    _write(folder, _columns("tpep"), taxi="green")
    assert "holds yellow records, not green ones" in _error(folder)


def test_a_green_file_named_yellow(folder):
    _write(folder, _columns("lpep"), taxi="yellow")
    assert "holds green records, not yellow ones" in _error(folder, taxi="yellow")


def test_a_file_of_something_else(folder):
    _write(folder, {"petal_length": pa.array([1.0])})
    message = _error(folder)
    assert "has no lpep_pickup_datetime, lpep_dropoff_datetime, PULocationID" in message
    assert "its columns: petal_length" in message


def test_a_column_is_missing(folder):
    columns = _columns()
    del columns["trip_distance"]
    _write(folder, columns)
    assert "it has no trip_distance (its columns: lpep_pickup_datetime" in _error(folder)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("trip_distance", pa.array(["far", "near", "2"]), "cannot be read as double"),
        ("trip_distance", pa.array([True, True, True]), "of type bool; it must hold numbers"),
        ("PULocationID", pa.array(PICKUPS), "of type timestamp.*; it must hold numbers"),
        ("PULocationID", pa.array([dt.time(7)] * 3), "of type time64.*; it must hold numbers"),
        ("DOLocationID", pa.array([{"zone": 7}] * 3), "of type struct.*; it must hold numbers"),
        ("lpep_pickup_datetime", pa.array([1, 2, 3]), "of type int64; it must hold time stamps"),
        ("lpep_pickup_datetime", pa.array(["noon"] * 3), "cannot be read as timestamp"),
    ],
)
def test_a_column_of_the_wrong_type(folder, column, values, message):
    _write(folder, _columns(**{column: values}))
    with pytest.raises(BrokenFileError, match=f"2021-01.parquet has a {column} .*{message}"):
        _load(folder)


@pytest.mark.parametrize("how", ["no column", "null"])
def test_a_month_whose_drop_offs_are_not_known_is_read_where_that_is_asked_for(folder, how):
    columns = _columns(lpep_dropoff_datetime=pa.nulls(3, pa.timestamp("us")))
    if how == "no column":
        del columns["lpep_dropoff_datetime"]
    content = read_file(_write(folder, columns))
    assert not has_drop_offs(content, "green")
    (records,) = read_batches(content, "green", with_drop_offs=False)
    assert records.pickup.tolist() == PICKUPS
    assert records.pickup_zone.tolist() == [43, 74, 166]
    assert records.duration.tolist() == [0.0, 0.0, 0.0]
    assert records.missing is None
    with pytest.raises((BrokenFileError, NoTripsError)):
        _load(folder)


def test_a_month_with_drop_offs_has_them(folder):
    assert has_drop_offs(read_file(_write(folder, _columns())), "green")
    # It is none of the taxi's: reading says so.
    assert has_drop_offs(read_file(_write(folder, _columns("tpep"))), "green")


def test_a_file_without_records(folder):
    _write(folder, {name: column[:0] for name, column in _columns().items()})
    assert "holds no records" in _error(folder, NoTripsError)


def test_a_column_of_nothing_but_nulls(folder):
    _write(folder, _columns(PULocationID=pa.nulls(3)))
    assert "3 for: a time, zone or distance is missing" in _error(folder, NoTripsError)


def test_a_file_of_another_month(folder):
    _write(folder, _columns()).rename(folder / "green_tripdata_2021-03.parquet")
    with pytest.raises(NoTripsError, match="of 3 records, 3 for: pick-up outside the month"):
        load_trips("green", ["2021-03"], str(folder))


def test_where_trips_came_from(folder):
    path = _write(folder, _columns())
    origin = provenance(_load(folder))
    assert origin.title == f"green 2021-01, {folder}"
    assert origin.synthetic is False
    [file] = origin.files
    assert (file.month, file.path, file.rows) == ("2021-01", str(path), 3)
    assert file.size == path.stat().st_size


def test_the_digest_stands_for_content_and_rules(folder, tmp_path_factory):
    _write(folder, _columns())
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    _write(elsewhere, _columns())
    digest = provenance(_load(folder)).digest
    assert provenance(_load(elsewhere)).digest == digest
    other_rules = load_trips("green", ["2021-01"], str(folder), cleaning=Cleaning(max_minutes=59))
    assert provenance(other_rules).digest != digest
    _write(elsewhere, _columns(trip_distance=pa.array([1.0, 2.0, 3.5])))
    assert provenance(_load(elsewhere)).digest != digest


def test_another_file_with_the_same_trips_has_the_same_digest(folder):
    many = {name: pa.concat_arrays([column] * 50) for name, column in _columns().items()}
    many["trip_distance"] = pa.array(np.arange(150) / 7)
    path = _write(folder, many)
    first = _load(folder)
    text = {name: many[name].cast(pa.string()) for name in ("PULocationID", "DOLocationID")}
    stamps = {name: many[name].cast(pa.timestamp("ms")) for name in many if "datetime" in name}
    # A record that is none of the trips, and one more column.
    broken = {name: pa.concat_arrays([column[:1], column]) for name, column in many.items()}
    broken["DOLocationID"] = pa.concat_arrays([pa.array([999]), many["DOLocationID"]])
    others: list[tuple[dict, dict[str, Any]]] = [
        (many, {"compression": "zstd", "row_group_size": 7}),
        (many | text | stamps, {"use_dictionary": False}),
        (many | {"extra": pa.nulls(150)}, {"data_page_version": "2.0"}),
        (broken, {"compression": "gzip"}),
    ]
    for columns, options in others:
        pq.write_table(pa.table(columns), path, **options)
        again = _load(folder)
        pd.testing.assert_frame_equal(again, first)
        assert provenance(again).digest == provenance(first).digest
        assert provenance(again).files_digest != provenance(first).files_digest
        batches = iter_trips("green", ["2021-01"], str(folder), batch_rows=11)
        assert batches.provenance.digest == provenance(first).digest
        assert sum(map(len, reopen(provenance(first)))) == 150


def _exchanged(columns: dict, name: str, first: int, second: int) -> dict:
    order = np.arange(len(columns[name]))
    order[[first, second]] = second, first
    return columns | {name: columns[name].take(pa.array(order))}


def test_other_trips_or_another_order_have_another_digest(folder):
    many = {name: pa.concat_arrays([column] * 50) for name, column in _columns().items()}
    many["trip_distance"] = pa.array([float(miles) for miles in range(150)])
    changed = [
        many,
        *(_exchanged(many, name, 0, 1) for name in many if "datetime" not in name),
        _exchanged(many, "trip_distance", 0, 64),
        _exchanged(many, "trip_distance", 1, 129),
        {name: column[::-1] for name, column in many.items()},
        {name: column[:-1] for name, column in many.items()},
        {name: pa.concat_arrays([column, column[-1:]]) for name, column in many.items()},
        many | {"trip_distance": pa.array([-float(miles) for miles in range(150)])},
    ]
    digests = set()
    for columns in changed:
        _write(folder, columns)
        trips = _load(folder)
        digests.add(provenance(trips).digest)
    assert len(digests) == len(changed)
    _write(folder, many)
    with pytest.raises(BrokenFileError, match="changed since it was loaded"):
        list(reopen(provenance(trips)))


def test_days_without_a_trip_are_reported_and_warned_of(folder, caplog):
    _write(folder, _columns())  # On the 4th, 5th and 6th.
    gap = "no trip on 28 of the 31 days of 2021-01: 1 to 3, 7 to 31"
    report = provenance(_load(folder)).cleaning
    assert str(report).splitlines()[-1] == gap
    assert f"<p>{gap}</p>" in report._repr_html_()
    assert f"2021-01.parquet: {gap}. Is the file whole?" in caplog.text
    assert (report.months[0].days_without or ())[3] == "2021-01-07"
    batches = iter_trips("green", ["2021-01"], str(folder), batch_rows=1)
    assert batches.provenance.cleaning == report


def test_provenance_survives_copies_slices_and_json(folder):
    _write(folder, _columns())
    trips = _load(folder)
    origin = provenance(trips)
    assert provenance(trips[trips["trip_distance"] > 1].copy()) == origin
    assert provenance(trips.assign(pair="x").head(1)) == origin
    assert Provenance.from_dict(json.loads(json.dumps(trips.attrs))["taxi_nb.trips"]) == origin


def test_a_frame_from_elsewhere_has_no_provenance(folder):
    _write(folder, _columns())
    trips = _load(folder)
    with pytest.raises(ValueError, match=r"`trips` must be a frame from `load_trips`.*merge"):
        provenance(trips.merge(pd.DataFrame({"PULocationID": [43]})))


def test_a_month_that_is_a_copy_of_another(folder):
    path = _write(folder, _columns())
    (folder / "green_tripdata_2021-02.parquet").write_bytes(path.read_bytes())
    rules = Cleaning(within_month=False)
    with pytest.raises(TripsError, match=r"2021-02.parquet is the same file as .*2021-01.parquet"):
        load_trips("green", ["2021-01", "2021-02"], str(folder), cleaning=rules)


def test_negative_distances_stay_are_counted_and_can_be_taken_out(folder, caplog):
    _write(folder, _columns(trip_distance=pa.array([1.0, -2.0, -300.0])))
    trips = _load(folder)
    assert len(trips) == 3
    report = provenance(trips).cleaning
    assert report.to_frame().loc["of these, distance of zero or less", "2021-01"] == 2
    assert "of these, distance of zero or less" in str(report)
    assert "2 trips have a negative distance and stay" in caplog.text
    rules = Cleaning(min_distance=0)
    trips = load_trips("green", ["2021-01"], str(folder), cleaning=rules)
    assert provenance(trips).cleaning.taken_out["distance"] == 2
    assert len(trips) == 1

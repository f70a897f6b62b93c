"""The engines that read months: whichever decodes a file, the trips are the same."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_nb.training.pair_statistics import pair_statistics
from taxi_nb.trips import engines
from taxi_nb.trips.batches import reopen
from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.errors import BrokenFileError, TripsError
from taxi_nb.trips.loading import iter_trips, load_trips
from taxi_nb.trips.origin import provenance
from tests.conftest import Bucket, sample_file

JANUARY = "green_tripdata_2021-01.parquet"


@pytest.fixture(scope="module")
def month(tmp_path_factory) -> Path:
    """A month of the sample, with the nulls and broken records that it has."""
    return sample_file(tmp_path_factory.mktemp("made"), rows=4_000)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path))
    return tmp_path


def _assert_same_trips(load: Callable[..., pd.DataFrame]) -> None:
    by_pyarrow, by_fastparquet = load(engine="pyarrow"), load(engine="fastparquet")
    pd.testing.assert_frame_equal(by_fastparquet, by_pyarrow, check_exact=True)
    assert provenance(by_fastparquet) == provenance(by_pyarrow)


@pytest.mark.parametrize("month", ["2021-01", "2021-02", "2023-01"])
def test_real_months(real_months, month):
    _assert_same_trips(partial(load_trips, "green", [month], real_months))


@pytest.mark.parametrize("taxi", ["green", "yellow"])
def test_months_of_the_sample(folder, taxi):
    months = ["2021-01", "2021-02"]
    _assert_same_trips(partial(load_trips, taxi, months, "sample", sample_rows=3_000))


def _as_fastparquet_writes(table: pa.Table, path: Path) -> None:
    import fastparquet

    fastparquet.write(str(path), table.to_pandas(), row_group_offsets=1_500)


def _with_text(table: pa.Table, path: Path) -> None:
    """Zones and distances as text, and stamps in nanoseconds."""
    for name in ("PULocationID", "DOLocationID", "trip_distance"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast("string"))
    name = "lpep_pickup_datetime"
    stamps = table[name].cast(pa.timestamp("ns"))
    pq.write_table(table.set_column(table.column_names.index(name), name, stamps), path)


@pytest.mark.parametrize(
    "write",
    [
        partial(pq.write_table, compression="zstd", data_page_version="2.0", row_group_size=1_700),
        partial(pq.write_table, compression="gzip", use_dictionary=False),
        partial(pq.write_table, use_deprecated_int96_timestamps=True),
        _as_fastparquet_writes,
        _with_text,
    ],
    ids=["zstd, pages of version 2", "gzip, plain", "int96", "fastparquet's own", "text"],
)
def test_files_of_other_writers(folder, month, write: Any):
    write(pq.read_table(month), folder / JANUARY)
    _assert_same_trips(partial(load_trips, "green", ["2021-01"], folder))


def _with(table: pa.Table, **options: Any) -> Callable[[Path], None]:
    """Write a table with some columns coded as fastparquet cannot be trusted to read."""
    coded = {"use_dictionary": False, "column_encoding": options}
    return lambda path: pq.write_table(table, path, **coded)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("lpep_pickup_datetime", "DELTA_BINARY_PACKED"),
        ("PULocationID", "DELTA_BINARY_PACKED"),
        ("trip_distance", "BYTE_STREAM_SPLIT"),
    ],
)
def test_a_rare_encoding_is_read_by_pyarrow_and_refused_to_fastparquet(
    folder, month, name, encoding
):
    load = partial(load_trips, "green", ["2021-01"])
    _with(pq.read_table(month), **{name: encoding})(folder / JANUARY)
    (folder / "plain").mkdir()
    shutil.copy(month, folder / "plain" / JANUARY)
    expected = load(folder / "plain")
    pd.testing.assert_frame_equal(load(folder), expected, check_exact=True)
    with pytest.raises(BrokenFileError, match=f"{name} coded as {encoding}.*engine='pyarrow'"):
        load(folder, engine="fastparquet")


@pytest.mark.parametrize("encoding", ["DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY", "PLAIN"])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_zones_as_text_in_every_encoding(folder, month, encoding, kind):
    table = pq.read_table(month)
    for name in ("PULocationID", "DOLocationID"):
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    _with(table, PULocationID=encoding, DOLocationID=encoding)(folder / JANUARY)
    trips = load_trips("green", ["2021-01"], folder)
    (folder / "plain").mkdir()
    shutil.copy(month, folder / "plain" / JANUARY)
    pd.testing.assert_frame_equal(
        trips, load_trips("green", ["2021-01"], folder / "plain"), check_exact=True
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda batch: batch[:-1], "gives .* records, where the footer says 4,000"),
        (lambda batch: _replaced(batch, 0, batch[0].cast("int64").to_numpy() * 1000), "datetime"),
        (
            lambda batch: _replaced(batch, 4, np.full(len(batch), 1e9)),
            "trip_distance from 1000000000.0",
        ),
        (lambda batch: _replaced(batch, 2, np.full(len(batch), 7)), "nulls of PULocationID"),
    ],
    ids=["fewer records", "stamps out of range", "miles out of range", "no nulls"],
)
def test_what_an_engine_decodes_otherwise_than_the_footer_says_is_told(
    folder, month, monkeypatch, wrong, message
):
    shutil.copy(month, folder / JANUARY)
    decode = engines._by_pyarrow
    monkeypatch.setitem(engines._DECODERS, "pyarrow", lambda *given: map(wrong, decode(*given)))
    with pytest.raises(BrokenFileError, match=f"{JANUARY} is damaged, or decoded.*{message}"):
        load_trips("green", ["2021-01"], folder)


def _replaced(batch: pa.RecordBatch, column: int, values: Any) -> pa.RecordBatch:
    return batch.set_column(
        column, batch.schema.names[column], pa.array(values).cast(batch[column].type, safe=False)
    )


def test_in_batches(folder, month):
    pq.write_table(pq.read_table(month), folder / JANUARY, row_group_size=1_300)
    batches = {
        engine: iter_trips("green", ["2021-01"], folder, batch_rows=400, engine=engine)
        for engine in ("pyarrow", "fastparquet")
    }
    expected, found = (list(frames) for frames in batches.values())
    pd.testing.assert_frame_equal(
        pd.concat(found, ignore_index=True), pd.concat(expected, ignore_index=True)
    )
    assert max(map(len, found)) <= 400
    assert batches["fastparquet"].provenance == batches["pyarrow"].provenance


def test_statistics_of_pairs_and_trips_drawn_from_too_many(folder, month, monkeypatch):
    shutil.copy(month, folder / JANUARY)
    monkeypatch.setenv("TAXI_NB_ENGINE", "fastparquet")
    _assert_same_trips(partial(load_trips, "green", ["2021-01"], folder, max_trips=500))
    part = load_trips("green", ["2021-01"], folder, max_trips=500)
    found = pair_statistics(reopen(provenance(part)))
    expected = pair_statistics(iter_trips("green", ["2021-01"], folder, engine="pyarrow"))
    assert np.array_equal(found.mean_y, expected.mean_y)
    assert (found.xx, found.xy, found.yy) == (expected.xx, expected.xy, expected.yy)


def test_from_s3(folder, month, bucket: Bucket):
    bucket.client.upload_file(str(month), "trips", f"nyc/{JANUARY}")
    _assert_same_trips(partial(load_trips, "green", ["2021-01"], "s3://trips/nyc"))


def test_the_variable_chooses_where_no_argument_does(folder, month, monkeypatch):
    shutil.copy(month, folder / JANUARY)
    monkeypatch.setitem(sys.modules, "fastparquet", None)  # Importing it fails.
    monkeypatch.setenv("TAXI_NB_ENGINE", "fastparquet")
    with pytest.raises(
        TripsError, match=r"TAXI_NB_ENGINE is 'fastparquet': .*taxi-nb\[fastparquet\]'"
    ):
        load_trips("green", ["2021-01"], folder)
    assert len(load_trips("green", ["2021-01"], folder, engine="pyarrow"))


def test_an_engine_that_there_is_not(folder, monkeypatch):
    known = "must be 'pyarrow' or 'fastparquet', got: 'polars'"
    with pytest.raises(TripsError, match=f"`engine` {known}"):
        iter_trips("green", ["2021-01"], "sample", engine="polars")  # type: ignore[arg-type]
    monkeypatch.setenv("TAXI_NB_ENGINE", "polars")
    with pytest.raises(TripsError, match=f"variable TAXI_NB_ENGINE {known}"):
        load_trips("green", ["2021-01"], "sample")


def test_the_months_read_and_the_choice_are_told(folder, month, monkeypatch):
    shutil.copy(month, folder / JANUARY)
    monkeypatch.setenv("TAXI_NB_ENGINE", "fastparquet")
    heard: list[tuple[str, tuple[Any, ...]]] = []
    listening = [True]
    sys.addaudithook(
        lambda event, told: (
            heard.append((event, told)) if listening and event.startswith("taxi_nb.") else None
        )
    )
    rules = Cleaning(within_month=False)
    trips = load_trips("green", ["2021-01"], folder, cleaning=rules)
    pair_statistics(iter_trips("green", ["2021-01"], folder, cleaning=rules))
    listening.clear()
    (file,) = provenance(trips).files
    read = ("taxi_nb.used_data", ("green 2021-01", file.path, file.sha256, file.trips))
    assert heard.count(read) == 2
    assert heard.count(("taxi_nb.used_variable", ("TAXI_NB_ENGINE", "fastparquet"))) == 2

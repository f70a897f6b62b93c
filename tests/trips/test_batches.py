"""Months in batches, and frames of months that are larger than a frame may be."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_nb.training.pair_statistics import pair_statistics
from taxi_nb.trips.batches import reopen
from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.errors import BrokenFileError, NoTripsError, TripsError
from taxi_nb.trips.loading import iter_trips, load_trips
from taxi_nb.trips.origin import provenance

MONTHS = ["2021-01", "2021-02"]
NUMBERS = ("n", "mean_x", "mean_y", "xx", "xy", "yy")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path))
    return tmp_path


def _sample(**options) -> pd.DataFrame:
    return load_trips("green", MONTHS, "sample", sample_rows=3_000, **options)


def _batches(**options):
    return iter_trips("green", MONTHS, "sample", sample_rows=3_000, **options)


@pytest.mark.parametrize("batch_rows", [1_000, 2_999, 100_000])
def test_the_batches_one_after_the_other_are_the_frame(batch_rows):
    whole = _sample()
    batches = _batches(batch_rows=batch_rows)
    joined = pd.concat(list(batches), ignore_index=True)
    pd.testing.assert_frame_equal(joined, whole, check_flags=False)
    assert batches.provenance == provenance(whole)
    assert max(map(len, batches)) <= batch_rows


def test_batches_can_be_gone_through_again_and_left_early():
    batches = _batches(batch_rows=500)
    first = next(iter(batches))
    assert len(list(batches)) == len(list(batches)) == 12
    pd.testing.assert_frame_equal(next(iter(batches)), first)


def test_provenance_is_known_without_a_loop():
    assert _batches().provenance.digest == provenance(_sample()).digest


def test_arrays_of_some_columns():
    (arrays,) = iter_trips("green", ["2021-01"], "sample", sample_rows=100).arrays("duration")
    assert list(arrays) == ["duration"]
    with pytest.raises(ValueError, match=r"`columns` must be among .*got: \['fare'\]"):
        next(_batches().arrays("fare"))


def test_a_rule_that_leaves_nothing_ends_the_loop():
    batches = _batches(cleaning=Cleaning(min_distance=1e9))
    for go in (list, pair_statistics):
        with pytest.raises(NoTripsError, match=r"no trip of .* is left"):
            go(batches)


def test_statistics_are_those_of_the_frame_whatever_the_cores(monkeypatch):
    monkeypatch.setattr("taxi_nb.trips.month_file.PART_ROWS", 1_000)
    monkeypatch.setattr("taxi_nb.trips.batches.PART_BATCH_ROWS", 300)
    trips = load_trips("green", MONTHS, "sample", sample_rows=3_000)
    for month in provenance(trips).files:
        pq.write_table(pq.read_table(month.path), month.path, row_group_size=700)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(pa, "cpu_count", lambda cores=cores: cores)
        batches = _batches()
        found.append(pair_statistics(batches))
        assert batches.provenance.cleaning == provenance(trips).cleaning
    expected = pair_statistics([trips])
    assert all(np.array_equal(getattr(found[0], name), getattr(found[1], name)) for name in NUMBERS)
    assert np.array_equal(found[0].n, expected.n)
    for name in NUMBERS:
        assert getattr(found[0], name) == pytest.approx(getattr(expected, name), rel=1e-9)


def test_a_broken_month_ends_the_statistics_with_its_error(root):
    file = provenance(_sample()).files[1]
    Path(file.path).write_bytes(Path(file.path).read_bytes()[:-50])
    with pytest.raises(BrokenFileError, match=r"2021-02.* is cut short"):
        pair_statistics(_batches())


def test_mistakes_are_told_before_anything_is_read():
    with pytest.raises(TripsError, match="`batch_rows` must be an int of at least 1, got: 0"):
        _batches(batch_rows=0)
    with pytest.raises(TripsError, match=r"'2021-01' \(given twice\)"):
        iter_trips("green", ["2021-01", "2021-01"], "sample")
    with pytest.raises(TripsError, match="`max_trips` must be an int of at least 1, got: -5"):
        _sample(max_trips=-5)


def test_a_frame_of_months_that_are_too_large_holds_a_part_and_says_so(caplog):
    whole = _sample()
    with caplog.at_level(logging.WARNING):
        part = _sample(max_trips=1_000)
    assert 900 < len(part) <= 1_000
    origin = provenance(part)
    assert origin.drawn == len(part)
    assert origin.digest == provenance(whole).digest
    assert origin.cleaning == provenance(whole).cleaning
    assert origin.title.endswith(f"{len(part):,} of {len(whole):,} trips")
    assert f"the frame holds {len(part):,} trips drawn from the {len(whole):,}" in caplog.text
    # Evenly, and the same again.
    assert part["duration"].mean() == pytest.approx(whole["duration"].mean(), rel=0.1)
    assert part["pickup_datetime"].dt.month.value_counts(normalize=True)[1] == pytest.approx(
        0.5, abs=0.05
    )
    pd.testing.assert_frame_equal(_sample(max_trips=1_000), part)


def test_a_frame_that_has_room_for_all_holds_all():
    assert provenance(_sample(max_trips=6_000)).drawn is None


def test_all_trips_can_be_read_again_from_what_a_frame_knows():
    whole = _sample()
    again = reopen(provenance(_sample(max_trips=500)))
    pd.testing.assert_frame_equal(pd.concat(list(again), ignore_index=True), whole)


def test_a_file_that_changed_since_is_not_read_for_it():
    origin = provenance(_sample())
    other = load_trips("green", ["2021-02"], "sample", sample_rows=2_000)
    shutil.copy(provenance(other).files[0].path, origin.files[1].path)
    with pytest.raises(BrokenFileError, match=r"2021-02.* changed since it was loaded"):
        list(reopen(origin))


def test_a_file_that_is_written_to_while_it_is_read():
    origin = provenance(_sample())
    batches = iter(_batches(batch_rows=1_000))
    next(batches)
    path = Path(origin.files[0].path)
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))
    with pytest.raises(BrokenFileError, match="changed while it was read"):
        list(batches)


def test_a_month_at_a_url_in_batches(root):
    fsspec = pytest.importorskip("fsspec")
    load_trips("green", ["2021-01"], "sample", sample_rows=2_000)
    (made,) = (root / "data" / "sample").glob("*.parquet")
    memory = fsspec.filesystem("memory")
    memory.pipe("/trips/green_tripdata_2021-01.parquet", made.read_bytes())
    try:
        batches = iter_trips("green", ["2021-01"], "memory://trips", batch_rows=300)
        lengths = [len(trips) for trips in batches]
        part = load_trips("green", ["2021-01"], "memory://trips", max_trips=100)
        assert sum(map(len, reopen(provenance(part)))) == sum(lengths)
        assert batches.provenance.files[0].size == made.stat().st_size
    finally:
        memory.rm("/trips", recursive=True)
    assert len(lengths) == 7
    assert np.all(np.array(lengths) <= 300)

"""Months that the workers of a Dask scheduler read: the same trips, counts, models as here."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.workers import cluster as started_cluster
from taxi_nb import iter_trips, load_trips, provenance, train
from taxi_nb.tracking.environment import installed_versions
from taxi_nb.training.pair_statistics import pair_statistics
from taxi_nb.trips.errors import TripsError
from taxi_nb.trips.workers import versions
from tests.conftest import Project

pytest.importorskip("distributed", reason="needs the extra distributed")
pytestmark = pytest.mark.slow

MONTHS = [f"2021-{number:02}" for number in range(1, 9)]


@dataclass
class Cluster:
    """A scheduler and two workers, processes that talk over TCP."""

    address: str
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(*started_cluster(stack, workers=2))


@pytest.fixture
def months(project: Project) -> Path:
    """A folder of months, as all machines reach it."""
    load_trips("green", MONTHS, "sample", sample_rows=3_000)
    folder = project.root / "months"
    folder.mkdir()
    for file in (project.root / "data" / "sample").glob("*.parquet"):
        shutil.copy(file, folder / f"{file.name.partition('_seed')[0]}.parquet")
    return folder


def test_trips_counts_and_models_are_those_of_one_machine(
    months: Path, cluster: Cluster, store: str
) -> None:
    here = load_trips("green", MONTHS[:4], months)
    there = load_trips("green", MONTHS[:4], months, scheduler=cluster.address)
    pd.testing.assert_frame_equal(here, there)
    assert provenance(here) == provenance(there)

    drawn, drawn_there = (
        load_trips("green", MONTHS[:4], months, max_trips=1_000, scheduler=scheduler)
        for scheduler in (None, cluster.address)
    )
    pd.testing.assert_frame_equal(drawn, drawn_there)

    results = []
    for scheduler in (None, cluster.address):
        training, validation = (
            load_trips("green", few, months, max_trips=1_000, scheduler=scheduler)
            for few in (MONTHS[:4], MONTHS[4:6])
        )
        results.append(train("linear", training, validation).metrics)
    compared = [name for name in results[0] if "seconds" not in name and "memory" not in name]
    assert "valid_rmse" in compared
    for name in compared:
        assert results[0][name] == results[1][name], name  # To the last bit.


def test_a_worker_that_is_killed_costs_no_number(months: Path, cluster: Cluster) -> None:
    expected = pair_statistics(iter_trips("green", MONTHS, months))
    killer = threading.Timer(0.5, cluster.workers[0].kill)
    killer.start()
    for _ in range(3):
        found = pair_statistics(iter_trips("green", MONTHS, months, scheduler=cluster.address))
        for name in ("groups", "n", "mean_x", "mean_y", "xx", "xy", "yy"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    killer.join()
    assert cluster.workers[0].wait(timeout=30) == -9


@pytest.fixture
def other_versions() -> Iterator[None]:
    """Versions are asked for once: not those that a test has changed."""
    yield
    versions.cache_clear()


@pytest.mark.usefixtures("other_versions")
def test_what_is_wrong_is_said_in_one_line(
    months: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    with pytest.raises(TripsError, match=r"the scheduler tcp://127\.0\.0\.1:9 cannot be reached"):
        load_trips("green", MONTHS[:1], months, scheduler="tcp://127.0.0.1:9")
    assert time.monotonic() - began < 20
    with pytest.raises(TripsError, match="has no green_tripdata_2019-01"):
        load_trips("green", ["2019-01"], months, scheduler=cluster.address)
    # This machine alone says that it has another version.
    known = {**installed_versions(), "numpy": "1.0"}
    monkeypatch.setattr("taxi_nb.trips.workers.installed_versions", lambda: known)
    versions.cache_clear()
    with pytest.raises(TripsError, match=r"has numpy \S+, and this machine has 1\.0: results"):
        load_trips("green", MONTHS[:1], months, scheduler=cluster.address)

"""Months that the workers of a Dask scheduler read: the same trips, counts, models as here."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from benchmarks.workers import cluster as started_cluster
from taxi_nb import iter_trips, load_trips, provenance, train
from taxi_nb.tracking.environment import installed_versions
from taxi_nb.training.pair_statistics import pair_statistics
from taxi_nb.trips.errors import TripsError
from taxi_nb.trips.judging import CheckError
from taxi_nb.trips.workers import versions
from tests.conftest import Project, runs_of

pytest.importorskip("distributed", reason="needs the extra distributed")
pytestmark = pytest.mark.slow

MONTHS = [f"2021-{number:02}" for number in range(1, 9)]


@dataclass
class Cluster:
    """A scheduler and three workers, processes that talk over TCP: two tests kill one."""

    address: str
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(*started_cluster(stack, workers=3))


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


@pytest.fixture
def drawn(months: Path, cluster: Cluster) -> Callable[[str | None], list[pd.DataFrame]]:
    """Frames of a few trips of months, whose workers read the others."""

    def drawn(scheduler: str | None) -> list[pd.DataFrame]:
        return [
            load_trips("green", few, months, max_trips=1_000, scheduler=scheduler)
            for few in (MONTHS[:4], MONTHS[4:6])
        ]

    return drawn


def test_xgboost_learns_on_the_workers(
    drawn: Callable[[str | None], list[pd.DataFrame]],
    cluster: Cluster,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = {"n_estimators": 20, "max_depth": 4}
    here = train("xgboost", *drawn(None), params=params)
    training, validation = drawn(cluster.address)
    # What this machine learns from does not work any more.
    monkeypatch.setattr("xgboost.ExtMemQuantileDMatrix", None)
    there = train("xgboost", training, validation, params=params)
    (run,) = (run for run in runs_of(store) if run.info.run_id == there.run_id)
    assert run.data.params["learned"] == "in batches, as xgboost, in 3 shares on workers"
    for name in ("train_rmse", "valid_rmse", "valid_mae"):
        assert there.metrics[name] == pytest.approx(here.metrics[name], rel=1e-4)

    # Without Dask the logged model predicts the same.
    validation.to_parquet("validation.parquet")
    subprocess.run([sys.executable, "-c", PREDICT, store, there.model_uri], check=True)
    predicted = np.load("predicted.npy")
    np.testing.assert_array_equal(predicted, there.estimator.predict(validation))

    # The same workers learn the same model, and so do those that are left of them.
    killer = threading.Thread(target=kill_once_it_learns, args=(cluster.workers[2],))
    killer.start()
    again = train("xgboost", training, validation, params=params)
    killer.join()
    assert cluster.workers[2].wait(timeout=30) == -9
    boosters = [result.estimator[-1].get_booster().save_raw() for result in (there, again)]
    assert boosters[0] == boosters[1]


PREDICT = """
import sys
sys.modules["distributed"] = sys.modules["dask"] = None
import mlflow, numpy, pandas
from taxi_nb import load_model
mlflow.set_tracking_uri(sys.argv[1])
model = load_model(sys.argv[2])
numpy.save("predicted.npy", model.predict(pandas.read_parquet("validation.parquet")))
"""


def kill_once_it_learns(worker: subprocess.Popen[bytes]) -> None:
    """Kill a worker that has begun to learn: XGBoost runs in a process below it."""
    while not psutil.Process(worker.pid).children():
        time.sleep(0.1)
    time.sleep(2)
    worker.kill()


def test_what_xgboost_cannot_do_on_the_workers_is_said_before_it_learns(
    drawn: Callable[[str | None], list[pd.DataFrame]],
    cluster: Cluster,
    store: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training, validation = drawn(cluster.address)
    with pytest.raises(ValueError, match="nothing:known"):
        train("xgboost", training, validation, params={"objective": "nothing:known"})
    # As if trips were large: no worker holds those of two months, any holds those of one.
    monkeypatch.setattr("taxi_nb.training._boosting_on_workers._TRIP", 150_000)
    refused = (
        r"to learn from 10,\d+ trips on [23] workers XGBoost needs about 1\.\d GiB on one of "
        r"them, which may use 1\.0\. Start 4 workers of this size or larger ones, or take fewer"
    )
    with pytest.raises(TripsError, match=refused):
        train("xgboost", training, validation, params={"max_depth": 6})
    for run in runs_of(store):
        assert run.info.status == "FAILED"


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


def test_checks_stop_months_that_workers_read(months: Path, cluster: Cluster) -> None:
    with pytest.raises(CheckError, match=r"rows 3,000 records of 2021-01, at least 9,000: FAIL"):
        load_trips(
            "green", MONTHS[:1], months, checks={"rows": {"min": 9_000}}, scheduler=cluster.address
        )
    checks = {"left_out": "50%", "rows": {"against_last": "90%"}, "zones_new": "50%"}
    there = iter_trips("green", MONTHS[:2], months, checks=checks, scheduler=cluster.address)
    here = iter_trips("green", MONTHS[:2], months)
    assert sum(map(len, there)) == sum(map(len, here))


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

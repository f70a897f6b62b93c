"""The newest month that a source has."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from taxi_nb.calendar_months import month_plus
from taxi_nb.trips.errors import DownloadError, TripsError
from taxi_nb.trips.newest_month import newest_month
from tests.conftest import Project
from tests.receiving import published


def put(folder: Path, *months: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for month in months:
        (folder / f"green_tripdata_{month}.parquet").touch()
    return folder


def test_of_a_folder_and_of_a_remote_place(project: Project, tmp_path: Path) -> None:
    folder = put(tmp_path / "months", "2021-12", "2022-01", "2021-02")
    (folder / "yellow_tripdata_2023-01.parquet").touch()
    (folder / "green_tripdata_2023-01.csv").touch()
    assert newest_month("green", folder) == "2022-01"
    assert newest_month("yellow", f"file://{folder}") == "2023-01"
    with pytest.raises(TripsError, match="has no month of green"):
        newest_month("green", put(tmp_path / "empty"))
    with pytest.raises(TripsError, match="a sample is made for any month"):
        newest_month("green", "sample")


def test_of_the_tlc_it_is_what_it_has_published_and_what_is_here(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = month_plus(f"{dt.datetime.now(dt.UTC):%Y-%m}", -2)
    with published(put(tmp_path / "web", month_plus(last, -1), last), monkeypatch):
        assert newest_month("green", "tlc") == last
        with pytest.raises(TripsError, match="the TLC has no month of yellow"):
            newest_month("yellow", "tlc")
        newer = month_plus(last, 1)
        monkeypatch.setenv("TAXI_NB_DATA_DIR", str(put(tmp_path / "own", newer)))
        assert newest_month("green", "tlc") == newer


def test_without_a_network_it_is_what_is_here_and_that_is_said(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TAXI_NB_TLC_URL", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"cannot be reached\. Without a network, name a month"):
        newest_month("green", "tlc")
    monkeypatch.setenv("TAXI_NB_DATA_DIR", str(put(tmp_path / "own", "2021-03")))
    assert newest_month("green", "tlc") == "2021-03"
    assert "of the months on this machine the newest is taken, 2021-03" in caplog.text

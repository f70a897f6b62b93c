"""Data are held against checks before anything is made of them: number, limit, verdict."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taxi_nb import iter_trips, load_split, load_trips
from taxi_nb.tracking.judgements import Judgement
from taxi_nb.trips._made_month import make_month
from taxi_nb.trips.checks import Checks, check_names_and_mistakes, checks_of
from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.judging import CheckError, judge
from taxi_nb.trips.report import MonthCounts
from taxi_nb.trips.sources import Folder

MONTH = MonthCounts("2021-02", 10_000, {"long": 731}, 93, ("2021-02-01", "2021-02-28"))


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two months; in the second a few trips begin or end in zones that the first has not."""
    folder = tmp_path_factory.mktemp("months")
    for month, rows in (("2021-01", 2_000), ("2021-02", 1_000)):
        table = make_month("green", month, 42, rows)
        for name, strange in (("PULocationID", 3), ("DOLocationID", 5)):
            zones = 1 + np.arange(len(table)) % 30
            if month == "2021-02":
                zones[:strange] = 265
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, pa.array(zones))
        pq.write_table(table, folder / f"green_tripdata_{month}.parquet")
    return folder


def judged(months: Path, checks: Any, counts: MonthCounts = MONTH, **accepted: str) -> Judgement:
    """Judge by one check."""
    (found,) = judge(checks_of(checks, accepted), Folder(months), "green", Cleaning(), [counts])
    return found


def test_a_check_says_its_number_and_its_limit(months: Path) -> None:
    with pytest.raises(CheckError) as caught:
        judged(months, {"left_out": {"warn": "2%", "max": "5%"}})
    assert str(caught.value) == (
        "left_out 7.31 % of 10,000 records of 2021-02, at most 5 %: FAIL. To let it pass once: "
        "--accept left_out, or with the reason, --accept 'left_out=WHY'"
    )
    assert str(judged(months, {"left_out": {"warn": "2%", "max": 0.1}})) == (
        "left_out 7.31 % of 10,000 records of 2021-02, warns above 2 %: WARN"
    )
    assert str(judged(months, {"left_out": "7.31%"})) == (
        "left_out 7.31 % of 10,000 records of 2021-02, at most 7.31 %: PASS"
    )
    assert str(judged(months, {"left_out": "5 %"}, left_out="TLC announced it")) == (
        "left_out 7.31 % of 10,000 records of 2021-02, at most 5 %: ACCEPTED (TLC announced it)"
    )
    assert str(judged(months, {"not_positive": "1.5%"})) == (
        "not_positive 1.00 % of 9,269 trips of 2021-02, at most 1.5 %: PASS"
    )
    assert str(judged(months, {"missing_days": 2})) == (
        "missing_days 2 of 28 days of 2021-02, at most 2: PASS"
    )
    assert judged(months, {"missing_days": {"warn": 1, "max": 3}}).verdict == "warn"
    assert str(judged(months, {"rows": {"min": 9_000, "warn": 11_000}})) == (
        "rows 10,000 records of 2021-02, warns below 11,000: WARN"
    )


def test_what_is_just_beyond_the_limit_is_not_shown_as_the_limit(months: Path) -> None:
    counts = MonthCounts("2021-02", 1_000_000, {"long": 50_001})
    with pytest.raises(CheckError, match=r"left_out 5\.0001 % of 1,000,000 records of 2021-02, at"):
        judged(months, {"left_out": "5%"}, counts)


def test_a_month_is_held_against_the_month_before_it(months: Path) -> None:
    before = pq.read_metadata(months / "green_tripdata_2021-01.parquet").num_rows
    found = judged(months, {"rows": {"against_last": "1000%"}})
    assert found.value == pytest.approx(10_000 / before - 1)
    assert f"from {before:,} records of 2021-01 to 10,000 of 2021-02, at most" in str(found)
    # It may shrink by so much, too.
    fewer = MonthCounts("2021-02", before // 4, {"long": 0})
    with pytest.raises(CheckError, match=r"rows.against_last -75.* %.*--accept rows.against_last"):
        judged(months, {"rows": {"against_last": "50%"}}, fewer)


def test_zones_without_a_trip_in_the_month_before_are_new(months: Path) -> None:
    trips = load_trips("green", ["2021-02"], months)
    known = load_trips("green", ["2021-01"], months)
    zones = np.union1d(known["PULocationID"], known["DOLocationID"])
    new = ~(trips["PULocationID"].isin(zones) & trips["DOLocationID"].isin(zones))
    assert 0 < new.sum() < 10
    found = judged(months, {"zones_new": "50%"})
    assert found.value == pytest.approx(new.mean())
    assert f"of {len(trips):,} trips of 2021-02" in found.says


@pytest.mark.parametrize("check", [{"rows": {"against_last": "50%"}}, {"zones_new": "1%"}])
def test_without_the_month_before_nothing_is_judged(months: Path, check: Any) -> None:
    found = judged(months, check, MonthCounts("2021-01", 10, {"long": 0}))
    assert (found.verdict, found.value) == ("not judged", None)
    assert "the month before cannot be had: " in str(found)
    assert "2020-12" in str(found)


def test_no_trip_of_a_month_that_fails_comes_out(months: Path) -> None:
    checks = {"left_out": "0%", "rows": {"min": 10_000}}
    for attempt in (
        lambda: load_trips("green", ["2021-01"], months, checks=checks),
        lambda: next(iter(iter_trips("green", ["2021-01"], months, checks=checks))),
        lambda: load_split("green", ["2021-01"], ["2021-02"], months, checks=checks),
    ):
        with pytest.raises(CheckError, match=r"left_out .*: FAIL; rows .*--accept left_out --acc"):
            attempt()
    whole = iter_trips("green", ["2021-01"], months, checks={"left_out": "50%"})
    plain = iter_trips("green", ["2021-01"], months)
    assert [len(trips) for trips in whole] == [len(trips) for trips in plain]


def test_what_only_warns_is_logged(months: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_trips("green", ["2021-02"], months, checks={"rows": {"warn": 5_000}})
    assert "check: rows 975 records of 2021-02, warns below 5,000: WARN" in caplog.text


@pytest.mark.parametrize(
    ("written", "place", "says"),
    [
        ({"left_out": 5}, "left_out", "must be a share such as 5% or 0.05, got 5"),
        ({"left_out": 1}, "left_out", "must be a share"),
        ({"left_out": "5"}, "left_out", "must be a share"),
        ({"left_out": -1}, "left_out", "must be a share"),
        ({"left_out": "-1%"}, "left_out", "must be a share"),
        ({"left_out": "101%"}, "left_out", "must be a share"),
        ({"left_out": float("nan")}, "left_out", "must be a share"),
        ({"left_out": "nan"}, "left_out", "must be a share"),
        ({"left_out": float("inf")}, "left_out", "must be a share"),
        ({"left_out": True}, "left_out", "must be a share"),
        ({"left_out": None}, "left_out", "must be a share"),
        ({"left_out": ["5%"]}, "left_out", "must be a share"),
        ({"left_out": {}}, "left_out", "must say a limit: max or warn"),
        ({"left_out": {"max": 5}}, "left_out.max", "must be a share"),
        ({"left_out": {"maxi": "5%"}}, "left_out.maxi", "did you mean 'max'?"),
        ({"left_out": {"min": "5%"}}, "left_out.min", "is not known"),
        ({"left_out": {"warn": "6%", "max": "5%"}}, "left_out.warn", "must be below max"),
        ({"rows": {"warn": 5, "min": 5}}, "rows.warn", "must be above min"),
        ({"left_off": "5%"}, "left_off", "is no check; did you mean 'left_out'?"),
        (
            {"rows.against_last": "50%"},
            "rows.against_last",
            "is written within rows, as in",
        ),
        ({"missing_days": "5%"}, "missing_days", "must be a whole number of 0 or more"),
        ({"missing_days": 0.5}, "missing_days", "must be a whole number"),
        ({"rows": 20_000}, "rows", "must say what it limits, by min, warn, against_last"),
        ({"rows": {"against_last": 50}}, "rows.against_last", "must be a share"),
        ({"rows": {"against_last": {"max": 5}}}, "rows.against_last.max", "must be a share"),
    ],
)
def test_a_mistake_is_named_with_its_place(written: Any, place: str, says: str) -> None:
    _, ((where, message),) = check_names_and_mistakes(written)
    assert ".".join(map(str, where)) == place
    assert says in message
    with pytest.raises(ValueError, match=f"`checks`: {place} "):
        load_trips("green", ["2021-01"], "sample", checks=written)


@pytest.mark.parametrize(
    "written", [{}, {"left_out": 0}, {"left_out": "100 %"}, {"zones_new": 0.5}]
)
def test_what_can_be_meant_is_taken(written: Any) -> None:
    assert check_names_and_mistakes(written) == (list(written), [])


def test_checks_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(ValueError, match="`checks` must be a dict such as"):
        load_trips("green", ["2021-01"], "sample", checks=["left_out"])  # type: ignore[arg-type]
    assert checks_of({}) == Checks()


@pytest.mark.parametrize("value", ["{", "[]"])
def test_a_variable_that_no_pipeline_has_set_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_CHECKS", value)
    with pytest.raises(ValueError, match="variable TAXI_NB_CHECKS must be as a pipeline or"):
        load_trips("green", ["2021-01"], "sample")


def test_real_months_pass_the_checks_of_the_file_for_them(real_months: str) -> None:
    from taxi_nb.located_yaml import read_located_yaml
    from tests.conftest import REPOSITORY

    checks = read_located_yaml(REPOSITORY / "params" / "monthly.yaml").value["checks"]
    for month in ("2021-01", "2021-02", "2023-01"):
        assert len(load_trips("green", [month], real_months, checks=checks)) > 50_000
    with pytest.raises(CheckError, match=r"left_out 3\.32 % of 68,211 records of 2023-01, at most"):
        load_trips("green", ["2023-01"], real_months, checks={"left_out": "3%"})

"""One month after another by `taxi-nb monthly`: kept, trained again, refused, broken, late."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest

from benchmarks.monthly import CODE, FILE, PARAMETERS, publish
from taxi_nb.scoring.judged_months import MonthRecord, read_month
from tests.conftest import Project, runs_of
from tests.running import CommandLine


@pytest.fixture
def monthly(project: Project, store: str) -> Project:
    """A project with a model to train, and no months yet."""
    project.notebook("01_train", CODE, parameters=PARAMETERS)
    project.pipeline(FILE, "monthly")
    (project.root / "months").mkdir()
    return project


def comes(project: Project, month: str, *, times: int = 1, broken: bool = False) -> None:
    """Let a month be published whose trips take so many times as long."""
    file = publish(project.root, month, times)
    if broken:
        file.write_bytes(file.read_bytes()[:3000])


def record_of(project: Project, month: str) -> MonthRecord:
    return read_month(project.root / "runs" / "monthly" / f"{month}.json")


@pytest.mark.slow
def test_months_in_a_row_of_which_some_drift_break_and_come_late(
    monthly: Project, taxi_nb: CommandLine, store: str
) -> None:
    for month in ("2021-01", "2021-02", "2021-03"):
        comes(monthly, month)
    code, out, err = taxi_nb("monthly")
    assert (code, err) == (0, "")
    assert "2021-03: trained, version 1 promoted\n" in out
    assert "there was no champion" in out
    assert taxi_nb("monthly")[1].startswith("nothing to do: 2021-03 is trained, version 1 promoted")

    # The city is slow all of a sudden: what is learned from the months before is no better.
    comes(monthly, "2021-04", times=2)
    code, out, _ = taxi_nb("monthly")
    assert code == 3
    assert "2021-04: trained, and refused\n" in out
    assert "minutes too short on average" in out
    assert taxi_nb("monthly")[0] == 0

    comes(monthly, "2021-05", broken=True)
    comes(monthly, "2021-06", times=2)
    code, out, _ = taxi_nb("monthly")
    assert code == 1
    assert "2021-05: failed\n  why:      " in out
    assert "is cut short" in out
    assert "2021-06: failed\n  why:      the pipeline is failed at 01_train" in out

    comes(monthly, "2021-05", times=2)
    code, out, _ = taxi_nb("monthly", "--jobs", "2")
    assert code == 0
    assert "2021-05: scored late\n" in out
    # The month was scored before: its scoring is not repeated.
    assert "2021-06: trained, version 3 promoted\n" in out
    last = record_of(monthly, "2021-06")
    assert last.scored
    assert last.scored_again
    assert last.retraining
    assert (last.scored_again.rmse or 99) < (last.scored.rmse or 0)
    assert (last.retraining.champion_before, last.retraining.champion_after) == ("1", "3")
    assert last.scored.synthetic

    page = (monthly.root / "runs" / "monthly" / "index.html").read_text()
    assert "<h1>2021-06: trained, version 3 promoted</h1>" in page
    assert "sample (synthetic)" in page
    assert page.index("2021-06") < page.index("<th>2021-05") < page.index("<th>2021-03")
    assert f'href="../{last.retraining.run}/index.html"' in page
    assert not [run for run in runs_of(store) if run.info.status == "RUNNING"]
    # All of a month is below one run.
    for run_id in (last.scored.run_id, last.scored_again.run_id, last.retraining.mlflow_run_id):
        assert mlflow.get_run(str(run_id)).data.tags["mlflow.parentRunId"] == last.mlflow_run_id
    predictions = pq.read_table(monthly.root / "runs" / "monthly" / "2021-06.parquet")
    assert predictions.num_rows == last.scored_again.predicted


@pytest.mark.slow
def test_a_month_that_does_not_pass_a_check_is_failed_until_it_is_accepted(
    monthly: Project, taxi_nb: CommandLine, webhook: Any
) -> None:
    monthly.pipeline(f"checks: {{rows: {{min: 5000}}}}\nnotify: [env:OPS_HOOK]{FILE}", "monthly")
    for month in ("2021-01", "2021-02", "2021-03"):
        comes(monthly, month)
    says = "records of 2021-01, at least 5,000: FAIL"
    code, out, _ = taxi_nb("monthly")
    assert code == 1
    assert "2021-03: failed\n  why:      the pipeline is failed at 01_train" in out
    assert says in out
    assert record_of(monthly, "2021-03").failed_checks == ("rows",)
    told = webhook.got.pop()
    assert told["title"] == "monthly 2021-03: failed"
    assert says in told["message"]
    assert f"page: {monthly.root / 'runs' / 'monthly' / 'index.html'}" in told["message"]

    # All of it passes: what is trained on, and what is scored.
    code, out, _ = taxi_nb("monthly", "--accept", "rows=a small town")
    assert code == 0
    assert "2021-03: trained, version 1 promoted\n" in out
    assert "records of 2021-03, at least 5,000: ACCEPTED (a small town)" in out
    assert webhook.got.pop()["title"] == "monthly 2021-03: trained, version 1 promoted"
    (judged,) = record_of(monthly, "2021-03").scored.checks  # type: ignore[union-attr]
    assert (judged.verdict, judged.reason) == ("accepted", "a small town")

    comes(monthly, "2021-04")
    code, out, _ = taxi_nb("monthly")
    assert code == 1
    assert "2021-04: failed\n  why:      rows " in out
    assert "records of 2021-04, at least 5,000: FAIL. To let it pass once: --accept rows" in out
    assert record_of(monthly, "2021-04").failed_checks == ("rows",)
    assert not (monthly.root / "runs" / "monthly" / "2021-04.parquet").exists()
    assert len(webhook.got) == 1

    # A call was killed between a month's record and its message: the next call sends it.
    file = monthly.root / "runs" / "monthly" / "2021-03.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "told": False}))
    again = "2021-04: failed"  # It is tried again each time.
    for titles in (["2021-03: trained, version 1 promoted", again], [again]):
        webhook.got.clear()
        taxi_nb("monthly")
        assert [told["title"] for told in webhook.got] == [f"monthly {title}" for title in titles]


@pytest.mark.slow
def test_where_the_champion_is_protected_a_month_waits_for_a_sign_off(
    monthly: Project, taxi_nb: CommandLine
) -> None:
    about = ["--name", "monthly", "--by", "Ada", "--reason", "people rely on it"]
    assert taxi_nb("registry", "protect", *about)[0] == 0
    for month in ("2021-01", "2021-02", "2021-03"):
        comes(monthly, month)
    for trains in (True, False):
        code, out, _ = taxi_nb("monthly")
        assert code == 3
        assert out.startswith("2021-03") is not trains
        assert "2021-03: trained, waits for a sign-off\n" in out
        assert "taxi-nb registry sign-off 1 --by NAME --reason WHY --name monthly" in out
    assert record_of(monthly, "2021-03").state == "waiting"
    assert taxi_nb("registry", "sign-off", "1", *about)[0] == 0
    assert taxi_nb("registry", "promote", "1", "--reason", "agreed", "--name", "monthly")[0] == 0
    code, out, _ = taxi_nb("monthly")
    assert (code, out.splitlines()[0]) == (0, "2021-03: trained, version 1 promoted")
    done = record_of(monthly, "2021-03")
    assert done.scored
    assert done.scored.model == "monthly, version 1"


def test_a_record_of_an_older_commit_is_read() -> None:
    record = read_month(Path(__file__).parent / "data" / "month-2021-08.json")
    assert record.decision == "trained, version 3 promoted"
    assert record.retraining
    assert record.retraining.champion_before == "1"
    assert record.lines[1] == (
        "  scored:   monthly, version 1: RMSE 16.869 ± 0.327 minutes, bias -13.053 ± 0.328"
    )
    assert not record.refused


@pytest.mark.parametrize("key", ["month", "state", "scored"])
def test_a_record_that_is_none_is_named(monthly: Project, taxi_nb: CommandLine, key: str) -> None:
    comes(monthly, "2021-03")
    folder = monthly.root / "runs" / "monthly"
    folder.mkdir(parents=True)
    known: dict[str, Any] = {"month": "2021-02", "state": "done", key: 5}
    (folder / "2021-02.json").write_text(json.dumps(known))
    code, _, err = taxi_nb("monthly")
    assert code == 1
    assert f"{folder / '2021-02.json'} is not a month's record" in err
    assert "Traceback" not in err


def test_a_file_whose_months_stand_still_is_refused(
    monthly: Project, taxi_nb: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monthly.pipeline("steps: [{notebook: 01_train}]", "still")
    code, _, err = taxi_nb("monthly", "params/still.yaml", "--month", "2021-03")
    assert (code, Path("params/still.yaml").name in err) == (2, True)
    code, _, err = taxi_nb("monthly")
    assert code == 2
    assert "latest cannot be found out" in err
    assert "has no month of green" in err
    # Without a network it is nobody's mistake, and the next call may go well.
    monkeypatch.setenv("TAXI_NB_TLC_URL", "http://127.0.0.1:9")
    code, _, err = taxi_nb("monthly", "--set", "source=tlc")
    assert (code, err.count("\n")) == (1, 1)
    assert "the TLC cannot be asked for" in err

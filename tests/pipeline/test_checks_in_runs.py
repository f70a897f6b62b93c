"""Checks of the pipeline file in a run: who is stopped, what is kept of it, how it is let pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest

from taxi_nb.pipeline.record import RunRecord, Status
from tests.conftest import Project
from tests.running import CommandLine

LOAD = "from taxi_nb import load_trips\nload_trips('green', months, 'sample', sample_rows=1_000)"
STEPS = """
steps:
  - {notebook: 01_load, matrix: {seed: [1, 2]}}
  - {notebook: 02_plain, needs: []}
"""


def pipeline(project: Project, checks: str) -> None:
    project.notebook("01_load", LOAD, parameters="months: list[str] = ['2021-01']\nseed: int = 1")
    project.notebook("02_plain", "1 + 1")
    project.pipeline(f"checks: {checks}{STEPS}")


def record_of(project: Project) -> RunRecord:
    return RunRecord.read(project.root / "runs" / "latest" / "run.json")


def page_of(project: Project) -> str:
    return (project.root / "runs" / "latest" / "index.html").read_text()


FAILS = "left_out 2.90 % of 1,000 records of 2021-01, at most 1 %"


@pytest.mark.slow
def test_a_check_stops_the_steps_that_load_until_it_is_accepted(
    project: Project, taxi_nb: CommandLine, store: str
) -> None:
    pipeline(project, "{left_out: 1%, rows: {min: 100}}")
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert code == 1
    assert f"CheckError: {FAILS}: FAIL. To let it pass once: --accept left_out, or" in err
    assert "Traceback" not in err + out
    assert out.count(f"check:    {FAILS}: FAIL") == 1  # Two steps judged the same month.
    record = record_of(project)
    stands = {step.name: step.status for step in record.steps}
    assert stands == {"01_load[1]": "failed", "01_load[2]": "failed", "02_plain": "ok"}
    assert [str(one) for one in record.checks] == [
        f"{FAILS}: FAIL",
        "rows 1,000 records of 2021-01, at least 100: PASS",
    ]
    page = page_of(project)
    places = (f"</span> {FAILS}", "</span> rows 1,000", 'id="steps"')
    assert [*map(page.index, places)] == sorted(map(page.index, places))
    run = mlflow.get_run(str(record.steps[0].mlflow_run_id))
    assert run.data.tags["taxi_nb.checks"] == f"{FAILS}: FAIL"
    assert run.data.metrics["check/left_out/green 2021-01"] == pytest.approx(0.029)
    kept: Any = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/checks.json")
    assert [one["verdict"] for one in kept] == ["fail", "pass"]
    # What failed is not used again; a step that loads nothing is.
    code, out, _ = taxi_nb("plan", "params/test.yaml")
    assert "02_plain    up to date" in out
    assert out.count("will run: last time failed") == 2

    accepted = ("--accept", "left_out=TLC announced it? #1")
    assert taxi_nb("run", "params/test.yaml", *accepted)[0] == 0
    record = record_of(project)
    passes = f"{FAILS}: ACCEPTED (TLC announced it? #1)"
    assert str(record.checks[0]) == passes
    assert record.accepted == {"left_out": "TLC announced it? #1"}
    assert ">accepted</span> left_out 2.90 %" in page_of(project)
    assert "TLC announced it? #1" in page_of(project)
    run = mlflow.get_run(str(record.steps[0].mlflow_run_id))
    assert run.data.tags["taxi_nb.checks"] == passes
    # As it was accepted it stands; not for those who did not, or for another reason.
    assert "nothing will run" in taxi_nb("plan", "params/test.yaml", *accepted)[1]
    out = taxi_nb("plan", "params/test.yaml", "--accept", "left_out=TLC announced it? #2")[1]
    assert out.count("will run: the checks of the data are others") == 2
    pipeline(project, "{left_out: 5%, rows: {min: 100}}")
    assert "2 of 3 steps will run" in taxi_nb("plan", "params/test.yaml")[1]


@pytest.mark.slow
def test_steps_of_an_opened_run_obey_the_checks_and_what_was_accepted(
    project: Project, taxi_nb: CommandLine, store: str
) -> None:
    pipeline(project, "{left_out: 1%}")
    code, run, _ = taxi_nb("open", "params/test.yaml")
    assert code == 0
    step = ("step", "params/test.yaml", "01_load[1]", "--run", run.strip())
    code, _, err = taxi_nb(*step)
    assert (code, f"{FAILS}: FAIL" in err) == (1, True)
    assert taxi_nb(*step, "--accept", "left_out")[0] == 0
    assert taxi_nb("close", run.strip())[0] == 1  # The others have not run.
    assert str(record_of(project).checks[0]) == f"{FAILS}: ACCEPTED (no reason given)"
    run = taxi_nb("open", "params/test.yaml", "--accept", "left_out=why not")[1]
    assert taxi_nb("step", "params/test.yaml", "01_load[2]", "--run", run.strip())[0] == 0
    assert taxi_nb("close", run.strip())[0] == 1
    assert str(record_of(project).checks[0]) == f"{FAILS}: ACCEPTED (why not)"


@pytest.mark.parametrize(
    ("checks", "options", "says"),
    [
        (
            "{left_off: 5%}",
            [],
            "params/test.yaml:1: checks.left_off: is no check; did you mean 'left_out'? Checks are "
            "left_out, missing_days, not_positive, rows, zones_new",
        ),
        ("{left_out: 5}", [], ":1: checks.left_out: must be a share such as 5% or 0.05, got 5"),
        ("{left_out: .nan}", [], ":1: checks.left_out: must be a share such as"),
        ("{rows: {mini: 5}}", [], ":1: checks.rows.mini: is not known; did you mean 'min'?"),
        ("{left_out: 1%, left_out: 2%}", [], "left_out"),
        ("[left_out]", [], ":1: checks: "),
        ("{left_out: 1%}", ["left_of"], "--accept: params/test.yaml has no check 'left_of'; did"),
        (
            "{left_out: 1%}",
            ["rows=why"],
            "--accept: params/test.yaml has no check 'rows'; it has",
        ),
        ("{}", ["left_out"], "--accept: params/test.yaml has no check 'left_out'; it has none"),
        ("{left_out: 1%}", ["left_out", "left_out=b"], "--accept left_out: is given twice"),
    ],
)
def test_mistakes_are_told_before_anything_runs(
    project: Project, taxi_nb: CommandLine, checks: str, options: list[str], says: str
) -> None:
    pipeline(project, checks)
    given = [word for option in options for word in ("--accept", option)]
    code, _, err = taxi_nb("run", "params/test.yaml", *given)
    assert code == 2
    assert says in err
    assert "nothing has been run" in err
    assert not (project.root / "runs").exists()


@pytest.mark.slow
def test_a_failing_check_is_not_tried_again(project: Project, taxi_nb: CommandLine) -> None:
    project.notebook("01_load", LOAD, parameters="months: list[str] = ['2021-01']")
    project.pipeline("checks: {left_out: 0}\nsteps: [{notebook: 01_load, retries: 3}]")
    assert taxi_nb("run", "params/test.yaml")[0] == 1
    (step,) = record_of(project).steps
    assert (step.status, step.attempts) == (Status.FAILED, 1)


def test_checks_that_nothing_was_judged_by_are_said(
    project: Project, taxi_nb: CommandLine, store: str
) -> None:
    project.notebook("01_plain", "1 + 1")
    project.pipeline("checks: {left_out: 0}\nsteps: [{notebook: 01_plain}]")
    code, _, err = taxi_nb("run", "params/test.yaml")
    assert code == 0
    assert "note: no step of test loaded data that its checks could judge" in err


def test_a_record_without_checks_is_written_as_before(project: Project) -> None:
    text = (Path(__file__).parent / "data" / "run_of_3c1461c.json").read_text()
    record = RunRecord.from_json(text)
    assert (record.checks, dict(record.accepted)) == ([], {})
    known: dict[str, Any] = json.loads(record.to_json())
    assert "accepted" not in known
    assert not any("checks" in step for step in known["steps"])

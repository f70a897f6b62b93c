"""The last lines of a run, and runs that may not promote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from taxi_nb.cli import _terminal
from taxi_nb.cli._ending import ending
from taxi_nb.pipeline.record import RunRecord, Status, StepResult
from taxi_nb.pipeline.report.headline import Since
from taxi_nb.tracking.outcomes import Decided, TrainedModel
from tests.conftest import Project
from tests.running import CommandLine, run_record

TRAIN = """import mlflow
mlflow.start_run()
mlflow.set_tags({"taxi_nb.kind": "training", "model": "linear"})
mlflow.log_metric("valid_rmse", rmse)"""
DECIDE = """import mlflow, os
from taxi_nb.tracking.inputs import used_variable
used_variable("TAXI_NB_PROMOTE")
may = os.environ.get("TAXI_NB_PROMOTE") != "no"
verdict = "promoted" if may else "would be promoted, which --no-promote kept it from"
mlflow.start_run()
mlflow.set_tags({"promotion": f"fares version 2 {verdict}: it is better",
                 "taxi_nb.promoted": str(may).lower()})
mlflow.log_metrics({"challenger_rmse": rmse, "challenger_rmse_error": 0.2,
                    "champion_rmse": 7.0, "gain": 7.0 - rmse, "gain_error": 0.05})"""
LAST = """page:     {folder}/index.html
MLflow:   {experiment}, run {run} (taxi-nb ui)
"""

# These notebooks say nothing of the data that they use.
NOT_KNOWN = "not known to be of the same data, so that they are not compared"


@pytest.fixture
def deciding(project: Project) -> Project:
    project.notebook("01_train", TRAIN, parameters="rmse: float = 6.0")
    project.notebook("02_decide", DECIDE, parameters="rmse: float = 6.0")
    project.pipeline("steps: [{notebook: 01_train}, {notebook: 02_decide}]")
    return project


def latest(project: Project) -> RunRecord:
    return RunRecord.read(project.root / "runs" / "latest" / "run.json")


def last_lines(out: str) -> list[str]:
    """What stands below the line that says how the run ended, but for where to look."""
    lines = out.splitlines()
    begins = max(i for i, line in enumerate(lines) if line.startswith("test: "))
    return [line for line in lines[begins + 1 :] if not line.startswith(("page:", "MLflow:"))]


@pytest.mark.slow
def test_the_last_lines_are_the_answer(deciding: Project, taxi_nb: CommandLine) -> None:
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert (code, err) == (0, "")
    first = latest(deciding)
    assert last_lines(out) == [
        "decision: fares version 2 promoted: it is better",
        "champion: none, NEW: this run changed it",
        "best:     linear of 01_train, RMSE 6.000 ± 0.200 minutes",
        "against:  the champion until now, RMSE 7.000 minutes: better by 1.000 ± 0.050",
        "against:  no good run with this number before this one",
    ]
    folder = deciding.root / "runs" / first.id
    assert out.endswith(
        LAST.format(folder=folder, experiment=first.experiment, run=first.mlflow_run_id)
    )
    # A what-if: it is judged, nothing moves, and the record says that nothing could.
    code, out, _ = taxi_nb("run", "params/test.yaml", "--set", "rmse=5.5", "--no-promote")
    assert code == 0
    assert last_lines(out)[:2] == [
        "decision: fares version 2 would be promoted, which --no-promote kept it from: "
        "it is better",
        "champion: none, not changed by this run",
    ]
    assert last_lines(out)[-1] == (
        f"against:  {first.id}, the last good run with it, RMSE 6.000 minutes: {NOT_KNOWN}"
    )
    assert latest(deciding).settings == ["--set", "rmse=5.5", "--no-promote"]
    # Without the option it decides anew.
    code, out, _ = taxi_nb("plan", "params/test.yaml", "--set", "rmse=5.5")
    assert "01_train   up to date" in out
    assert "02_decide  will run: it may promote now" in out
    assert out.splitlines()[-1].startswith("about ")
    # What a failed run says is no answer, and the good one before it is what counts.
    deciding.notebook("02_decide", "1/0", parameters="rmse: float = 6.0")
    assert taxi_nb("run", "params/test.yaml")[0] == 1
    deciding.notebook("02_decide", DECIDE, parameters="rmse: float = 6.0")
    code, out, _ = taxi_nb("run", "params/test.yaml", "--set", "rmse=7")
    assert f"the last good run with it, RMSE 5.500 minutes: {NOT_KNOWN}" in last_lines(out)[-1]
    # Nothing to do: the answer is that of then.
    code, out, _ = taxi_nb("run", "params/test.yaml", "--set", "rmse=7")
    assert code == 0
    assert last_lines(out) == [
        f"decision: fares version 2 promoted: it is better (decided in {latest(deciding).id})",
        "best:     linear of 01_train, RMSE 7.000 ± 0.200 minutes",
    ]


@pytest.mark.slow
def test_steps_of_a_run_that_was_opened_so_promote_nothing(
    deciding: Project, taxi_nb: CommandLine
) -> None:
    run = taxi_nb("open", "params/test.yaml", "--no-promote")[1].strip()
    for step in ("01_train", "02_decide"):
        assert taxi_nb("step", "params/test.yaml", step, "--run", run)[0] == 0
    code, out, _ = taxi_nb("close", run)
    assert code == 0
    assert "would be promoted, which --no-promote kept it from" in last_lines(out)[0]


def test_without_models_and_decisions_there_is_only_where_to_look(tmp_path: Path) -> None:
    lines = [*ending(run_record(mlflow_run_id="1f", experiment="x"), tmp_path)]
    assert lines == [f"page:     {tmp_path}/index.html", "MLflow:   x, run 1f (make ui)"]


def test_a_decision_that_an_earlier_run_made_is_not_this_one_s(tmp_path: Path) -> None:
    step = StepResult("06", "06.ipynb", status=Status.CACHED, reused_from="20260203-140501-test")
    decided = {"decision": "fares version 2 promoted: x", "decided": Decided("06", promoted=True)}
    made = run_record(steps=(step,), champion="fares, version 2", **decided)
    assert [*ending(made, tmp_path)][:2] == [
        "decision: fares version 2 promoted: x (decided in 20260203-140501-test)",
        "champion: fares, version 2, not changed by this run",
    ]


def test_a_run_that_did_not_end_well_has_no_best_model(tmp_path: Path) -> None:
    model = TrainedModel("linear", "01", "1f", {"valid_rmse": 5.0})
    record = run_record(status=Status.FAILED, models=(model,))
    assert not any(line.startswith("best") for line in ending(record, tmp_path))
    judged = replace(model, metrics={"val_accuracy": 0.9})
    told = [*ending(replace(record, status=Status.OK, models=(judged,)), tmp_path, is_new=False)]
    assert told[0] == "best:     linear of 01, val_accuracy 0.900"


@pytest.mark.parametrize(
    ("is_better", "before", "says"),
    [
        (True, 5.5, "better by 0.500 now"),
        (False, 4.0, "worse by 1.000 now"),
        (None, 5.0, "the same"),
    ],
)
def test_the_last_good_run_is_what_counts_on_the_same_data(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_better: bool | None,
    before: float,
    says: str,
) -> None:
    since = Since("20260203-140501-test", before, is_better, same_data=True)
    monkeypatch.setattr(Since, "last_good_run", lambda *_: since)
    record = run_record(models=(TrainedModel("linear", "01", "1f", {"valid_rmse": 5.0}),))
    told = f"against:  {since.run}, the last good run with it, RMSE {before:.3f} minutes: {says}"
    assert told in [*ending(record, tmp_path)]


def test_on_a_terminal_lines_are_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_terminal, "width", lambda: 80)
    told = _terminal.fact("decision", f"03_train[random_forest] {'is better ' * 20}")
    assert all(len(line) <= 80 for line in told.splitlines())
    assert all(line.startswith(" " * 10) for line in told.splitlines()[1:])
    assert " ".join(told.split()[1:]) == f"03_train[random_forest] {'is better ' * 20}".strip()
    assert (
        _terminal.cut("04_tune  will run: " + "x" * 100) == "04_tune  will run: " + "x" * 60 + "…"
    )
    monkeypatch.setattr(_terminal, "width", lambda: None)
    assert _terminal.cut("x" * 100) == "x" * 100

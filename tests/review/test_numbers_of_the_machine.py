"""A metric that measures the machine is one to all who compare runs or lead them back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from taxi_nb.pipeline.record import Status, StepResult
from taxi_nb.pipeline.report._comparison import compare
from taxi_nb.pipeline.report.past import RunOnDisk
from taxi_nb.review.trace.nodes import run_facts
from taxi_nb.review.verify.comparison import Execution, compare_executions
from tests.running import run_record


def a_run(folder: Path, metrics: dict[str, float]) -> RunOnDisk:
    step = StepResult("01_a", "notebooks/01_a.ipynb", status=Status.OK, metrics=metrics)
    return RunOnDisk(run_record(id=folder.name, steps=(step,)), folder)


def test_trace_verify_and_report_treat_a_latency_alike(tmp_path: Path) -> None:
    metrics = {"mae": 1.0, "latency_milliseconds": 3.0}
    before = a_run(tmp_path / "1", metrics)
    after = a_run(tmp_path / "2", {**metrics, "latency_milliseconds": 4.0})

    run: Any = SimpleNamespace(
        info=SimpleNamespace(status="FINISHED", start_time=0),
        data=SimpleNamespace(tags={}, metrics=metrics),
    )
    assert run_facts(run, ())["metrics"] == "mae 1"

    sides = [Execution(side, side.folder, {"01_a": []}) for side in (before, after)]
    (verdict,) = compare_executions(*sides)
    assert verdict.left_out == ("metric latency_milliseconds: measures the machine",)
    assert verdict.metrics == 1

    found = compare(before, after)
    assert [change.metric for change in found.metrics if not change.is_of_the_machine] == []
    assert found.same_metrics == 1

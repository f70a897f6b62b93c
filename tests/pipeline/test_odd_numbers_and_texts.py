"""NaN, infinity, damaged records and huge texts: kept strictly, shown, and in nobody's way."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.plan import plan
from taxi_nb.pipeline.record import RunRecord, Status, StepError, StepResult
from taxi_nb.pipeline.report.site import write_site
from taxi_nb.plain_data import plain, restored, to_json
from taxi_nb.tracking.outcomes import TrainedModel
from tests.conftest import Project
from tests.running import Run, run_record

NAN = math.nan
STEP = StepResult("a", "notebooks/a.ipynb", status=Status.OK)


def strictly(text: str) -> Any:
    """Parse JSON as other languages do: NaN is none."""

    def refuse(token: str) -> None:
        raise AssertionError(f"not JSON: {token}")

    return json.loads(text, parse_constant=refuse)


def write_run(runs: Path, id_: str, metrics: dict[str, float], **changed: Any) -> Path:
    folder = runs / id_
    folder.mkdir(parents=True)
    models = [TrainedModel(f"{n} model", "a", str(n), {"valid_rmse": n}) for n in (NAN, 2.0)]
    started = f"2026-01-01T00:00:{len(list(runs.iterdir())):02}+00:00"
    record = run_record(
        id=id_,
        started=started,
        seconds=3.0,
        steps=(replace(STEP, metrics=metrics, **changed),),
        models=tuple(models),
    )
    (folder / "run.json").write_text(record.to_json())
    return folder


def test_numbers_that_json_does_not_have_are_kept_strictly_and_come_back() -> None:
    metrics = {"rmse": NAN, "gain": math.inf, "loss": -math.inf, "mae": 1.5}
    given = {"limit": NAN, "weights": {1: 0.5, "1": 0.25}, "text": "NaN", "most": [math.inf]}
    record = run_record(steps=(replace(STEP, metrics=metrics, parameters=given),))
    text = record.to_json()
    assert strictly(text)["steps"][0]["metrics"]["rmse"] == "NaN"
    step = RunRecord.from_json(text).steps[0]
    assert repr(step.metrics) == repr(metrics)
    assert repr(step.parameters) == repr(given)


def test_a_record_of_before_with_bare_nan_is_read() -> None:
    text = run_record(steps=(replace(STEP, metrics={"rmse": 7.5}),)).to_json()
    step = RunRecord.from_json(text.replace("7.5", "NaN")).steps[0]
    assert math.isnan(step.metrics["rmse"])


@pytest.mark.parametrize(
    "value", [{1: {2: "b"}}, {True: 1}, {"$pairs": 1}, {"$number": "inf"}, [[-math.inf]], {None: 0}]
)
def test_what_is_made_plain_is_restored(value: Any) -> None:
    assert restored(strictly(json.dumps(plain(value)))) == value


def test_nan_is_shown_and_compared_as_what_it_is(tmp_path: Path) -> None:
    write_run(tmp_path, "1", {"valid_rmse": NAN, "valid_mae": 1.0, "test_r2": NAN})
    write_run(tmp_path, "2", {"valid_rmse": 2.0, "valid_mae": math.inf, "test_r2": NAN})
    last = write_run(tmp_path, "3", {"valid_rmse": NAN, "valid_mae": 1.0, "test_r2": NAN})
    page = write_site(last).read_text()
    assert "<dd>NaN</dd>" in page
    # In the chart, at its run, and among runs and models.
    assert "a, 2026-01-01 00:00 UTC: NaN</title>NaN</text>" in page
    assert '<td class="number">NaN</td>' in page
    assert page.index("2.0 model") < page.index("nan model")
    # NaN and NaN are the same. Nobody noted the data, so nothing is judged.
    changes = page[page.index('id="against"') : page.index('id="history"')]
    assert "worse" not in changes
    assert "better" not in changes
    assert "1 other metrics are the same" in changes


def test_a_damaged_run_is_named_once_and_keeps_no_other_from_its_pages(tmp_path: Path) -> None:
    broken = {"cut": b'{"id": "cut", "st', "empty": b"", "deep": b"[" * 100_000, "bytes": b"\xff"}
    for name, content in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_bytes(content)
    half = write_run(tmp_path, "half", {}, executed_notebook="broken.ipynb", html="a.html")
    (half / "broken.ipynb").write_text('{"cells": [{"cell_type": "code", "sou')
    last = write_run(tmp_path, "last", {}, executed_notebook="a.ipynb", html="a.html")
    (last / "a.ipynb").write_text(
        '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    )
    page = write_site(last).read_text()
    assert page.count("their records cannot be read: bytes, cut, deep, empty.") == 1


@pytest.mark.slow
def test_a_metric_that_is_nan_stops_neither_its_run_nor_later_ones(
    project: Project, run: Run
) -> None:
    code = "import mlflow\nfrom taxi_nb import tracked_run\nwith tracked_run('m'):\n"
    project.notebook("a", f"{code}    mlflow.log_metric('rmse', v)", parameters="v: float = 0.0")
    text = "steps: [{notebook: a, params: {v: .nan}}]"
    record, folder = run(text)
    assert record.status is Status.OK
    assert strictly((folder / "run.json").read_text())
    assert "<dd>NaN</dd>" in (folder / "index.html").read_text()
    pipeline = read_pipeline(project.pipeline(text), project.root)
    assert [str(step) for step in plan(pipeline, Memory(pipeline)).steps] == ["up to date"]
    later, folder = run(text, overrides=["v=2.0"])
    assert later.status is Status.OK
    assert later.steps[0].reason == "params.v nan -> 2.0"
    assert "<dd>2</dd>" in (folder / "index.html").read_text()


def test_a_huge_error_is_kept_in_the_notebook_and_told_in_few_words(
    project: Project, run: Run
) -> None:
    project.notebook("a", "raise type('E' * 9_000, (Exception,), {})('x' * 300_000)")
    record, folder = run("steps: [{notebook: a}]")
    assert record.status is Status.FAILED
    assert len(str(record.steps[0].error)) < 2_300
    assert "xxx… 300,000 characters" in str(record.steps[0].error)
    for name, most in (("run.json", 5_000), ("index.html", 40_000), ("a.html", 200_000)):
        assert (folder / name).stat().st_size < most
    assert "x" * 300_000 in (folder / "a.ipynb").read_text()


def test_a_mistake_quotes_no_more_of_a_value_than_helps(project: Project) -> None:
    project.notebook("a", "1", parameters="n: int = 1")
    long = "x" * 100_000
    for overrides in (["n=" + long], [f"{long}=1"], ["n={" + long + ": 1}"], ["n=*" + long]):
        with pytest.raises(ValueError, match="--set") as caught:
            read_pipeline(project.pipeline("steps: [{notebook: a}]"), project.root, overrides)
        assert len(str(caught.value)) < 2_000
    record = run_record(steps=(replace(STEP, error=StepError(1, "E", long)),))
    assert len(record.to_json()) < 4_000
    assert to_json({"x": long})[-3:] == 'x"}'

"""Pages made from what a run left: what differs between runs, and outputs within bounds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest

from taxi_nb.pipeline.record import RunRecord, Status, StepError, StepResult
from taxi_nb.pipeline.report._comparison import Change, MetricChange, compare
from taxi_nb.pipeline.report._metrics import better, by_importance, main_metric
from taxi_nb.pipeline.report._pages import difference
from taxi_nb.pipeline.report._untrusted import held_back, sanitised
from taxi_nb.pipeline.report.past import RunOnDisk, runs_before
from taxi_nb.pipeline.report.site import write_site
from taxi_nb.tracking.outcomes import TrainedModel

INPUTS: dict[str, Any] = {
    "cells": {"3": "c1", "4": "c2"},
    "parameters": {"alpha": 0.1},
    "modules": {"taxi_nb/features.py": {"TripFeatures": "m1", "zones": "m2"}},
    "files": {
        "data/a.parquet": {"name": "green 2021-01", "digest": "d1"},
        "notebooks/notes.txt": {"name": None, "digest": "n1"},
    },
    "packages": {"scikit-learn": "1.9.0", "numpy": "2.4"},
    "upstream": {},
    "variables": {"TAXI_NB_DATA_DIR": None},
}


def a_run(
    runs: Path,
    id_: str = "20260101-000000-test",
    *,
    outputs: list[Any] | None = None,
    inputs: dict[str, Any] | None = None,
    **changed: Any,
) -> Path:
    """Write a run of one step, as the runner leaves it."""
    folder = runs / id_
    folder.mkdir(parents=True)
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("shown()", outputs=outputs or [])]
    nbformat.write(notebook, folder / "01_a.ipynb")
    if inputs is not None:
        (folder / "01_a.inputs.json").write_text(json.dumps(inputs))
    step = StepResult(
        name="01_a",
        notebook="notebooks/01_a.ipynb",
        status=Status.OK,
        seconds=2.0,
        executed_notebook="01_a.ipynb",
        html="01_a.html",
        inputs=None if inputs is None else "01_a.inputs.json",
        parameters=changed.pop("parameters", {"alpha": 0.1}),
        metrics=changed.pop("metrics", {"valid_rmse": 6.5, "fit_seconds": 1.0}),
    )
    record = RunRecord(
        id=id_,
        pipeline="test",
        parameter_file="params/test.yaml",
        status=Status.OK,
        started=f"2026-01-01T00:00:{len(list(runs.iterdir())):02d}+00:00",
        tracking_uri="sqlite:///mlflow.db",
        experiment="test",
        mlflow_run_id=None,
        steps=(replace(step, **changed.pop("step", {})),),
        seconds=3.0,
        **{"commit": "a" * 40, "dirty": False, **changed},
    )
    (folder / "run.json").write_text(record.to_json())
    return folder


def stream(text: str) -> Any:
    return nbformat.v4.new_output("stream", text=text)


def test_what_changed_is_named_by_kind(tmp_path: Path) -> None:
    before = a_run(tmp_path, "1", inputs=INPUTS)
    after = a_run(
        tmp_path,
        "2",
        commit="b" * 40,
        dirty=True,
        parameters={"alpha": 0.2, "seed": 1},
        metrics={"valid_rmse": 6.25, "fit_seconds": 1.5},
        inputs={
            **INPUTS,
            "cells": {"3": "c1", "4": "c9"},
            "modules": {"taxi_nb/features.py": {"TripFeatures": "m9", "zones": "m2"}},
            "files": {"data/b.parquet": {"name": "green 2021-01", "digest": "d9"}},
            "packages": {"scikit-learn": "1.10.0"},
            "variables": {"TAXI_NB_DATA_DIR": "trips"},
        },
    )
    found = compare(RunOnDisk.read(before), RunOnDisk.read(after))
    assert found.parameters == (
        Change("alpha", "0.1", "0.2", ("01_a",)),
        Change("seed", None, "1", ("01_a",)),
    )
    assert found.data == (Change("green 2021-01", "d1", "d9", ("01_a",)),)
    assert found.environment == (
        Change("scikit-learn", "1.9.0", "1.10.0", ("01_a",)),
        Change("numpy", "2.4", None, ("01_a",)),
        Change("TAXI_NB_DATA_DIR", "not set", "trips", ("01_a",)),
    )
    code = {change.what: (change.before, change.after) for change in found.code}
    assert code == {
        "commit": ("aaaaaaaaaa", "bbbbbbbbbb"),
        "changes that are not committed": ("none", "some"),
        "notebooks/01_a.ipynb: code cells": ("1 of them", "1 new"),
        "taxi_nb/features.py: TripFeatures": ("m1", "m9"),
    }
    assert found.files == (Change("notebooks/notes.txt", "n1", None, ("01_a",)),)
    (rmse, seconds) = found.metrics
    # Less, but of other data.
    assert (rmse.metric, rmse.difference, rmse.better) == ("valid_rmse", -0.25, None)
    assert seconds.is_of_the_machine
    assert found.unknown == ()


def test_what_an_older_run_did_not_keep_is_said_to_be_unknown(tmp_path: Path) -> None:
    before = a_run(tmp_path, "1", commit=None)
    after = a_run(tmp_path, "2", inputs={"packages": None, "cells": "odd"})
    found = compare(RunOnDisk.read(before), RunOnDisk.read(after))
    assert [kind for kind, changes in found.causes if changes] == []
    assert "1 kept no list" in found.unknown[0]
    assert "commit" in found.unknown[1]
    page = write_site(after).read_text()
    assert "the same, as far as both runs tell" in page


def test_runs_of_other_pipelines_later_ones_and_unfinished_ones_are_not_before(
    tmp_path: Path,
) -> None:
    a_run(tmp_path, "1")
    a_run(tmp_path, "2", step={"status": Status.FAILED})
    for number, change in (("3", {"pipeline": "other"}), ("4", {"seconds": None})):
        folder = a_run(tmp_path, number)
        record = RunRecord.from_json((folder / "run.json").read_text())
        (folder / "run.json").write_text(replace(record, **change).to_json())  # type: ignore[arg-type]
    run = RunOnDisk.read(a_run(tmp_path, "5"))
    a_run(tmp_path, "6")
    assert [other.record.id for other in runs_before(run)[0]] == ["1", "2"]


def test_a_reused_step_says_where_it_came_from_and_a_new_one_why_it_ran(tmp_path: Path) -> None:
    reused = {"status": Status.CACHED, "reused_from": "20260101-000000-test"}
    page = write_site(a_run(tmp_path, "1", step=reused)).read_text()
    assert "reused from run 20260101-000000-test" in page
    ran = {"reason": "params.alpha 0.01 -> 0.1", "startup_seconds": 0.5}
    page = write_site(a_run(tmp_path, "2", step=ran)).read_text()
    assert "Ran because: params.alpha 0.01 -&gt; 0.1." in page
    assert ">0.5 s</td>" in page


def test_a_reused_steps_page_stays_as_it_was_made_unless_asked_for_anew(tmp_path: Path) -> None:
    figure = nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0KGgo="})
    script = nbformat.v4.new_output("display_data", data={"text/html": "<script>x()</script>"})
    first = a_run(tmp_path, "1", outputs=[figure, script])
    write_site(first)
    reused = {"status": Status.CACHED, "reused_from": "1"}
    second = a_run(tmp_path, "2", outputs=[figure, script], step=reused)
    (second / "01_a.html").hardlink_to(first / "01_a.html")
    page = write_site(second).read_text()
    assert (second / "01_a.html").samefile(first / "01_a.html")
    assert "Held back: 1 script." in page
    assert 'reused from run <a href="../1/index.html">1</a>' in page
    assert page.count("<img") == 1
    write_site(second, anew=True)
    assert "2</a>, reused from 1" in (second / "01_a.html").read_text()
    assert "reused from" not in (first / "01_a.html").read_text()


def test_a_site_of_reused_steps_alone_needs_no_nbconvert(tmp_path: Path) -> None:
    write_site(a_run(tmp_path, "1"))
    second = a_run(tmp_path, "2", step={"status": Status.CACHED, "reused_from": "1"})
    for name in ("01_a.html", "01_a.ipynb"):
        (second / name).unlink(missing_ok=True)
        (second / name).hardlink_to(tmp_path / "1" / name)
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from taxi_nb.pipeline.report.site import write_site\n"
        f"write_site(Path({str(second)!r}))\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not {"nbconvert", "nbformat", "nbdime"} & set(done.stdout.split())


@pytest.mark.slow
def test_thirty_megabytes_of_output_make_a_small_page_that_says_so(tmp_path: Path) -> None:
    lines = "".join(f"line {number}\n" for number in range(2_500_000))
    html = f"<table>{'<tr><td>1</td></tr>' * 100_000}</table>"
    outputs = [
        stream(lines),
        nbformat.v4.new_output("display_data", data={"text/html": html}),
        *(nbformat.v4.new_output("display_data", {"text/plain": str(n)}) for n in range(300)),
    ]
    folder = a_run(tmp_path, outputs=outputs)
    assert (folder / "01_a.ipynb").stat().st_size > 30_000_000
    write_site(folder)
    page = (folder / "01_a.html").read_text()
    assert len(page) < 500_000
    assert f"The middle of an output of {len(lines) / 1e6:.1f} MB is left out" in page
    assert f"The rest of {len(html) / 1e6:.1f} MB is left out" in page
    assert "202 more outputs are left out" in page
    assert "line 0\n" in page
    assert "line 2499999" in page
    assert 'href="01_a.ipynb"' in page


def test_a_run_that_was_interrupted_has_a_page(tmp_path: Path) -> None:
    gone = {"status": Status.INTERRUPTED, "html": None, "executed_notebook": None, "seconds": None}
    error = {"error": StepError(None, "Interrupted", "ended from outside")}
    page = write_site(a_run(tmp_path, step={**gone, **error}, metrics={})).read_text()
    assert "interrupted" in page


def test_a_record_of_an_older_version_can_be_read(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    known = json.loads((folder / "run.json").read_text())
    for name in ("models", "decision", "champion", "commit", "dirty", "branch", "developer"):
        del known[name]
    (folder / "run.json").write_text(json.dumps(known))
    assert "not recorded" in write_site(folder).read_text()


def test_the_page_says_whether_its_number_chose_the_model(tmp_path: Path) -> None:
    models = tuple(
        TrainedModel(f"m{number}", "01_a", f"{number}", {"valid_rmse": 5.0 + number})
        for number in range(2)
    )
    alone = write_site(a_run(tmp_path / "0", models=models[:1])).read_text()
    assert "optimistic" not in alone
    chosen = write_site(a_run(tmp_path / "1", models=models)).read_text()
    assert (
        "If one of these 2 was chosen by its validation RMSE, that number is the selection"
        in chosen
    )
    folder = a_run(tmp_path / "2", models=models)
    record = json.loads((folder / "run.json").read_text())
    tested = {"test_rmse": 5.4321, "test_rmse_day_error": 0.1, "interval_width": 3.0}
    record["steps"].append({**record["steps"][0], "name": "02_b", "html": None, "metrics": tested})
    (folder / "run.json").write_text(json.dumps(record))
    told = write_site(folder).read_text()
    assert "The number to report is that of 02_b" in told
    assert "test RMSE 5.432 ± 0.100." in re.sub("<[^>]+>", "", told)
    assert "optimistic" not in told


def test_metrics_are_ranked_and_judged_by_their_names() -> None:
    names = ["fit_seconds", "train_rmse", "valid_mae", "valid_rmse", "trips"]
    assert by_importance(names) == ["valid_rmse", "valid_mae", "train_rmse", "fit_seconds", "trips"]
    assert main_metric([{"valid_mae": 1, "valid_rmse": 2}, {"rows": 3}]) == "valid_rmse"
    assert main_metric([{"rows": 3}]) is None
    assert better("valid_rmse", 2, 1) is True
    assert better("valid_r2", 2, 1) is False
    assert better("trips", 2, 1) is None


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        (8.547, 8.778, "+0.231"),
        (10.7, 10.699995, "−5e-06"),
        (29_115, 24_263, "−4,852"),
        (0.01, 0.025, "+0.015"),
        (5_000.25, 123_456.5, "+118,456"),
    ],
)
def test_a_difference_has_the_digits_that_tell_something(
    before: float, after: float, shown: str
) -> None:
    assert difference(MetricChange("step", "metric", before, after)) == shown


@pytest.mark.parametrize(
    ("html", "left", "kind"),
    [
        ("<script>x()</script>a", "a", "script"),
        ("<p onclick='x()'>a</p>", "<p>a</p>", "event handler"),
        ("<a href='java\tscript:x()'>a</a>", "a</a>", "script address"),
        ("<iframe src='//e.com'></iframe>a", "a", "frame"),
        ("<img src='https://e.com/a.png' alt='a'>", "[a]", "load from elsewhere"),
        ("<form><input></form>a", "a", "form field"),
        ("<svg><script>x()</script></svg>a", "a", "script"),
        ("<meta http-equiv=refresh content='0;url=//e.com'>a", "a", "page instruction"),
        ("<math><mtext><style><img src=x onerror=x()></style></mtext></math>a", "a", None),
        ("<p style='position:fixed;color:red'>a</p>", 'style="color:red"', None),
        ("<p class='alarm' id='content'>a</p>", "<p>a</p>", None),
    ],
)
def test_nothing_that_runs_loads_or_poses_is_left(html: str, left: str, kind: str | None) -> None:
    safe = sanitised(html)
    assert left in safe.html
    for bad in ("script", "onclick", "onerror", "iframe", "e.com", "position", "alarm", "meta"):
        assert bad not in safe.html
    if kind:
        assert held_back(html)[kind] >= 1


def test_forty_notebooks_make_a_front_page_that_stays_small(tmp_path: Path) -> None:
    folder = a_run(tmp_path)
    record = RunRecord.from_json((folder / "run.json").read_text())
    steps = tuple(replace(record.steps[0], name=f"{n:02}_a") for n in range(40))
    figure = {"image/png": "iVBORw0KGgo" + "A" * 50_001}
    notebook = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output("display_data", data=figure)
    notebook.cells = [nbformat.v4.new_code_cell("show()", outputs=[output] * 5)]
    nbformat.write(notebook, folder / "01_a.ipynb")
    (folder / "run.json").write_text(replace(record, steps=steps).to_json())
    page = write_site(folder)
    assert page.read_text().count("<img") == 200
    assert page.read_text().count('loading="lazy"') == 200
    assert os.path.getsize(page) < 200_000

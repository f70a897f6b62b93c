"""Steps are executed by real kernels, and how each ended is told truly."""

from __future__ import annotations

import json

import nbformat
import pytest
from mlflow import MlflowClient

from taxi_nb.pipeline.record import RunRecord, Status
from tests.conftest import Project, runs_of, texts
from tests.running import Listener, Run

ONE = "steps: [{notebook: 01_a}]"
TWO = "steps: [{notebook: 01_a}, {notebook: 02_b}]"


def statuses(record: RunRecord) -> dict[str, str]:
    return {step.name: step.status.value for step in record.steps}


def test_a_run_leaves_notebooks_pages_a_record_and_nested_runs(
    project: Project, store: str, run: Run
) -> None:
    project.notebook("01_a", "print('x is', x)", parameters="x: int = 1  # a number")
    project.notebook("02_b", "#md # Title", "import os; print(os.getcwd())")
    listener = Listener()
    record, folder = run(
        "params: {x: 5}\nsteps: [{notebook: 01_a}, {notebook: 02_b}]", listener=listener
    )
    assert record.status is Status.OK
    assert RunRecord.from_json((folder / "run.json").read_text()) == record
    assert (project.root / "runs" / "latest").resolve() == folder
    assert {path.name for path in folder.iterdir()} == {
        *("01_a.ipynb", "01_a.html", "01_a.inputs.json"),
        *("02_b.ipynb", "02_b.html", "02_b.inputs.json"),
        *("index.html", "search.html", "run.json"),
    }
    assert "x is 5" in texts(folder / "01_a.ipynb")
    # As in JupyterLab, a notebook's working folder is its own.
    assert str(project.root / "notebooks") in texts(folder / "02_b.ipynb")
    page = (folder / "index.html").read_text()
    assert 'href="01_a.html"' in page
    assert 'href="02_b.html"' in page
    parent, first, second = runs_of(store)
    assert parent.info.run_id == record.mlflow_run_id
    assert [r.info.run_id for r in (first, second)] == [s.mlflow_run_id for s in record.steps]
    for child in (first, second):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {r.info.status for r in (parent, first, second)} == {"FINISHED"}
    assert listener.heard[:3] == ["run of 2", "01_a starts", "01_a 1/3"]
    assert listener.heard[-1] == "02_b ok"


def test_the_notebook_in_the_project_is_never_written(project: Project, run: Run) -> None:
    path = project.notebook("01_a", "print(x)", parameters="x = 1")
    before = path.read_bytes()
    run("params: {x: 2}\nsteps: [{notebook: 01_a}]")
    assert path.read_bytes() == before


def test_a_cell_that_raises_fails_its_step_and_the_rest_is_skipped(
    project: Project, store: str, run: Run
) -> None:
    project.notebook("01_a", "print('before')", "1/0", "print('never')")
    project.notebook("02_b", "1")
    record, folder = run(TWO)
    assert record.status is Status.FAILED
    assert statuses(record) == {"01_a": "failed", "02_b": "skipped"}
    error = record.steps[0].error
    assert error is not None
    assert (error.cell, error.type, error.message) == (3, "ZeroDivisionError", "division by zero")
    shown = texts(folder / "01_a.ipynb")
    assert "before" in shown
    assert "division by zero" in shown
    assert "never" not in shown
    assert "ZeroDivisionError" in (folder / "01_a.html").read_text()
    assert [r.info.status for r in runs_of(store)] == ["FAILED", "FAILED"]


@pytest.mark.slow
def test_a_step_that_takes_too_long_is_ended(project: Project, store: str, run: Run) -> None:
    project.notebook("01_a", "print('so far')", "import time; time.sleep(60)", "1")
    record, folder = run("steps: [{notebook: 01_a, timeout: 4s}]")
    assert statuses(record) == {"01_a": "timeout"}
    assert record.steps[0].error is not None
    assert record.steps[0].error.cell == 3
    assert "longer than its 4 seconds" in record.steps[0].error.message
    assert "so far" in texts(folder / "01_a.ipynb")
    assert [r.info.status for r in runs_of(store)] == ["FAILED", "FAILED"]


def test_a_kernel_that_dies_is_told_as_that(project: Project, run: Run) -> None:
    project.notebook("01_a", "print('last words')", "import os; os._exit(7)", "1")
    project.notebook("02_b", "1")
    record, folder = run(TWO)
    assert statuses(record) == {"01_a": "kernel-died", "02_b": "skipped"}
    assert record.steps[0].error is not None
    assert record.steps[0].error.cell == 3
    executed = nbformat.read(folder / "01_a.ipynb", as_version=4)
    marks = [c.metadata["papermill"]["status"] for c in executed.cells if "papermill" in c.metadata]
    # Papermill would call all of them completed.
    assert marks == ["completed", "completed", "failed", "pending"]
    assert executed.metadata["papermill"]["exception"] is True
    (failed,) = (c for c in executed.cells if "os._exit" in c.source)
    assert failed.outputs[-1].ename == "KernelDied"


def test_a_crash_leaves_its_stack_beside_the_notebook(project: Project, run: Run) -> None:
    project.notebook(
        "01_a",
        "import faulthandler, os, signal\nfaulthandler.enable(file=2)\n"
        "os.kill(os.getpid(), signal.SIGSEGV)",
    )
    record, folder = run(ONE)
    assert statuses(record) == {"01_a": "kernel-died"}
    assert "Segmentation fault" in (folder / "01_a.log").read_text()


@pytest.mark.slow
def test_sys_exit_with_a_code_is_a_failure_and_without_one_is_not(
    project: Project, run: Run
) -> None:
    project.notebook("01_a", "import sys; sys.exit(3)")
    assert statuses(run(ONE)[0]) == {"01_a": "failed"}
    for last in ("sys.exit(0)", "sys.exit()", "raise SystemExit"):
        project.notebook("01_a", f"import sys; print('done'); {last}", "print('never')")
        record, folder = run(ONE)
        assert statuses(record) == {"01_a": "ok"}
        executed = nbformat.read(folder / "01_a.ipynb", as_version=4)
        marks = [cell.metadata["papermill"]["status"] for cell in executed.cells]
        assert marks == ["completed", "completed", "pending"]
        assert "never" not in texts(folder / "01_a.ipynb")


@pytest.mark.slow
def test_a_step_is_tried_again_as_often_as_it_may(project: Project, store: str, run: Run) -> None:
    project.notebook(
        "01_a",
        "from pathlib import Path\nmark = Path('tried')\n"
        "if not mark.exists():\n    mark.touch()\n    raise RuntimeError('flaky')",
    )
    record, _ = run("steps: [{notebook: 01_a, retries: 1}]")
    assert statuses(record) == {"01_a": "ok"}
    assert record.steps[0].attempts == 2
    assert [r.info.status for r in runs_of(store)] == ["FINISHED", "FAILED", "FINISHED"]


def test_steps_that_need_each_other_wait_and_others_run_side_by_side(
    project: Project, run: Run
) -> None:
    meet = (
        "import time\nfrom pathlib import Path\nPath(f'here{me}').touch()\n"
        "end = time.time() + 30\n"
        "while not Path(f'here{other}').exists():\n"
        "    assert time.time() < end, 'the other never came'\n    time.sleep(0.05)"
    )
    project.notebook("01_a", meet, parameters="me: int = 1\nother: int = 2")
    project.notebook("02_b", "1")
    listener = Listener()
    record, _ = run(
        """
steps:
  - {notebook: 01_a, name: one, params: {me: 1, other: 2}}
  - {notebook: 01_a, name: two, params: {me: 2, other: 1}, needs: []}
  - {notebook: 02_b}
""",
        jobs=2,
        listener=listener,
    )
    assert statuses(record) == {"one": "ok", "two": "ok", "02_b": "ok"}
    assert listener.heard.index("02_b starts") > listener.heard.index("two ok")


def test_a_failure_lets_steps_finish_that_do_not_need_it(project: Project, run: Run) -> None:
    project.notebook("01_a", "1/0")
    project.notebook("02_b", "1")
    record, _ = run(
        """
steps:
  - notebook: 01_a
  - {notebook: 02_b, needs: []}
  - {notebook: 02_b, name: after, needs: [01_a]}
"""
    )
    assert statuses(record) == {"01_a": "failed", "02_b": "ok", "after": "skipped"}


def test_a_step_knows_the_runs_of_the_steps_it_needs(project: Project, run: Run) -> None:
    project.notebook("01_a", "1")
    project.notebook(
        "02_b",
        "from taxi_nb.tracking.upstream import upstream_runs",
        "import json; print(upstream_runs())",
    )
    record, folder = run(TWO)
    assert str({"01_a": record.steps[0].mlflow_run_id}) in texts(folder / "02_b.ipynb")


def test_a_run_that_a_notebook_leaves_open_is_closed(
    project: Project, store: str, run: Run
) -> None:
    project.notebook(
        "01_a", "import mlflow", "mlflow.start_run()", "mlflow.start_run(nested=True)", "1/0"
    )
    run(ONE)
    assert {r.info.run_name for r in runs_of(store)} > {"01_a"}
    assert not [r for r in runs_of(store) if r.info.status == "RUNNING"]


def test_what_a_pipeline_left_open_when_it_was_killed_is_closed_by_the_next(
    project: Project, store: str, run: Run
) -> None:
    from taxi_nb.tracking.names import OWNER_TAG
    from taxi_nb.tracking.pipeline_runs import PipelineTracking

    tracking = PipelineTracking(None)
    dead = tracking.open_run("killed", "pipeline", {})
    alive = tracking.open_run("someone else's", "pipeline", {})
    child = tracking.open_run("its step", "step", {}, parent=dead)
    for run_id in (dead, child):
        owner = tracking._client.get_run(run_id).data.tags[OWNER_TAG]
        place = owner.rsplit("/", 2)[0]
        tracking._client.set_tag(run_id, OWNER_TAG, f"{place}/4194304/1 on here")
    project.notebook("01_a", "1")
    run(ONE)
    states = {r.info.run_id: r.info.status for r in runs_of(store)}
    assert states[dead] == states[child] == "KILLED"
    assert states[alive] == "RUNNING"


def test_a_hostile_notebook_cannot_break_the_page(project: Project, run: Run) -> None:
    project.notebook("01_a", "raise ValueError('<script>alert(1)</script>')")
    _, folder = run(ONE)
    page = (folder / "index.html").read_text()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_an_error_without_words_and_text_beyond_ascii_are_kept(project: Project, run: Run) -> None:
    project.notebook("01_a", "print('żółw 🚕', x)", "raise KeyError()", parameters="x: str = ''")
    record, folder = run("params: {x: 'quote\" and \\ and ☂'}\nsteps: [{notebook: 01_a}]")
    assert 'żółw 🚕 quote" and \\ and ☂' in texts(folder / "01_a.ipynb")
    assert json.loads((folder / "run.json").read_text())["steps"][0]["parameters"]["x"].endswith(
        "☂"
    )
    assert record.steps[0].error is not None
    assert record.steps[0].error.type == "KeyError"


def test_mlflows_pages_say_what_a_run_came_to(project: Project, store: str, run: Run) -> None:
    project.notebook(
        "01_a",
        "import mlflow\nfrom taxi_nb import tracked_run",
        "with tracked_run(kind='training', tags={'model': 'mine'}):\n"
        "    mlflow.log_metrics({'valid_rmse': 5.25, 'valid_rmse_error': 0.5})\n"
        "    made = mlflow.initialize_logged_model(name='mine')\n"
        "    mlflow.finalize_logged_model(made.model_id, 'READY')",
    )
    run(ONE)
    client = MlflowClient()
    (top,) = (one for one in runs_of(store) if one.data.tags["taxi_nb.kind"] == "pipeline")
    assert top.data.metrics["valid_rmse"] == 5.25
    assert top.data.metrics["valid_rmse_error"] == 0.5
    said = top.data.tags["mlflow.note.content"]
    assert said.startswith("No decision: no step registers a model")
    assert "Best model: mine of 01_a, valid_rmse 5.25 ± 0.5" in said
    experiment = client.get_experiment(top.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(experiment.tags["mlflow.sharedViewState.pipelines"])
    assert "metrics.`valid_rmse`" in view["selectedColumns"]
    # Plain MLflow would name the kernel's program.
    (model,) = client.search_logged_models([top.info.experiment_id])
    assert model.tags["mlflow.source.name"] == "notebooks/01_a.ipynb"
    assert model.tags["mlflow.source.type"] == "NOTEBOOK"

    project.notebook("01_a", "raise ValueError('no such month')")
    run(ONE)
    failed = next(
        one for one in runs_of(store) if one.info.status == "FAILED" and "pipeline" in one.data.tags
    )
    assert failed.data.tags["mlflow.note.content"].startswith("failed\n\n01_a: ")
    assert "no such month" in failed.data.tags["mlflow.note.content"]
    assert "valid_rmse" not in failed.data.metrics
    kept = client.get_experiment(top.info.experiment_id).tags
    assert json.loads(kept["mlflow.sharedViewState.pipelines"]) == view

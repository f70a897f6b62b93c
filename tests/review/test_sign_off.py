"""A person's decision about a run: kept for good, and bound to what was looked at."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Thread

import mlflow
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from taxi_nb import promote_if_better
from taxi_nb.cli import app
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.registry.promotion import promote
from taxi_nb.registry.versions import RegistryError
from taxi_nb.tracking.file_addresses import sqlite_address
from taxi_nb.tracking.names import KIND_TAG, PARENT_TAG, PIPELINE_RUN_TAG
from taxi_nb.tracking.run_reviews import (
    NEEDS_REVIEW_TAG,
    RunReview,
    add_review,
    missing_review,
    reviews_of,
)
from tests.conftest import Project, current_project, runs_of
from tests.running import CommandLine
from tests.trained_models import TrainedModels, project_folder
from tests.warm import WarmPython


@pytest.fixture(scope="module")
def reviewed_project(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, warm_python: WarmPython
) -> Path:
    """The root of a project whose one run was approved."""
    root = project_folder(tmp_path_factory, "reviewed")
    shutil.copy(empty_store, root / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        project = current_project(root, patch)
        # MLflow leaves the address of the last test's store in the environment.
        patch.setenv("MLFLOW_TRACKING_URI", sqlite_address(root / "mlflow.db"))
        project.notebook("01_a", "print('a number: 7')")
        project.pipeline("review: required\nsteps: [{notebook: 01_a}]")
        taxi_nb = CommandLine(root, warm_python)
        assert taxi_nb("run", "params/test.yaml")[0] == 0
        code, out, err = taxi_nb("review", "--approve", "-m", "seven is right", "--by", "Ada")
    assert (code, err) == (0, "")
    folder = (root / "runs" / "latest").resolve()
    assert out.startswith(f"{folder.name} approved by Ada, 20")
    return root


@pytest.fixture
def reviewed(project: Project, store: str, reviewed_project: Path) -> Path:
    """The folder of a run that was approved, in a copy of its project."""
    shutil.copytree(reviewed_project, project.root, symlinks=True, dirs_exist_ok=True)
    return (project.root / "runs" / "latest").resolve()


def test_a_decision_is_in_mlflow_on_the_page_and_never_changed(
    reviewed: Path, store: str, taxi_nb: CommandLine
) -> None:
    (run,) = runs_of(store, f"tags.{KIND_TAG} = 'pipeline'")
    assert run.data.tags["taxi_nb.review"].startswith("approved by Ada, ")
    assert run.data.tags["taxi_nb.review"].endswith(": seven is right")
    assert "<strong>Approved</strong> by Ada" in (reviewed / "index.html").read_text()
    with pytest.raises(mlflow.MlflowException):
        MlflowClient().log_param(run.info.run_id, "review.00001", "{}")
    assert taxi_nb("review", "--reject", "-m", "no: eight", "--by", "Grace")[0] == 0
    code, out, _ = taxi_nb("review")
    assert code == 0
    assert [line.split(", 20")[0].partition(" ")[2] for line in out.splitlines()] == [
        "approved by Ada",
        "rejected by Grace",
    ]
    page = (reviewed / "index.html").read_text()
    assert page.index("</strong> by Grace") < page.index("</strong> by Ada")


def test_files_that_changed_since_are_not_what_was_reviewed(
    reviewed: Path, taxi_nb: CommandLine
) -> None:
    notebook = reviewed / "01_a.ipynb"
    notebook.write_text(notebook.read_text().replace("a number: 7", "a number: 8"))
    code, out, _ = taxi_nb("review")
    assert code == 1
    assert out.rstrip().endswith("it is not what was reviewed")
    assert taxi_nb("report")[0] == 0
    assert "not what was reviewed" in (reviewed / "index.html").read_text()


def test_what_says_too_little_is_refused(reviewed: Path, taxi_nb: CommandLine) -> None:
    for given, says in [
        (["--approve"], "-m must have 1 to 2,000 characters, got 0"),
        (["--approve", "--reject", "-m", "x"], "either --approve or --reject"),
        (["-m", "x"], "belong to --approve or --reject"),
        (["nowhere"], "nowhere is not a run"),
    ]:
        code, out, err = taxi_nb("review", *given)
        assert (code, out, says in err) == (2, "", True), err


def test_two_at_once_are_two_decisions(store: str) -> None:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    made = RunReview("approved", "Ada", "why", "0", "who", "2026-01-01T00:00:00+00:00")
    threads = [Thread(target=add_review, args=(client, run_id, made)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.number for one in reviews_of(client.get_run(run_id))] == [1, 2, 3, 4]


def test_a_model_waits_until_its_run_is_approved(trained: TrainedModels, project: Project) -> None:
    client = MlflowClient()
    name = "nyc-taxi-duration"
    promote_if_better(trained.run("poor"), trained.validation)
    tags = {KIND_TAG: "pipeline", NEEDS_REVIEW_TAG: "true", PIPELINE_RUN_TAG: "20260203-x"}
    run_id = client.create_run("0", tags=tags).info.run_id
    client.set_tag(trained.run_ids["good"], PARENT_TAG, run_id)
    decision = promote_if_better(trained.run("good"), trained.validation)
    assert (decision.promoted, decision.waits) == (False, True)
    assert "taxi-nb review 20260203-x --approve -m WHY" in decision.reason
    made = RunReview("rejected", "Ada", "why", "0", "who", "2026-01-01T00:00:00+00:00")
    add_review(client, run_id, made)
    with pytest.raises(RegistryError, match="the run that made it has to be approved"):
        promote("2", reason="now")
    add_review(client, run_id, RunReview(**{**vars(made), "verdict": "approved"}))
    # What was approved has to be what is in the run's folder, where that is here.
    promote("2", reason="now")
    assert str(client.get_model_version_by_alias(name, "champion").version) == "2"


def test_a_store_that_cannot_be_asked_is_no_approval() -> None:
    class Failing:
        def get_run(self, _: str) -> None:
            raise mlflow.MlflowException("disk I/O error")

    with pytest.raises(mlflow.MlflowException, match="disk I/O error"):
        missing_review(Failing(), "1")  # type: ignore[arg-type]


def test_a_pipeline_file_asks_for_a_review_in_one_word(project: Project) -> None:
    project.notebook("01_a", "1")
    file = project.pipeline("review: required\nsteps: [{notebook: 01_a}]")
    assert read_pipeline(file, project.root).needs_review
    project.pipeline("review: maybe\nsteps: [{notebook: 01_a}]")
    done = CliRunner().invoke(app, ["plan", "params/test.yaml"])
    assert done.exit_code == 2
    assert "test.yaml:1: review: must be 'required', got 'maybe'" in done.output

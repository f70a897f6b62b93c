"""A project may lie in a folder of any name: it works there, and writes nothing elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from taxi_nb.pipeline.kernels.pool import KernelPool
from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.plan import plan
from taxi_nb.pipeline.record import Status, make_run_folder
from taxi_nb.pipeline.run import run_pipeline
from taxi_nb.tracking.experiments import open_experiment
from taxi_nb.tracking.file_addresses import sqlite_address, sqlite_file
from tests.conftest import Project
from tests.running import Listener, Run

APOSTROPHE = 'it\'s "quoted" $HOME'
FOLDERS = ["what? #1 {project}", APOSTROPHE]
OTHERS = ["nb#1", "100%20 %", "zwei Wörter 日本", "[x] *;&=+,:@", "back\\slash"]
OTHERS.append(f"{'d' * 100}/{'e' * 110}")


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Project]]:
    """Make a project in a folder, the current one; the store that runs used is forgotten."""
    before = mlflow.get_tracking_uri()

    def make(folder: str) -> Project:
        project = Project(tmp_path / "around" / folder)
        monkeypatch.chdir(project.root)
        monkeypatch.setenv("TAXI_NB_ROOT", str(project.root))
        for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT"):
            monkeypatch.setenv(variable, "")  # So that what the run sets is forgotten, too.
        return project

    yield make
    mlflow.set_tracking_uri(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder", [*FOLDERS, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_a_pipeline_runs_in_a_folder_of_any_name(
    at: Callable[[str], Project], folder: str, warm_pool: KernelPool, empty_store: Path
) -> None:
    project = at(folder)
    if folder != APOSTROPHE:  # One makes its own, which takes seconds.
        shutil.copy(empty_store, project.root / "mlflow.db")
    code = "from taxi_nb import tracked_run\nimport mlflow\nwith tracked_run('x'):\n    "
    project.notebook("a", code + "mlflow.log_text('kept', 'kept.txt')")
    pipeline = read_pipeline(project.pipeline("steps: [{notebook: a}]"), project.root)
    record, _ = run_pipeline(pipeline, pool=warm_pool, listener=Listener())
    assert record.status is Status.OK, record.steps[0].error
    assert [str(planned) for planned in plan(pipeline, Memory(pipeline)).steps] == ["up to date"]
    around = project.root.parents[len(Path(folder).parts) - 1]
    assert os.listdir(around) == [Path(folder).parts[0]]
    assert (project.root / "mlflow.db").stat().st_size > 0
    assert (project.root / "mlartifacts").is_dir()


@pytest.mark.parametrize("given", ["art #1 %20?", "file://{}/art #1 %2520?"])
def test_artifacts_may_lie_in_a_folder_of_any_name(
    project: Project, store: str, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", given.format(project.root))
    client = mlflow.MlflowClient()
    for _ in range(2):  # Made, and then found with the place that was asked for.
        experiment = open_experiment(store, "kept elsewhere")
    client.log_text(client.create_run(experiment).info.run_id, "kept", "kept.txt")
    assert len(list((project.root / "art #1 %20?").rglob("kept.txt"))) == 1
    assert not list(Path.cwd().glob("*%25*"))


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("sqlite:////home/me/mlflow.db", "/home/me/mlflow.db"),
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite:////home/nb#1/mlflow.db", "/home/nb#1/mlflow.db"),
        ("sqlite+pysqlite:////a%3Fb/x.db?timeout=5", "/a?b/x.db"),
        ("sqlite:///file:/a%253Fb/x.db?mode=rw&uri=true", "/a?b/x.db"),
        ("sqlite:///file:///a/x.db?uri=true", "/a/x.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql://me@here/x", None),
        ("http://here/sqlite:///x.db", None),
    ],
)
def test_the_file_of_an_address_is_the_one_that_sqlalchemy_opens(
    address: str, file: str | None
) -> None:
    assert sqlite_file(address) == (None if file is None else Path(file))


def test_the_address_of_a_plain_file_is_as_it_was() -> None:
    assert sqlite_address(Path("/home/me/é b/mlflow.db")) == "sqlite:////home/me/é b/mlflow.db"


@pytest.mark.slow
def test_long_values_make_names_that_fit_and_differ(project: Project, run: Run) -> None:
    project.notebook("a", "print(len(query))", parameters="query: str = ''")
    long = ["v" * 400, "v" * 401, "日" * 100, "日" * 101, "a\nb", "€"]
    record, folder = run(f"steps: [{{notebook: a, matrix: {{query: {json.dumps(long)}}}}}]", jobs=2)
    assert record.status is Status.OK
    names = [step.name for step in record.steps]
    assert len(set(names)) == len(long)
    assert max(len(name.encode()) for name in names) <= 200
    assert not any("\n" in name for name in names)
    assert all(len(os.fsencode(file.name)) < 200 for file in folder.iterdir())
    assert [step.parameters["query"] for step in record.steps] == long


def test_a_pipeline_and_a_step_may_have_long_names(project: Project, run: Run) -> None:
    project.notebook("a", "1")
    text = f"steps: [{{notebook: a, name: {'n' * 300}}}, {{notebook: a, needs: [{'n' * 300}]}}]"
    record, _ = run(text)
    assert record.status is Status.OK
    assert len(record.steps[0].name) == 200
    assert len(make_run_folder(project.root / "runs", "p" * 240).name) < 200


def test_a_database_of_any_name_is_an_input(project: Project, run: Run) -> None:
    (project.root / "data").mkdir()
    for name in ("what? #1.db", "other?.db"):
        with closing(sqlite3.connect(project.root / "data" / name)) as database:
            database.execute("CREATE TABLE t (x)")
    ways = ("'../data/what? #1.db'", "'file:../data/other%3F.db?mode=ro', uri=True")
    project.notebook("a", "import sqlite3", *(f"sqlite3.connect({way}).close()" for way in ways))
    _, folder = run("steps: [{notebook: a}]")
    files = json.loads((folder / "a.inputs.json").read_text())["files"]
    assert {"data/what? #1.db", "data/other?.db"} <= files.keys()
    assert all(file["digest"] for file in files.values())

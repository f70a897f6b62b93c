"""The project's own SQLite store: made whole or not at all, mended, at home where it lies."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest

from taxi_nb.tracking import experiments
from taxi_nb.tracking.experiments import open_experiment
from taxi_nb.tracking.file_addresses import folder_of, sqlite_address
from taxi_nb.tracking.store import connect
from taxi_nb.tracking.store_errors import StoreError
from taxi_nb.tracking.stored_runs import finished_runs
from tests.conftest import Project


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")


def logged(root: Path) -> Path:
    """Log a file to the store of a project and return where it is."""
    connect()
    with mlflow.start_run() as run:
        mlflow.log_text("content", "some.txt")
    folder = folder_of(run.info.artifact_uri)
    assert folder is not None
    return folder / "some.txt"


@pytest.mark.parametrize("is_copy", [False, True])
def test_a_project_that_was_moved_or_copied_keeps_its_artifacts(
    project: Project,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_copy: bool,
) -> None:
    first = logged(project.root)
    assert first.is_relative_to(project.root / "mlartifacts")
    run_id = first.parent.parent.name
    new = tmp_path / "elsewhere and # odd"
    (shutil.copytree if is_copy else shutil.move)(project.root, new)
    before = sorted(project.root.rglob("*"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow has set it.
    monkeypatch.setenv("TAXI_NB_ROOT", str(new))
    monkeypatch.chdir(new)
    second = logged(new)
    assert second.is_relative_to(new / "mlartifacts")
    assert mlflow.artifacts.load_text(f"runs:/{run_id}/some.txt") == "content"
    assert sorted(project.root.rglob("*")) == before
    assert capsys.readouterr().err.count(f"the project is in {new} now") == 1
    address = folder_of(mlflow.MlflowClient().get_run(run_id).info.artifact_uri)
    assert address == new / "mlartifacts" / run_id / "artifacts"


def test_a_place_that_somebody_chose_stays(
    project: Project, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tmp_path / "shared" / "mlartifacts"
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", str(chosen))
    assert logged(project.root).is_relative_to(chosen)
    assert logged(project.root).is_relative_to(chosen)
    monkeypatch.delenv("MLFLOW_DEFAULT_ARTIFACT_ROOT")
    assert logged(project.root).is_relative_to(chosen)


@pytest.fixture
def quick_tables(empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's tables as its migrations leave them, which take seconds."""
    with closing(sqlite3.connect(empty_store)) as whole:
        made = "\n".join(whole.iterdump())

    def make(engine: Any) -> None:
        with closing(sqlite3.connect(engine.url.database)) as database:
            database.executescript(made)

    monkeypatch.setattr("mlflow.store.db.utils._initialize_tables", make)


@pytest.mark.usefixtures("quick_tables")
def test_what_a_kill_left_of_a_store_is_made_again(project: Project, empty_store: Path) -> None:
    """An older commit made the tables in place: a kill left some of them, and no version."""
    database = project.root / "mlflow.db"
    with closing(sqlite3.connect(empty_store)) as whole, closing(sqlite3.connect(database)) as half:
        for (statement,) in whole.execute(
            "SELECT sql FROM sqlite_master WHERE name IN ('experiments', 'runs', 'alembic_version')"
        ):
            half.execute(statement)
        half.commit()
    left = project.root / ".mlflow.db.1-aa.part"
    left.write_bytes(b"")
    assert open_experiment(sqlite_address(database), "first")
    assert not left.exists()


def test_tables_of_another_program_are_left_alone(project: Project) -> None:
    database = project.root / "mlflow.db"
    with closing(sqlite3.connect(database)) as other:
        other.execute("CREATE TABLE birds (name TEXT)")
        other.execute("INSERT INTO birds VALUES ('wren')")
        other.commit()
    assert open_experiment(sqlite_address(database), "first")
    with closing(sqlite3.connect(database)) as other:
        assert other.execute("SELECT name FROM birds").fetchall() == [("wren",)]


def test_a_crash_in_the_middle_of_a_write_is_undone(project: Project, store: str) -> None:
    crash = (
        "import os, sqlite3\n"
        "store = sqlite3.connect('mlflow.db')\n"
        "store.execute('PRAGMA cache_size = 1')\n"
        "store.execute('UPDATE experiments SET name = ?', ['x' * 100])\n"
        "store.executemany('INSERT INTO experiment_tags VALUES (?, ?, 0)',"
        " [(f'key {n}', 'y' * 2000) for n in range(500)])\n"
        "os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", crash], cwd=project.root, check=False)
    assert (project.root / "mlflow.db-journal").stat().st_size > 0
    assert finished_runs(store, ["1" * 32]) == set()
    assert open_experiment(store, "after") != "0"


def test_a_lock_that_somebody_holds_is_told_with_who_holds_it(
    project: Project, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments, "_LOCK_SECONDS", 0.1)
    with (project.root / "mlflow.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match=r"mlflow\.db\.lock has been locked for 0\.1 s"):
            open_experiment(store, "new")

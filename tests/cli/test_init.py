"""`taxi-nb init`: a project that runs, and what it refuses to write over."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from taxi_nb.cli.init import init
from taxi_nb.located_yaml import read_located_yaml
from taxi_nb.pipeline.record import RunRecord
from tests.conftest import REPOSITORY, current_project
from tests.running import CommandLine
from tests.warm import WarmPython

WORDS_OF_TAXIS = ("trip", "zone", "nyc", "tlc", "pickup", "dropoff", "borough")


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "my-springs"
    init(folder)
    return folder


def test_the_project_runs_and_its_second_run_has_nothing_to_do(
    skeleton: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_store: Path,
    warm_python: WarmPython,
) -> None:
    monkeypatch.chdir(skeleton)
    monkeypatch.setenv("TAXI_NB_ROOT", str(skeleton))
    (skeleton / "mlflow.db").write_bytes(empty_store.read_bytes())
    taxi_nb = CommandLine(skeleton, warm_python)
    code, out, err = taxi_nb("run")
    assert (code, err) == (0, "")
    assert "The spring stretches by 0." in out
    assert "MLflow:   my-springs, run" in out
    assert "(make ui)" in out
    assert "nyc" not in out
    code, out, _ = taxi_nb("run")
    assert code == 0
    assert "nothing changed, all 2 steps are up to date" in out
    # The helper package beside notebooks/ is an input of both.
    helper = skeleton / "springs" / "__init__.py"
    helper.write_text(helper.read_text().replace("STRETCH = 0.8", "STRETCH = 0.9"))
    code, out, _ = taxi_nb("plan")
    assert "01_measure  will run: springs/__init__.py: STRETCH changed" in out
    record = RunRecord.read(skeleton / "runs" / "latest" / "run.json")
    assert record.experiment == "my-springs"
    # Nothing that a run made is in the way of a commit.
    status = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=skeleton, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    made = ("runs/", "mlflow.db", "mlartifacts", "data/", "__pycache__")
    assert not [line for line in status.splitlines() if any(word in line for word in made)]
    code, out, _ = taxi_nb("lint")
    assert (code, out) == (0, "2 notebooks are clean\n")


def test_it_speaks_of_no_taxi_and_its_files_are_what_they_should_be(tmp_path: Path) -> None:
    skeleton = tmp_path / "my-springs"
    init(skeleton)
    files = [path for path in skeleton.rglob("*") if path.is_file() and ".git" not in path.parts]
    # No folder and file of the skeleton stays behind, hidden ones included.
    for name in (".gitignore", ".pre-commit-config.yaml", "Makefile", "requirements.txt"):
        assert (skeleton / name).is_file()
    for file in files:
        words = file.read_text().lower().replace("taxi-nb", "").replace("taxi_nb", "")
        assert not [word for word in (*WORDS_OF_TAXIS, "taxi") if word in words], file
    workflow = read_located_yaml(skeleton / ".github" / "workflows" / "pipeline.yml").value
    ours = read_located_yaml(REPOSITORY / ".github" / "workflows" / "pipeline.yml").value
    assert workflow["jobs"].keys() == ours["jobs"].keys()
    assert (skeleton / "README.md").read_text().startswith("# my-springs\n")
    assert (skeleton / "requirements.txt").read_text().startswith("taxi-nb==0")
    listed = subprocess.run(["make"], cwd=skeleton, capture_output=True, text=True, check=True)
    assert {"setup", "run", "plan", "lab", "ui", "lint", "hooks"} <= set(listed.stdout.split())


def test_a_folder_that_is_not_empty_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_python: WarmPython
) -> None:
    root = current_project(tmp_path / "project", monkeypatch).root
    taxi_nb = CommandLine(root, warm_python)
    code, out, err = taxi_nb("init")
    assert (code, out) == (2, "")
    assert err == (
        f"{root} is not empty, it has notebooks, params: nothing was written. "
        "Name a folder that is empty or not there yet\n"
    )
    assert sorted(os.listdir(root)) == ["notebooks", "params"]
    (root / "file").write_text("")
    code, _, err = taxi_nb("init", "file")
    assert (code, err) == (2, "file is a file: name a folder that is empty or not there yet\n")


def test_an_empty_repository_or_an_environment_is_no_obstacle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path / "cloned"], check=True)
    (tmp_path / "cloned" / ".venv").mkdir()
    init(tmp_path / "cloned")
    assert (tmp_path / "cloned" / "Makefile").is_file()
    assert "is in the Git repository" in capsys.readouterr().err


def test_without_git_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    init(tmp_path / "demo")
    assert "git is not on PATH" in capsys.readouterr().err
    assert not (tmp_path / "demo" / ".git").exists()

"""Where the project's root is found, what the project is called, what is typed in it."""

from pathlib import Path

import pytest

from taxi_nb.project import command, data_dir, default_experiment, project_root
from tests.conftest import Project
from tests.running import CommandLine


@pytest.fixture(autouse=True)
def _no_root_in_environment(monkeypatch):
    monkeypatch.delenv("TAXI_NB_ROOT", raising=False)


def _folders(*paths: Path) -> None:
    for path in paths:
        path.mkdir(parents=True)


def test_environment_variable_comes_first(tmp_path, monkeypatch):
    _folders(tmp_path / "a/params", tmp_path / "a/notebooks", tmp_path / "b")
    monkeypatch.chdir(tmp_path / "a")
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path / "b"))
    assert project_root() == tmp_path / "b"


def test_environment_variable_that_names_no_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match=r"`TAXI_NB_ROOT` must be .*, got: '.*nowhere'"):
        project_root()


def test_nearest_folder_with_params_and_notebooks(tmp_path, monkeypatch):
    _folders(tmp_path / "params", tmp_path / "notebooks/deep")
    # A package inside the project does not hide it.
    (tmp_path / "notebooks/pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "notebooks/deep")
    assert project_root() == tmp_path


def test_the_current_folder_counts(tmp_path, monkeypatch):
    _folders(tmp_path / "params", tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path


def test_pyproject_without_notebooks(tmp_path, monkeypatch):
    _folders(tmp_path / "params", tmp_path / "src")
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "src")
    assert project_root() == tmp_path


def test_else_the_current_folder(tmp_path, monkeypatch):
    _folders(tmp_path / "params", tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert project_root() == tmp_path / "elsewhere"


def test_data_is_kept_under_the_root(tmp_path, monkeypatch):
    monkeypatch.setenv("TAXI_NB_ROOT", str(tmp_path))
    assert data_dir() == tmp_path / "data"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (None, "heights"),
        ("[project]\nname = 'tall'\n", "tall"),
        ("[project]\nname = 'tall'\n[tool.taxi-nb]\nexperiment = 'taller'\n", "taller"),
        ("[tool.ruff]\n", "heights"),
        ("[project]\nname = 'tall'\n[tool]\nother = 1\n", "tall"),
    ],
)
def test_the_default_experiment_has_the_projects_name(tmp_path, monkeypatch, said, name):
    _folders(tmp_path / "heights")
    monkeypatch.chdir(tmp_path / "heights")
    if said is not None:
        (tmp_path / "heights" / "pyproject.toml").write_text(said)
    assert default_experiment() == name


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("[project\nname = 'tall'\n", "line 1"),
        ("[tool.taxi-nb]\nexperiment = 5\n", "tool.taxi-nb.experiment must be a name, got 5"),
        ("[project]\nname = ''\n", "project.name must be a name, got ''"),
    ],
)
def test_a_name_that_cannot_be_read_is_not_replaced_by_the_folders(
    project: Project, taxi_nb: CommandLine, monkeypatch, said: str, problem: str
) -> None:
    (project.root / "pyproject.toml").write_text(said)
    project.notebook("01_a", "1")
    project.pipeline("steps: [{notebook: 01_a}]")
    monkeypatch.setenv("TAXI_NB_ROOT", str(project.root))
    code, out, err = taxi_nb("plan", "params/test.yaml")
    assert (code, out) == (2, "")
    assert err.startswith(f"{project.root / 'pyproject.toml'}")
    assert problem in err
    assert err.count("\n") == 1


def test_a_hint_names_a_command_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.argv", ["/opt/tools/taxi-nb"])
    assert command("ui", "ui") == "/opt/tools/taxi-nb ui"
    monkeypatch.setattr("sys.argv", ["ipykernel_launcher.py"])
    assert command("ui", "ui") == "taxi-nb ui"
    _folders(tmp_path / ".venv/bin")
    (tmp_path / ".venv/bin/taxi-nb").touch()
    assert command("ui", "ui") == ".venv/bin/taxi-nb ui"
    (tmp_path / "Makefile").write_text("VAR := x\nui2:\n\ttrue\nlab ui: setup\n\ttaxi-nb ui\n")
    assert command("ui", "ui") == "make ui"
    assert command("run", "run-notebooks") == ".venv/bin/taxi-nb run"

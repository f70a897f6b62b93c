"""What `taxi-nb` says before it does anything: help, version, completion, what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from taxi_nb.cli import app
from tests.conftest import Project
from tests.running import CommandLine


def call(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Call `taxi-nb` in this process; what is tested here starts no kernel."""
    done = CliRunner().invoke(app, arguments, env=variables, prog_name="taxi-nb")
    return done.exit_code, done.stdout, done.stderr


def test_alone_it_shows_its_help(project: Project, taxi_nb: CommandLine) -> None:
    code, out, err = taxi_nb()
    assert code in (0, 2)
    assert "Execute the notebooks that have to run" in out + err
    assert "Traceback" not in out + err
    for group in ("registry", "results", "export"):
        code, out, err = taxi_nb(group)
        assert code in (0, 2)
        assert "Usage: " in out + err


def test_it_tells_its_version(project: Project) -> None:
    code, out, _ = call("--version")
    assert code == 0
    assert out.startswith("taxi-nb 0.")


def test_examples_of_the_help_stay_lines(project: Project) -> None:
    code, out, _ = call("run", "--help")
    assert code == 0
    assert "  taxi-nb run params/green-2021.yaml --jobs 2\n" in out
    assert "[FILE]" in out


@pytest.mark.parametrize("given", ["params/tset.yaml", "test", "test.yml", "params/tests.yaml"])
def test_a_near_miss_of_a_file_is_named(project: Project, given: str) -> None:
    project.notebook("01_a", "1")
    project.pipeline("steps: [{notebook: 01_a}]")
    project.pipeline("steps: [{notebook: 01_a}]", name="monthly")
    code, out, err = call("plan", given)
    assert (code, out) == (2, "")
    assert err == f"there is no file {given}; did you mean 'params/test.yaml'?\n"


def test_where_nothing_is_near_the_files_are_listed(project: Project) -> None:
    project.pipeline("steps: []")
    assert "; there are params/test.yaml\n" in call("run", "params/zzz.yaml")[2]


def test_a_near_miss_of_a_run_is_named(project: Project) -> None:
    folder = project.root / "runs" / "20260203-140501-default"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    code, _, err = call("report", "20260203-140501-defalt")
    assert code == 2
    assert "did you mean '20260203-140501-default'?" in err


@pytest.mark.parametrize(
    "words", ["run", "plan params/default.yaml", "report", "verify", "monthly", "registry list"]
)
def test_outside_of_a_project_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.delenv("TAXI_NB_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, out, err = call(*words.split())
    assert code in (1, 2)
    assert f"This is no project: neither {elsewhere} nor a folder above" in err
    assert "Traceback" not in out + err
    assert not any(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("taxi-nb ru", ["run"]),
        ("taxi-nb run params/te", ["params/test.yaml"]),
        ("taxi-nb run params/test.yaml --force 01_a[", ["01_a[1]", "01_a[2]"]),
        ("taxi-nb plan params/test.yaml --until 01_a[", ["01_a[1]", "01_a[2]"]),
        ("taxi-nb run params/test.yaml --from 01_a[2", ["01_a[2]"]),
        ("taxi-nb step params/test.yaml 01_a[1", ["01_a[1]"]),
        ("taxi-nb report 2026", ["20260203-140501-test"]),
        ("taxi-nb close 2026", ["20260203-140501-test"]),
    ],
)
def test_a_shell_completes_files_steps_and_runs(
    project: Project,
    line: str,
    offered: list[str],
) -> None:
    project.notebook("01_a", "1", parameters="x: int = 1")
    project.pipeline("steps: [{notebook: 01_a, matrix: {x: [1, 2]}}]")
    run = project.root / "runs" / "20260203-140501-test" / "run.json"
    run.parent.mkdir(parents=True)
    run.write_text("{}")
    number = str(len(line.split()) - 1)
    asked = {"_TAXI_NB_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": number}
    code, out, err = call(**asked)
    assert (code, err) == (0, "")
    assert out.split() == offered

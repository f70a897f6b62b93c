"""Streams that are closed, limits that are narrow, pipes where files are meant: one message."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taxi_nb.held_folder import HeldFolder, remove_abandoned
from taxi_nb.pipeline.killed_run import clear_half_files
from tests.conftest import Project

PLAN = f"{sys.executable} -m taxi_nb plan params/test.yaml"


@pytest.fixture
def planned(project: Project) -> Callable[[str], tuple[int, str]]:
    """Carry out a shell's command in a project of one notebook; exit code, output and errors."""
    project.notebook("01_a", "1")
    project.pipeline("steps: [{notebook: 01_a}]")

    def carry_out(command: str) -> tuple[int, str]:
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr

    return carry_out


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (f"{PLAN} >&-", 0, ""),
        (f"{PLAN} >&- 2>&-", 0, ""),
        (f"{PLAN} <&-", 0, "never ran"),
        (f"{PLAN} | head -1", 0, "01_a  will run: never ran\n"),
        (f"{PLAN} > /dev/full", 1, "cannot be written, there is no space left"),
        (f"ulimit -n 24; {PLAN}", 1, "only 24 open files are allowed here, and 64 are needed"),
        (f"ulimit -n 64; {PLAN}", 0, "never ran"),
        (f"ulimit -v 500000; {PLAN}", 1, "ulimit -v unlimited"),
    ],
)
def test_what_a_shell_gives_is_enough_or_told(
    planned: Callable[[str], tuple[int, str]], command: str, code: int, says: str
) -> None:
    found, words = planned(command)
    assert found == code, words
    assert says in words


def test_a_notebook_that_is_a_pipe_is_a_mistake_and_is_not_waited_for(
    project: Project, planned: Callable[[str], tuple[int, str]]
) -> None:
    notebook = project.root / "notebooks" / "01_a.ipynb"
    notebook.unlink()
    os.mkfifo(notebook)
    assert planned(PLAN)[0] == 2
    notebook.unlink()


def test_a_folder_in_the_place_of_the_newest_run_is_told_before_anything_runs(
    project: Project, planned: Callable[[str], tuple[int, str]]
) -> None:
    latest = project.root / "runs" / "latest"
    latest.mkdir(parents=True)
    code, words = planned(PLAN.replace(" plan ", " run "))
    assert code == 1
    assert f"{latest} is a folder, and has to be a link to the newest run" in words
    assert not (project.root / "mlflow.db").exists()


def test_folders_of_killed_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    held = HeldFolder("verify-", parent=tmp_path)
    killed = (
        "import os, pathlib\nfrom taxi_nb.held_folder import HeldFolder\n"
        f"held = HeldFolder('verify-', parent=pathlib.Path({str(tmp_path)!r}))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", killed], check=False)
    (tmp_path / "taxi-nb-of-somebody").mkdir()
    assert len(list(tmp_path.iterdir())) == 3
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {held.path.name, "taxi-nb-of-somebody"}
    held.remove()
    assert not held.path.exists()


def test_half_files_of_killed_runs_are_removed_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "20260101-000000-test"
    folder.mkdir()
    dead, alive = (folder / f".index.html.{pid}-aa.part" for pid in (2**22 + 1, os.getpid()))
    for file in (dead, alive):
        file.write_text("half")
        os.utime(file, (1, 1))
    clear_half_files(tmp_path)
    assert not dead.exists()
    assert alive.exists()

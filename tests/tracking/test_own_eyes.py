"""What a run makes is its owner's alone, from its making on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.warm import WarmPython

pytestmark = pytest.mark.slow


def open_to_others(root: Path) -> list[str]:
    """Return what other users can get at below a folder, which they can look into."""
    found = []
    for path in root.iterdir():
        if path.lstat().st_mode & 0o077:
            found.append(path.name)
    return sorted(found)


def test_store_artifacts_and_runs_are_nobody_elses(
    project: Project, warm_python: WarmPython
) -> None:
    project.notebook("one", "import mlflow", "_ = mlflow.log_text('mine', 'mine.txt')")
    file = project.pipeline("steps: [{notebook: one}]")
    before = set(open_to_others(project.root))
    environment = {name: value for name, value in os.environ.items() if "MLFLOW_TR" not in name}
    # In such a place others can make and read files as well.
    command = "import os; os.umask(0); from taxi_nb.cli import main; main()"
    for arguments in (["plan", str(file)], ["run", str(file)]):
        process = warm_python.start(["-c", command, *arguments], project.root, environment)
        _, err = process.communicate()
        assert process.wait() == 0, err
        assert set(open_to_others(project.root)) == before
    there = {path.name for path in project.root.iterdir()}
    assert {"mlflow.db", "mlartifacts", "runs"} <= there
    assert list((project.root / "mlartifacts").rglob("mine.txt"))

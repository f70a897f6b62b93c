"""The two wings keep apart, and what should be quick to import is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import taxi_nb
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "taxi_nb"
HEAVY = {"mlflow", "pandas", "sklearn", "papermill", "xgboost", "seaborn", "matplotlib", "numpy"}


def imported_by(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_what_notebooks_call_never_imports_what_runs_notebooks() -> None:
    front_desk = {"cli", "__main__.py", "lab.py"}
    files = [file for file in PACKAGE.rglob("*.py") if "pipeline" not in file.parts]
    for file in files:
        if file.relative_to(PACKAGE).parts[0] not in front_desk:
            assert not [name for name in imported_by(file) if "taxi_nb.pipeline" in name], file


def test_what_runs_notebooks_knows_nothing_about_taxis() -> None:
    corridor = ("tracking", "stored_runs", "stores", "project", "credentials", "secrets")
    names = ("pipeline", *corridor, "literal_secrets")
    allowed = tuple(f"taxi_nb.{name}" for name in names)
    files = list((PACKAGE / "pipeline").rglob("*.py"))
    assert files
    for file in files:
        own = {name for name in imported_by(file) if name.startswith("taxi_nb.")}
        assert not {name for name in own if not name.startswith(allowed)}, file


@pytest.mark.parametrize(
    "statement", ["import taxi_nb", "import taxi_nb.cli", "import taxi_nb.pipeline.spec"]
)
def test_importing_is_cheap(statement: str) -> None:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())


def test_planning_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom taxi_nb.cli import app\n"
        "app(['plan', 'params/smoke.yaml'], standalone_mode=False)\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert "06_register" in done.stdout
    assert not HEAVY & set(done.stdout.split())


def test_every_public_name_can_be_imported() -> None:
    for name in taxi_nb.__all__:
        assert getattr(taxi_nb, name) is not None
    assert set(taxi_nb.__all__) <= set(dir(taxi_nb))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = taxi_nb.nothing

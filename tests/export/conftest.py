"""Engines, which live in an environment of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Project


@pytest.fixture(scope="session")
def engines() -> Path:
    """The folder of the environment's programs."""
    folder = Path(os.environ.get("TAXI_NB_ENGINES", REPOSITORY / ".venv-engines")) / "bin"
    if not (folder / "python").exists():
        pytest.skip(f"no {folder}: make setup-engines makes it, TAXI_NB_ENGINES names another")
    return folder


@pytest.fixture
def three_steps(project: Project, store: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    """`01_a` and two of `02_b`, of which one fails where `broken` says so; `03_c` needs both."""
    project.notebook(
        "01_a", "import mlflow\nmlflow.log_metric('a', seed)", parameters="seed: int = 1"
    )
    project.notebook(
        "02_b",
        "import pathlib\nwith open('../tries.txt', 'a') as tries: tries.write(f'{size} ')",
        "assert size != broken, 'it is broken'",
        parameters="size: int = 1\nbroken: int = 0\noptions: dict = {}\nextra: dict = {}",
    )
    project.notebook("03_c", "1", parameters="extra: dict = {}")
    project.pipeline(
        "experiment: exported\nparams: {seed: 7, broken: 0, options: {rate: 0.5, n: 3}}\nsteps:\n"
        "  - notebook: 01_a\n"
        "  - {notebook: 02_b, needs: [], matrix: {size: [1, 2]}, retries: 1, timeout: 90s,\n"
        "     cpus: 2, memory: 1500M, params: {extra: {a: 1}}}\n"
        "  - {notebook: 03_c, needs: [02_b]}\n"
    )
    project.pipeline(
        "experiment: exported\nparams: {seed: 7}\nsteps: [{notebook: 01_a}, {notebook: 03_c}]",
        "two",
    )
    project.pipeline("experiment: exported\nsteps: [{notebook: 01_a, params: {seed: 7}}]", "one")
    monkeypatch.setenv("TAXI_NB_COMMAND", str(Path(sys.executable).with_name("taxi-nb")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return project

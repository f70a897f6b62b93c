"""What a trace tells a person to type begins with what makes this project's environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from taxi_nb.review.trace._commands import setup_command

VENV = "python3 -m venv .venv && .venv/bin/python -m pip install"


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"Makefile": "setup:\n\ttrue\n", "uv.lock": ""}, "make setup"),
        ({"Makefile": "all:\n\ttrue\n", "uv.lock": ""}, "uv sync --frozen"),
        ({"poetry.lock": ""}, "POETRY_VIRTUALENVS_IN_PROJECT=true poetry install"),
        ({"conda-lock.yml": ""}, "conda-lock install --prefix .venv conda-lock.yml"),
        (
            {"requirements.txt": "", "requirements-dev.txt": ""},
            f"{VENV} -r requirements-dev.txt -r requirements.txt",
        ),
        ({}, f"{VENV} taxi-nb"),
    ],
)
def test_it_is_the_projects_own_way(tmp_path: Path, files: dict[str, str], command: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert setup_command(tmp_path) == command

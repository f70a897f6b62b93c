"""The workflow on GitHub: its shell parts, executed as a runner executes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from taxi_nb.cli import app
from taxi_nb.located_yaml import read_located_yaml
from tests.conftest import REPOSITORY, Project

FILE = REPOSITORY / ".github" / "workflows" / "pipeline.yml"


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    found: dict[str, Any] = read_located_yaml(FILE).value["jobs"]["pipeline"]
    return found


def test_it_may_read_and_comment_and_nothing_else(job: dict[str, Any]) -> None:
    assert read_located_yaml(FILE).value["permissions"] == {}
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    for step in job["steps"]:
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@(v\d+|[0-9a-f]{40})", step["uses"])
        # What others write, such as a title, never becomes part of a shell's text.
        assert "${{" not in step.get("run", "")


@pytest.fixture
def runner(project: Project, store: str, tmp_path: Path) -> dict[str, str]:
    """A runner's variables; `make` and `gh` say only what they were asked for."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "gh"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/asked\n')
        (programs / name).chmod(0o755)
    (project.root / ".venv" / "bin").mkdir(parents=True)
    taxi_nb = project.root / ".venv" / "bin" / "taxi-nb"
    taxi_nb.write_text(f'#!/bin/sh\nexec {sys.executable} -m taxi_nb "$@"\n')
    taxi_nb.chmod(0o755)
    project.pipeline("experiment: e\nsteps: [{notebook: 01_a}, {notebook: 02_b}]\n")
    project.notebook("01_a", "print(1)")
    return {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "step-summary"),
        "GITHUB_REPOSITORY": "ada/taxi",
        "NUMBER": "7",
        "PARAMS": "params/test.yaml",
        "TAXI_NB_RESULTS": "",
        "MLFLOW_TRACKING_URI": "",
    }


def executed(job: dict[str, Any], folder: Path, runner: dict[str, str]) -> list[int]:
    """Execute the shell parts in their order; after one that failed, those that then run."""
    codes: list[int] = []
    for step in (step for step in job["steps"] if "run" in step):
        if any(codes) and "!cancelled()" not in step.get("if", ""):
            continue
        bash = ["bash", "-e", "-c", step["run"]]
        codes.append(subprocess.run(bash, cwd=folder, env=runner).returncode)
    return codes


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["well", "badly"])
def test_the_run_is_told_whether_it_ends_well_or_badly(
    ends: str, job: dict[str, Any], project: Project, runner: dict[str, str], tmp_path: Path
) -> None:
    project.notebook("02_b", "print(2)" if ends == "well" else "raise ValueError('no | such')")
    codes = executed(job, project.root, runner)
    assert codes == [0, int(ends == "badly"), 0, 0]
    told = (tmp_path / "step-summary").read_text()
    assert told == (project.root / "summary.md").read_text()
    assert f"### test: {'ok' if ends == 'well' else 'failed'}\n" in told
    rows = [line for line in told.splitlines() if line.startswith("| 0")]
    assert [row.count("|") for row in rows] == [5, 5]
    assert ("ValueError&#58; no &#124; such" in told) is (ends == "badly")
    assert (project.root / "report.html").read_text().startswith("<!doctype html>")
    asked = (tmp_path / "asked").read_text().splitlines()
    comment = "--edit-last --create-if-none --body-file summary.md"
    assert asked == ["make setup", f"gh pr comment 7 --repo ada/taxi {comment}"]


def test_with_shared_results_the_extra_for_buckets_is_installed(
    job: dict[str, Any], project: Project, runner: dict[str, str], tmp_path: Path
) -> None:
    (install,) = [step["run"] for step in job["steps"] if step.get("run", "").startswith("make")]
    shared = {**runner, "TAXI_NB_RESULTS": "s3://bucket/prefix"}
    subprocess.run(["bash", "-e", "-c", install], env=shared, cwd=project.root, check=True)
    assert (tmp_path / "asked").read_text() == "make setup-dev setup\n"


def test_a_summary_writes_no_pages() -> None:
    done = CliRunner().invoke(app, ["report", "--summary", "--single-file"])
    assert done.exit_code == 2
    assert "leave out --single-file" in done.output

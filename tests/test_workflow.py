"""The workflows on GitHub: their shell parts, executed as a runner executes them."""

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

FOLDER = REPOSITORY / ".github" / "workflows"
DOCS = REPOSITORY / "docs"
MAY = {
    "monthly": {"contents": "read", "issues": "write"},
    "pipeline": {"contents": "read", "pull-requests": "write"},
    "release": {"contents": "read", "packages": "write"},
    "tests": {"contents": "read"},
}


def job_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read_located_yaml(FOLDER / f"{name}.yml").value["jobs"][name]
    return found


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return job_of("pipeline")


@pytest.mark.parametrize("name", sorted(MAY))
def test_it_may_do_one_thing_and_runs_no_text_of_others(name: str) -> None:
    written = read_located_yaml(FOLDER / f"{name}.yml").value
    assert written["permissions"] == {}
    jobs = written["jobs"].values()
    assert all(job["permissions"] == MAY[name] for job in jobs)
    for step in (step for job in jobs for step in job["steps"]):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w/-]+@(v\d+|[0-9a-f]{40})", step["uses"])
        # What others write, such as a title, never becomes part of a shell's text.
        assert "${{" not in step.get("run", "")


def test_every_workflow_is_held_to_this() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(MAY)


def test_the_tests_run_on_each_python_that_the_package_names() -> None:
    written = (REPOSITORY / "pyproject.toml").read_text()
    named = re.findall(r"Programming Language :: Python :: (3\.\d+)", written)
    assert job_of("tests")["strategy"]["matrix"]["python"] == named


@pytest.fixture
def runner(project: Project, store: str, tmp_path: Path) -> dict[str, str]:
    """A runner's variables; `make`, `gh` and `docker` say only what they were asked for."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "gh", "docker"):
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
        "GITHUB_OUTPUT": str(tmp_path / "output"),
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


@pytest.mark.parametrize(
    ("code", "open_issue", "ends", "asked_for"),
    [
        (0, "", [0, 0], []),
        (1, "", [0, 1], []),
        (3, "", [0, 0, 0], ["issue list", "issue create --title monthly: a person should look"]),
        (3, "41", [0, 0, 0], ["issue list", "issue comment 41"]),
    ],
)
def test_a_month_that_a_person_should_look_at_is_said_and_is_no_failure(
    code: int,
    open_issue: str,
    ends: list[int],
    asked_for: list[str],
    project: Project,
    runner: dict[str, str],
    tmp_path: Path,
) -> None:
    job = job_of("monthly")
    (tmp_path / "programs" / "gh").write_text(
        f'#!/bin/sh\necho "gh $*" >> {tmp_path}/asked\n[ "$2" != list ] || echo "{open_issue}"\n'
    )
    (project.root / ".venv" / "bin" / "taxi-nb").write_text(
        f'#!/bin/sh\necho "$*" > {tmp_path}/called\n'
        f"echo '2021-04: trained, and refused'\nexit {code}\n"
    )
    steps = [step for step in job["steps"] if "run" in step]
    codes, said = [], ""
    for step in steps:
        output = tmp_path / "output"
        looks = output.exists() and "code=3" in output.read_text()
        if "outputs.code == '3'" in step.get("if", "") and not looks:
            continue
        environment = {**runner, "MONTH": "2021-04", **step.get("env", {})}
        bash = ["bash", "-e", "-c", step["run"]]
        done = subprocess.run(
            bash, cwd=project.root, env=environment, capture_output=True, text=True
        )
        codes.append(done.returncode)
        said += done.stdout
    assert codes == ends
    assert (tmp_path / "called").read_text() == "monthly params/monthly.yaml --month 2021-04\n"
    assert "    2021-04: trained, and refused\n" in (tmp_path / "step-summary").read_text()
    told = "::warning title=monthly::2021-04: trained, and refused\n"
    assert (told in said) == (code == 3)
    _, *asked = (tmp_path / "asked").read_text().splitlines()
    assert len(asked) == len(asked_for)
    for line, beginning in zip(asked, asked_for, strict=True):
        assert line.startswith(f"gh {beginning}")


def test_what_is_done_for_the_months_is_kept_after_a_failure_too() -> None:
    restore, save = (
        step
        for step in job_of("monthly")["steps"]
        if step.get("uses", "").startswith("actions/cache/")
    )
    assert save["if"] == "always()"
    assert save["with"]["path"] == restore["with"]["path"]
    assert save["with"]["key"].startswith(restore["with"]["restore-keys"])


def test_a_release_is_checked_before_its_image_is_published(
    project: Project, runner: dict[str, str], tmp_path: Path
) -> None:
    (project.root / ".venv" / "bin" / "taxi-nb").write_text("#!/bin/sh\n")
    names = {"TAG": "v1.2.0", "REGISTRY": "images.example", "GITHUB_REPOSITORY": "Ada/Taxi"}
    known = {**runner, **names, "GITHUB_ACTOR": "ada", "TOKEN": "t0ken", "GITHUB_SHA": "1f2e"}
    assert executed(job_of("release"), project.root, known) == [0] * 8
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == [
        *("make setup-dev", "make lint", "make test test-slow"),
        "make run-notebooks PARAMS=params/smoke.yaml",
        "make image TAG=v1.2.0",
        "docker run --rm taxi-nb:v1.2.0 taxi-nb run params/smoke.yaml",
        "docker login images.example --username ada --password-stdin",
        "docker tag taxi-nb:v1.2.0 images.example/ada/taxi:v1.2.0",
        "docker push images.example/ada/taxi:v1.2.0",
    ]
    told = (tmp_path / "step-summary").read_text()
    assert told == "Published `images.example/ada/taxi:v1.2.0` of commit 1f2e\n"


def test_a_release_whose_tests_fail_is_not_published(
    project: Project, runner: dict[str, str], tmp_path: Path
) -> None:
    make = tmp_path / "programs" / "make"
    make.write_text(make.read_text() + '[ "$1" != test ]\n')
    executed(job_of("release"), project.root, {**runner, "TAG": "v1", "REGISTRY": "r"})
    assert "docker" not in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("code", [0, 3])
def test_the_line_for_cron_mails_where_a_person_should_look(code: int, tmp_path: Path) -> None:
    (line,) = re.findall(r"^0 6 \* \* \*  (.+)$", (DOCS / "monthly.md").read_text(), re.M)
    program = tmp_path / "taxi-nb" / ".venv" / "bin" / "taxi-nb"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$*"; echo wrong >&2; exit {code}\n')
    program.chmod(0o755)
    known = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", line], env=known, capture_output=True, text=True)
    said = "monthly params/monthly.yaml\nwrong\n"
    assert (done.stdout, done.stderr) == (said if code else "", "")
    assert (tmp_path / "monthly.log").read_text() == said

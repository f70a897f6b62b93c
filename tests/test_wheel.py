"""The wheel, installed in an empty environment without the checkout, runs somebody's notebooks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.package_index import uv

pytestmark = pytest.mark.slow

COUNT = """
import mlflow
import helper
with mlflow.start_run():
    mlflow.log_metric("words", helper.count(text))
"""


@dataclass(frozen=True)
class Environment:
    """An environment with the wheel alone, and a project folder that its commands run in."""

    programs: Path
    root: Path

    def __call__(self, *command: str, code: int = 0) -> str:
        """Call a program of the environment; give what it says."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "PYTHON"))}
        program, *arguments = command
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            cwd=self.root,
            env={**kept, "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        return said


@pytest.fixture(scope="module")
def wheel_only(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--wheel", "--out-dir", str(folder))
    (wheel,) = folder.glob("*.whl")
    programs = folder / "env" / "bin"
    uv("venv", "--quiet", str(folder / "env"))
    # What the lock has is on most machines that run the tests.
    locked = ("--constraint", "requirements.lock")
    uv("pip", "install", "--quiet", "--python", str(programs / "python"), *locked, str(wheel))
    project = Project(folder / "project")
    project.notebook("01_count", COUNT, parameters='text: str = "a b"')
    project.pipeline("steps: [{notebook: 01_count, params: {text: a b c}}]\n", "default")
    helper = "def count(text):\n    return len(text.split())\n"
    (project.root / "notebooks" / "helper.py").write_text(helper)
    (project.root / ".gitignore").write_text("runs/\nmlflow.db*\nmlartifacts/\n__pycache__/\n")
    for command in (["init"], ["add", "."], ["commit", "-qm", "It counts"]):
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
        subprocess.run(["git", *who, *command], cwd=project.root, check=True, capture_output=True)
    return Environment(programs, project.root)


def test_it_runs_plans_reports_traces_and_verifies(wheel_only: Environment) -> None:
    assert "01_count  ok" in wheel_only("taxi-nb", "run")
    assert "up to date" in wheel_only("taxi-nb", "plan")
    page = Path(wheel_only("taxi-nb", "report").strip().splitlines()[-1])
    assert (wheel_only.root / page).is_file()
    (run,) = {path.name for path in (wheel_only.root / "runs").iterdir() if path.name[0] == "2"}
    traced = wheel_only("taxi-nb", "trace", run)
    assert "01_count" in traced
    assert "the same" in wheel_only("taxi-nb", "verify")


def test_a_new_project_runs_and_its_second_run_has_nothing_to_do(wheel_only: Environment) -> None:
    assert "demo" in wheel_only("taxi-nb", "init", "demo")
    demo = Environment(wheel_only.programs, wheel_only.root / "demo")
    assert "The spring stretches by 0." in demo("taxi-nb", "run")
    assert "all 2 steps are up to date" in demo("taxi-nb", "run")
    assert "2 notebooks are clean" in demo(shutil.which("make") or "make", "lint")


def test_nothing_of_the_checkout_or_of_the_taxi_models_is_there(wheel_only: Environment) -> None:
    said = wheel_only("python", "-c", "import taxi_nb; print(taxi_nb.__file__)")
    assert Path(said.strip()).is_relative_to(wheel_only.programs.parent)
    installed = wheel_only("python", "-c", LIST)
    assert not {"xgboost-cpu", "hyperopt", "pandera", "fastparquet"} & set(installed.split())
    metadata = wheel_only("python", "-c", "from importlib.metadata import *; " + METADATA)
    assert metadata.split() == ["MIT", "LICENSE", "True"]


LIST = "from importlib import metadata as m; print(*(d.name for d in m.distributions()))"
METADATA = (
    "m = metadata('taxi-nb'); print(m['License-Expression'], m['License-File'], "
    "any(str(f) == 'taxi_nb/py.typed' for f in files('taxi-nb')))"
)


@pytest.mark.parametrize("name", ["plots", "train", "tune", "validate_trips"])
def test_what_needs_the_extra_names_it(wheel_only: Environment, name: str) -> None:
    said = wheel_only("python", "-c", f"from taxi_nb import {name}", code=1)
    told = (
        r"Error: (\w+) is not installed, the extra `taxi` brings it: pip install 'taxi-nb\[taxi\]'$"
    )
    assert re.search(told, said.strip())

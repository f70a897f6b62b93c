"""Pipelines that `taxi-nb export kubeflow` writes, compiled and run by KFP itself."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Project, runs_of
from tests.running import CommandLine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def run_by_kfp(
    engines: Path, project: Project, taxi_nb: CommandLine, arguments: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    made = taxi_nb(
        "export", "kubeflow", "params/test.yaml", "-o", "p.yaml", "--image=team/taxi:1.2"
    )
    assert made[0] == 0
    assert "containers share no disk" in made[2]
    program = Path(__file__).with_name("kubeflow_by_kfp.py")
    return subprocess.run(
        [engines / "python", program, project.root / "p.yaml", json.dumps(arguments)],
        cwd=project.root,
        env={**os.environ},
        capture_output=True,
        text=True,
    )


def test_kfp_compiles_and_runs_a_pipeline(
    engines: Path, three_steps: Project, store: str, taxi_nb: CommandLine
) -> None:
    given = {"seed": 11, "options": {"rate": 0.25, "n": 4}}
    done = run_by_kfp(engines, three_steps, taxi_nb, given)
    assert done.returncode == 0, done.stdout + done.stderr
    (pipeline_run,) = runs_of(store, "tags.`kubeflow.run` LIKE '%'")
    assert pipeline_run.info.status == "FINISHED"
    (step_run,) = (run for run in runs_of(store) if "a" in run.data.metrics)
    assert step_run.data.metrics["a"] == 11
    # Whole numbers stay whole on their way through JSON.
    recorded = json.loads((three_steps.root / "runs" / "latest" / "run.json").read_text())
    given_to = {step["name"]: step["parameters"] for step in recorded["steps"]}
    assert json.dumps(given_to["02_b[1]"]["options"], sort_keys=True) == '{"n": 4, "rate": 0.25}'
    assert given_to["02_b[1]"]["broken"] == 0


def test_a_step_that_fails_lets_the_pipeline_fail_and_the_run_be_closed(
    engines: Path, three_steps: Project, store: str, taxi_nb: CommandLine
) -> None:
    done = run_by_kfp(engines, three_steps, taxi_nb, {"broken": 2})
    assert done.returncode == 1
    assert "it is broken" in done.stdout
    assert "test: failed" in done.stdout
    (pipeline_run,) = runs_of(store, "tags.`kubeflow.run` LIKE '%'")
    assert pipeline_run.info.status == "FAILED"
    recorded = json.loads((three_steps.root / "runs" / "latest" / "run.json").read_text())
    assert {step["name"]: step["status"] for step in recorded["steps"]} == {
        "01_a": "ok",
        "02_b[1]": "ok",
        "02_b[2]": "failed",
        "03_c": "skipped",
    }

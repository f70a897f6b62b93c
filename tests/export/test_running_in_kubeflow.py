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

pytestmark = [pytest.mark.engines, pytest.mark.slow, pytest.mark.timeout(400)]


def run_by_kfp(
    engines: Path,
    project: Project,
    taxi_nb: CommandLine,
    pipeline: str,
    arguments: dict[str, Any],
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Return KFP's process and the run's record."""
    asked = [f"params/{pipeline}.yaml", "-o", "p.yaml", "--image", "team/taxi:1.2"]
    made = taxi_nb("export", "kubeflow", *asked)
    assert made[0] == 0
    assert "containers share no disk" in made[2]
    program = Path(__file__).with_name("kubeflow_by_kfp.py")
    done = subprocess.run(
        [engines / "python", program, project.root / "p.yaml", json.dumps(arguments)],
        cwd=project.root,
        env={**os.environ},
        capture_output=True,
        text=True,
    )
    (record,) = project.root.glob("runs/*-*/run.json")
    return done, json.loads(record.read_text())


def test_kfp_compiles_a_pipeline_and_runs_it(
    engines: Path, three_steps: Project, store: str, taxi_nb: CommandLine
) -> None:
    done, record = run_by_kfp(engines, three_steps, taxi_nb, "one", {"seed": 11})
    assert done.returncode == 0, done.stdout + done.stderr
    assert record["status"] == "ok"
    pipeline_run, step_run = runs_of(store)
    assert pipeline_run.data.tags["kubeflow.run"]
    assert pipeline_run.info.status == step_run.info.status == "FINISHED"
    assert step_run.data.metrics["a"] == 11


def test_a_pipeline_is_what_kfps_compiler_writes_and_fails_with_a_step(
    engines: Path, three_steps: Project, store: str, taxi_nb: CommandLine
) -> None:
    given = {"seed": 11, "broken": 2, "options": {"rate": 0.25, "n": 4}}
    done, record = run_by_kfp(engines, three_steps, taxi_nb, "test", given)
    assert done.returncode == 1
    assert "it is broken" in done.stdout, done.stderr
    # The run is closed nevertheless.
    assert "test: failed" in done.stdout
    assert runs_of(store, "tags.`kubeflow.run` LIKE '%'")[0].info.status == "FAILED"
    steps = {step["name"]: step for step in record["steps"]}
    assert {name: step["status"] for name, step in steps.items()} == {
        "01_a": "ok",
        "02_b[1]": "ok",
        "02_b[2]": "failed",
        "03_c": "skipped",
    }
    # Whole numbers stay whole on their way through JSON.
    handed = json.dumps(steps["02_b[1]"]["parameters"]["options"], sort_keys=True)
    assert handed == '{"n": 4, "rate": 0.25}'

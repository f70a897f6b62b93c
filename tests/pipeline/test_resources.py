"""What steps ask for: memory, processors, and combinations of their parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from taxi_nb.pipeline import resources
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import Status
from taxi_nb.pipeline.resources import fitting
from taxi_nb.pipeline.spec import PipelineFileError, Step
from tests.conftest import Project
from tests.running import CommandLine, Run


def parameters_of(project: Project, matrix: str) -> list[Mapping[str, Any]]:
    project.notebook("01_a", parameters="model: str = 'ridge'\nalpha: float = 1\nseed: int = 1")
    file = project.pipeline(f"steps: [{{notebook: 01_a, matrix: {matrix}}}]")
    return [step.parameters for step in read_pipeline(file, project.root).steps]


def test_axes_that_go_together_and_what_is_left_out(project: Project) -> None:
    assert parameters_of(
        project, "{model: [a, b], alpha: [1, 2], seed: [7, 8], zip: [[model, alpha]]}"
    ) == [
        {"model": "a", "alpha": 1, "seed": 7},
        {"model": "a", "alpha": 1, "seed": 8},
        {"model": "b", "alpha": 2, "seed": 7},
        {"model": "b", "alpha": 2, "seed": 8},
    ]
    assert parameters_of(
        project, "{model: [a, b], seed: [7, 8], exclude: [{model: a, seed: 8}]}"
    ) == [{"model": "a", "seed": 7}, {"model": "b", "seed": 7}, {"model": "b", "seed": 8}]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ("{model: [a, b], alpha: [1], zip: [[model, alpha]]}", "model has 2, alpha has 1"),
        ("{model: [a], zip: [[modl]]}", "'modl' is no axis of this matrix; did you mean 'model'?"),
        ("{model: [a], zip: [model]}", "must be a list of lists of names"),
        ("{model: [a], exclude: [{model: c}]}", "'c' is none of its values: 'a'"),
        ("{model: [a], exclude: [{model: a}]}", "leaves nothing to execute"),
        ("{model: [a], exclude: [a]}", "must be a list of mappings"),
    ],
)
def test_a_matrix_that_cannot_be_is_refused_with_its_place(
    project: Project, matrix: str, message: str
) -> None:
    with pytest.raises(PipelineFileError, match=re.escape(message)) as caught:
        parameters_of(project, matrix)
    assert "params/test.yaml:1: steps[0].matrix" in str(caught.value)


@pytest.mark.parametrize(
    ("written", "size"), [("4G", 4e9), ("512M", 512e6), ("4Gi", 4 * 1024**3), ("1.5T", 1.5e12)]
)
def test_sizes_are_written_as_kubernetes_does(project: Project, written: str, size: float) -> None:
    project.notebook("01_a")
    file = project.pipeline(f"steps: [{{notebook: 01_a, memory: {written}, cpus: 0.5}}]")
    (step,) = read_pipeline(file, project.root).steps
    assert (step.memory, step.cpus) == (size, 0.5)


def test_a_size_without_a_unit_is_refused(project: Project) -> None:
    project.notebook("01_a")
    file = project.pipeline("steps: [{notebook: 01_a, memory: 4}]")
    with pytest.raises(PipelineFileError, match="must be a size such as 512M, 4G or 4Gi, got 4"):
        read_pipeline(file, project.root)


def test_only_what_fits_starts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "usable_memory", lambda: int(8e9))
    monkeypatch.setattr(resources, "usable_cpus", lambda: 4.0)

    def step(name: str, memory: float | None = None, cpus: float | None = None) -> Step:
        return Step(name, name, project.root / "a.ipynb", memory=memory, cpus=cpus)

    large, small, free, busy = step("a", 6e9), step("b", 2e9, 3), step("c"), step("d", cpus=2)
    assert fitting([large, small, free], [], 4) == [large, small, free]
    assert fitting([large, small, free], [], 1) == [large]
    assert fitting([large, busy, free], [small], 3) == [large, free]
    assert fitting([small, free], [large, step("e", 1e9)], 2) == [free]


def test_a_step_that_uses_more_than_its_memory_is_ended_and_says_so(
    project: Project, run: Run
) -> None:
    project.notebook("01_a", "import time\nfull = bytearray(400_000_000)\ntime.sleep(30)")
    record, _ = run("steps: [{notebook: 01_a, memory: 300M}]")
    (step,) = record.steps
    assert step.status is Status.KERNEL_DIED
    assert step.error is not None
    assert re.fullmatch(r"used 0\.\d+ GB of 0\.3 GB when it was killed", step.error.message)
    assert step.error.cell == 2


@pytest.mark.slow
def test_a_step_that_can_never_start_is_told_before_anything_runs(
    project: Project, taxi_nb: CommandLine
) -> None:
    project.notebook("01_a")
    project.pipeline("steps: [{notebook: 01_a, memory: 900T}]")
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("01_a asks for 900,000 GB of memory; this machine has ")
    assert not (project.root / "runs" / "latest").exists()

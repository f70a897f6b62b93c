"""A step whose notebook uses MLflow as every tutorial does, without anything of ours."""

from __future__ import annotations

import pytest

from tests.conftest import Project, runs_of, texts
from tests.running import CommandLine, Run

ONE = "experiment: ours\nsteps: [{notebook: a}]"
IN_A_RUN = "with mlflow.start_run({}): mlflow.log_metric({!r}, {})"
SET_EXPERIMENT = "import mlflow; mlflow.set_experiment('my own')"
SET_STORE = f"import mlflow; mlflow.set_tracking_uri('sqlite:///other.db'); {SET_EXPERIMENT}"


@pytest.mark.parametrize("setting", ["import mlflow", SET_EXPERIMENT, SET_STORE])
def test_the_first_run_is_the_steps_and_later_ones_are_its_children(
    project: Project, store: str, run: Run, setting: str
) -> None:
    first = IN_A_RUN.format("run_name='x'", "first", 1)
    second = IN_A_RUN.format("run_name='second', tags={'mine': 'yes'}", "second", 2)
    ours = (
        "from taxi_nb import tracked_run\nwith tracked_run('third'): mlflow.log_metric('third', 3)"
    )
    project.notebook("a", setting, first, setting, second, ours, "print(mlflow.active_run())")
    record, folder = run(ONE)
    assert record.steps[0].error is None
    assert record.steps[0].metrics["first"] == 1
    pipeline, step, *children = runs_of(store)
    assert step.info.run_id == record.steps[0].mlflow_run_id
    assert [child.info.run_name for child in children] == ["second", "third"]
    assert {run.info.status for run in (pipeline, step, *children)} == {"FINISHED"}
    assert {run.info.experiment_id for run in (step, *children)} == {pipeline.info.experiment_id}
    for child in children:
        tags = child.data.tags
        assert tags["mlflow.parentRunId"] == step.info.run_id
        assert tags["mlflow.source.name"] == tags["notebook"] == "notebooks/a.ipynb"
        assert tags["git.commit"]
    assert children[0].data.tags["mine"] == "yes"
    notice = "the runs of a step go to its pipeline's store, experiment 'ours'"
    assert (notice in texts(folder / "a.ipynb")) == (setting != "import mlflow")


def test_a_steps_run_is_not_done_before_the_step_is(project: Project, store: str, run: Run) -> None:
    """A kill after the cell that ends the run would leave a finished run of half a step."""
    ask = "print('is', mlflow.get_run(run.info.run_id).info.status)"
    project.notebook(
        "a",
        "import mlflow; run = mlflow.start_run(); mlflow.end_run()",
        ask,
        "child = mlflow.start_run(); mlflow.end_run('FAILED')",
        ask.replace("run.", "child.", 1),
    )
    _, folder = run(ONE)
    shown = texts(folder / "a.ipynb")
    assert "is RUNNING" in shown
    assert [r.info.status for r in runs_of(store)] == ["FINISHED", "FINISHED", "FAILED"]


@pytest.mark.slow
def test_the_same_in_a_kernel_that_imports_mlflow_itself(
    project: Project, store: str, taxi_nb: CommandLine
) -> None:
    project.notebook("a", SET_EXPERIMENT, IN_A_RUN.format("", "a", 1), IN_A_RUN.format("", "b", 2))
    project.pipeline(ONE)
    code, _, err = taxi_nb("run", "params/test.yaml", "--kernel", "spawn")
    assert code == 0, err
    _, step, child = runs_of(store)
    assert step.data.metrics["a"] == 1
    assert child.data.tags["mlflow.parentRunId"] == step.info.run_id
    code, out, _ = taxi_nb("trace", child.info.run_id)
    assert code == 0
    assert "notebooks/a.ipynb" in out
    assert "no notebook made it" not in out

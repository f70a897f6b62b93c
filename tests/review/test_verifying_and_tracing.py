"""A run leads back to what made it; executed again, whatever is not the same is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow.entities import Run
from typer.testing import CliRunner

from taxi_nb.cli import app
from taxi_nb.pipeline.kernels.pool import KernelPool
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import RunRecord, Status
from taxi_nb.pipeline.run import run_pipeline
from taxi_nb.review.verify.comparison import StepVerdict
from taxi_nb.review.verify.verification import Verification, verify_run
from tests.conftest import REPOSITORY, Project, runs_of
from tests.running import Listener

pytestmark = pytest.mark.slow

FIGURE = """
import io, random, numpy as np
from IPython.display import Image
from matplotlib.image import imsave
pixels = np.zeros((20, 30, 3))
{change}
file = io.BytesIO()
# What a file says of itself is not what it shows.
imsave(file, pixels, metadata={{"Title": str(random.random())}})
Image(file.getvalue())
"""
LOG = """
from taxi_nb import tracked_run
import mlflow
with tracked_run(kind="training", params={{"alpha": 3}}) as run:
    mlflow.log_metrics({metrics})
    with tracked_run("part"):
        mlflow.log_metric("inner", {inner})
print("logged to", run.info.run_id)
"""
PIPELINE = "steps: [{notebook: 01_same}, {notebook: 02_other, needs: []}]"


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(root), *who, *arguments], check=True, capture_output=True)


def write_notebooks(project: Project, number: int) -> None:
    """Write one notebook that is the same each time and one that is not."""
    project.notebook(
        "01_same",
        f"print('number', {number}, 'of', x)",
        "import random\nrandom.seed(x)\nrandom.random()",
        # Without a fixed hash seed their order is another in each process.
        "list({'bread', 'butter', 'milk', 'salt', 'sugar'})",
        "import os\nos.getcwd()",
        "# varies: the clock\nimport time\ntime.time_ns()",
        "import sys\nprint('to out')\nprint('to err', file=sys.stderr)\nprint('more')",
        FIGURE.format(change="pixels[3, 4] = 0.5"),
        # Where an object lies in memory, and when a library said something, are no results.
        "import datetime\nprint(datetime.datetime.now(), 'WARNING of a library')\nobject()",
        LOG.format(metrics="{'rmse': 1 / 3, 'fit_seconds': random.random()}", inner="2.5"),
        parameters="x: int = 1",
    )
    chance = "__import__('random').SystemRandom().random()"
    project.notebook(
        "02_other",
        f"print('chance', {chance})",
        FIGURE.format(change=f"pixels[3, 4] = 0.5 + {chance} / 2"),
        f"print('took {{}} kg'.format('much' if {chance} < 1 else ''), {chance} * 0 + 1)",
        f"from IPython.display import JSON\nJSON({{'a': [1, {chance}]}})",
        LOG.format(metrics=f"{{'rmse': {chance}}}", inner=chance),
        "import os\nprint('word', os.urandom(4).hex())",
    )


@dataclass(frozen=True)
class Made:
    """A project with a run of uncommitted changes; the notebooks were changed once more since."""

    root: Path
    folder: Path
    record: RunRecord


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, warm_pool: KernelPool
) -> Iterator[Made]:
    project = Project(tmp_path_factory.mktemp("made") / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        patch.setenv("TAXI_NB_ROOT", str(project.root))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/mlflow.db")
        shutil.copy(empty_store, project.root / "mlflow.db")
        (project.root / ".gitignore").write_text("/runs/\n/mlflow.db*\n/mlartifacts/\n/.venv\n")
        # In place of installing: the commands of this environment.
        (project.root / "Makefile").write_text(
            f"setup:\n\tmkdir -p .venv && ln -sfn {Path(sys.executable).parent} .venv/bin\n"
        )
        write_notebooks(project, 1)
        git(project.root, "init", "-q")
        git(project.root, "add", "-A")
        git(project.root, "commit", "-q", "-m", "one")
        # Git knows nothing of the folder params/.
        project.pipeline(PIPELINE)
        write_notebooks(project, 2)
        pipeline = read_pipeline(project.root / "params" / "test.yaml", project.root, ["x=7"])
        record, folder = run_pipeline(pipeline, pool=warm_pool, jobs=2, listener=Listener())
        write_notebooks(project, 3)
        yield Made(project.root, folder, record)


@pytest.fixture(scope="module")
def verified(
    made: Made, tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> tuple[Verification, list[str]]:
    """The run verified, and what was said meanwhile."""
    scratch = tmp_path_factory.mktemp("scratch")
    shutil.copy(empty_store, scratch / "mlflow.db")
    before, said = contents(made.root), list[str]()
    verification = verify_run(made.folder, made.root, scratch, jobs=2, say=said.append)
    assert contents(made.root) == before
    return verification, said


def contents(root: Path) -> dict[str, tuple[int, int]]:
    """Return what would show that a file was written."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def of(verification: Verification, name: str) -> StepVerdict:
    return next(step for step in verification.steps if step.name == name)


def test_what_is_the_same_is_said_to_be(verified: tuple[Verification, list[str]]) -> None:
    verification, said = verified
    same = of(verification, "01_same")
    assert same.differences == ()
    # Text, a seeded number, a set, a folder, two streams, a log, an object, what is logged.
    assert (same.figures, same.outputs, same.metrics) == (1, 9, 2)
    # The run's own changes were executed: not the commit, nor what was edited after it.
    assert verification.state.endswith("with the recorded uncommitted changes")
    assert said[0].endswith("params/test.yaml --set x=7")
    known = "params/ was not known to git: its present content is used"
    assert verification.circumstances == (known,)


def test_what_differs_is_found_and_by_how_much(verified: tuple[Verification, list[str]]) -> None:
    verification, _ = verified
    assert not verification.is_same
    found = of(verification, "02_other").differences
    starts = [
        "metric rmse 0.",
        "metric part: inner 0.",
        "cell 2: stdout: 1 of 1 numbers differ, by up to 0.",
        "cell 3: figure: 1 of 600 pixels differ, by up to ",
        "cell 5: application/json: a[1] 0.",
        "cell 7: stdout: line 1: 'word ",
    ]
    assert [line[: len(start)] for line, start in zip(found, starts, strict=True)] == starts


def test_what_a_notebook_declares_to_vary_is_left_out_and_listed(
    verified: tuple[Verification, list[str]],
) -> None:
    verification, _ = verified
    left_out = set(of(verification, "01_same").left_out)
    # What takes a run's measure anyway is left out of both.
    assert left_out - set(of(verification, "02_other").left_out) == {
        "cell 7 varies: the clock",
        "metric fit_seconds: measures the machine",
    }


def shown(*arguments: str) -> tuple[int, str]:
    """Call `taxi-nb` in this process; return exit code and what it printed."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_a_model_leads_back_to_cell_parameters_commit_and_lock(made: Made) -> None:
    from mlflow import MlflowClient

    client = MlflowClient()
    run_id = made.record.steps[0].mlflow_run_id
    client.create_registered_model("minutes")
    client.create_model_version("minutes", "file:///m", run_id, tags={"lineage.step": "01_same"})
    client.set_registered_model_alias("minutes", "champion", "1")
    code, out = shown("trace", "models:/minutes@champion")
    assert code == 0
    for line in (
        "model version  minutes, version 1",
        "lineage.step: 01_same",
        f"training run  01_same  {run_id}",
        "cell  11: from taxi_nb import tracked_run",
        "known by: was executing when rmse",
        "alpha: 3",
        f"commit  {made.record.commit}",
        "artifact source/uncommitted.diff",
        "missing: it logged no data set",
        "missing: the lock's digest",
        f"pipeline run  {made.folder.name}",
        "file: params/test.yaml --set x=7",
    ):
        assert line in out
    assert json.loads(shown("trace", "models:/minutes/1", "--json")[1])["root"]["made_from"]


def test_a_run_leads_back_when_its_folder_is_gone(made: Made) -> None:
    run_id = str(made.record.steps[1].mlflow_run_id)
    with_folder = shown("trace", run_id[:12])[1]
    (made.root / "runs").rename(made.root / "moved")
    try:
        code, out = shown("trace", run_id[:12])
    finally:
        (made.root / "moved").rename(made.root / "runs")
    assert code == 0
    assert f"missing: its folder runs/{made.folder.name} is gone" in out
    assert "looked at: artifact notebook/02_other.ipynb" in out
    cell = "cell  6: from taxi_nb import tracked_run"
    assert cell in out
    assert cell in with_folder
    commands = out.partition("To do it again:")[2]
    assert commands == with_folder.partition("To do it again:")[2]


def test_an_executed_notebook_and_a_pipeline_run_can_be_asked_for(made: Made) -> None:
    code, out = shown("trace", str(made.folder / "02_other.ipynb"))
    assert code == 0
    assert str(made.record.steps[1].mlflow_run_id) in out
    code, out = shown("trace", made.folder.name)
    assert code == 0
    assert all(f"step  {step.name}" in out for step in made.record.steps)


def test_a_run_from_jupyterlab_leads_back_to_its_notebook(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taxi_nb import tracked_run

    path = made.root / "notebooks" / "01_same.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(path))
    with tracked_run("looked", params={"k": 1}) as run:
        pass
    code, out = shown("trace", run.info.run_id)
    assert code == 0
    assert "notebook  notebooks/01_same.ipynb" in out
    assert "known by: calls tracked_run" in out
    assert "pipeline run" not in out
    assert f"-r {run.info.run_id} -a source/01_same.ipynb" in out


@pytest.mark.parametrize("what", ["beef", "models:/nobody@champion", "notebooks/01_same.ipynb"])
def test_what_is_not_there_is_one_message(made: Made, what: str) -> None:
    code, out = shown("trace", what)
    assert code == 2
    assert what in out
    assert len(out.splitlines()) == 1


def test_the_commands_of_a_trace_do_it_again(made: Made, tmp_path: Path) -> None:
    commands = json.loads(shown("trace", made.folder.name, "--json")[1])["commands"]
    assert commands[-1] == ".venv/bin/taxi-nb run params/test.yaml --set x=7"
    # That `taxi-nb run` makes the same again is what verifying shows; a plan is quicker.
    script = [*commands[:-1], commands[-1].replace(" run ", " plan ")]
    script[0] = script[0].replace("../again", str(tmp_path / "again"))
    done = subprocess.run(
        ["bash", "-ec", "unset TAXI_NB_ROOT\n" + "\n".join(script)],
        cwd=made.root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2 of 2 steps will run" in done.stdout
    for name in ("01_same", "02_other"):
        again = json.loads((tmp_path / "again" / "notebooks" / f"{name}.ipynb").read_text())
        executed = json.loads((made.folder / f"{name}.ipynb").read_text())
        sources = ["".join(cell["source"]) for cell in executed["cells"]]
        assert all("".join(cell["source"]) in sources for cell in again["cells"])


def test_a_run_that_is_deleted_is_said_to_be(made: Made) -> None:
    from mlflow import MlflowClient

    run_id = str(made.record.steps[1].mlflow_run_id)
    MlflowClient().delete_run(run_id)
    said = f"it is deleted in MLflow; `mlflow runs restore --run-id {run_id}` undoes it"
    try:
        assert said in shown("trace", run_id)[1]
        assert said in shown("trace", made.folder.name)[1]
    finally:
        MlflowClient().restore_run(run_id)


def test_only_a_run_that_succeeded_can_be_verified(made: Made, tmp_path: Path) -> None:
    failed = tmp_path / "failed"
    failed.mkdir()
    record = replace(made.record, status=Status.FAILED)
    (failed / "run.json").write_text(record.to_json())
    code, out = shown("verify", str(failed))
    assert (code, len(out.splitlines())) == (2, 1)
    assert "is failed: only a run that succeeded" in out


READS = """
import hashlib, os
from pathlib import Path
from taxi_nb.tracking.inputs import used_data, used_variable
used_variable("COLOUR")
path = Path("../months/one.csv").resolve()
used_data("one", str(path), hashlib.sha256(path.read_bytes()).hexdigest())
print(path.read_text(), os.environ.get("COLOUR"))
"""


@pytest.fixture(scope="module")
def by_mlflow(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> Iterator[tuple[Project, Run]]:
    """A project outside git, executed by the repository's MLproject as `mlflow run` does."""
    import mlflow

    project = Project(tmp_path_factory.mktemp("by_mlflow") / "project")
    shutil.copy(empty_store, project.root / "mlflow.db")
    for name in ("MLproject", "python_env.yaml"):
        shutil.copy(REPOSITORY / name, project.root)
    (project.root / "months").mkdir()
    (project.root / "months" / "one.csv").write_text("1,2")
    project.notebook("01_reads", READS, parameters="x: int = 1")
    project.pipeline("experiment: unused\nsteps: [{notebook: 01_reads}]")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        patch.delenv("TAXI_NB_ROOT", raising=False)
        patch.setenv("COLOUR", "red")
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        # As `mlflow run` has it where nobody says which store: relative to the folder.
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
        submitted = mlflow.projects.run(
            ".",
            entry_point="pipeline",
            parameters={"params": "params/test.yaml"},
            experiment_name="by hand",
            env_manager="local",
        )
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/mlflow.db")
        yield project, mlflow.get_run(submitted.run_id)
    mlflow.set_tracking_uri(before)


def test_the_run_that_mlflow_opens_is_the_pipelines(by_mlflow: tuple[Project, Run]) -> None:
    project, run = by_mlflow
    record = RunRecord.from_json((project.root / "runs" / "latest" / "run.json").read_text())
    assert (run.info.run_id, run.info.status) == (record.mlflow_run_id, "FINISHED")
    assert (run.info.run_name, record.experiment) == (record.id, "by hand")
    tags = run.data.tags
    assert tags["taxi_nb.kind"] == "pipeline"
    assert tags["taxi_nb.pipeline_run"] == record.id
    assert (tags["mlflow.source.type"], tags["mlflow.project.entryPoint"]) == (
        "PROJECT",
        "pipeline",
    )
    assert run.data.params["params"] == "params/test.yaml"
    store = f"sqlite:///{project.root}/mlflow.db"
    step = next(r for r in runs_of(store) if r.info.run_name == "01_reads")
    assert step.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert not (project.root / "notebooks" / "mlflow.db").exists()


def test_what_is_not_as_recorded_is_said_before_anything_else(
    by_mlflow: tuple[Project, Run],
    empty_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project, _ = by_mlflow
    folder = (project.root / "runs" / "latest").resolve()
    inputs = folder / "01_reads.inputs.json"
    # As if the run had been made with another version.
    known = json.loads(inputs.read_text())
    known["packages"]["ipython"] = "0.1"
    inputs.write_text(json.dumps(known))
    (project.root / "months" / "one.csv").write_text("1,3")
    monkeypatch.setenv("COLOUR", "blue")
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    said: list[str] = []
    verification = verify_run(folder, project.root, tmp_path, say=said.append)
    data, package, files = verification.circumstances
    assert data.startswith("the file of data one changed since: ")
    assert package.startswith("ipython 0.1 -> ")
    assert files == "the run was made outside git: the present files are executed"
    assert said[1:4] == [f"not as recorded: {line}" for line in verification.circumstances]
    # Variables are as they were; what differs comes from the data.
    assert verification.steps[0].differences == (
        "cell 2: stdout: 1 of 2 numbers differ, by up to 1: first 2 -> 3",
    )

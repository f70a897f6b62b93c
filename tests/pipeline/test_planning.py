"""Only what changed runs, and the plan says why: real kernels, a real store."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

from taxi_nb.pipeline.kernels.pool import KernelPool
from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.part import UnknownStepError
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.plan import EVERY_STEP
from taxi_nb.pipeline.plan import plan as planned
from taxi_nb.pipeline.planned import Plan
from taxi_nb.pipeline.record import RunRecord, Status, StepResult
from taxi_nb.pipeline.run import run_pipeline
from taxi_nb.tracking.environment import packages_with_modules
from taxi_nb.tracking.file_addresses import sqlite_address
from tests.conftest import Bucket, Project, runs_of, sample_file, texts
from tests.running import Listener, Run

PlanOf = Callable[..., dict[str, str]]

READS = "text = open('../numbers.csv').read()\nprint(text)"


@pytest.fixture
def plan(project: Project, store: str) -> PlanOf:
    """Plan a pipeline text; step -> what the plan says of it."""

    def plan_text(text: str, *overrides: str, force: tuple[str, ...] = ()) -> dict[str, str]:
        pipeline = read_pipeline(project.pipeline(text), project.root, overrides)
        made: Plan = planned(pipeline, Memory(pipeline), force)
        return {planned.step.name: str(planned) for planned in made.steps}

    return plan_text


@pytest.fixture
def helper(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the project's own; kernels find it."""
    path = project.root / "helper.py"
    path.write_text("FACTOR = 2\n\ndef double(x):\n    return FACTOR * x\n")
    monkeypatch.setenv("PYTHONPATH", str(project.root))
    yield path
    sys.modules.pop("helper", None)


@dataclass(frozen=True)
class Ran:
    """A project whose steps have all run, each a notebook of its own."""

    project: Project
    folder: Path
    plan: Callable[[], dict[str, str]]

    def notebook(self, name: str) -> Path:
        return self.project.root / "notebooks" / f"{name}.ipynb"

    def file(self, name: str) -> Path:
        return self.project.root / name

    def changed(self) -> dict[str, str]:
        """What the plan says of the steps that are not up to date."""
        return {name: says for name, says in self.plan().items() if says != "up to date"}


@pytest.fixture(scope="module")
def ran_once(
    tmp_path_factory: pytest.TempPathFactory, empty_store: Path, warm_pool: KernelPool
) -> Path:
    """The folder with that project, its store and its artifacts."""
    folder = tmp_path_factory.mktemp("ran")
    shutil.copy(empty_store, folder / "mlflow.db")
    made = Project(folder / "project")
    made.notebook("plain", "print('a')")
    made.notebook("cells", "y = 1", "#md Prose", "%time z = y")
    made.notebook("typed", "print(x, y)", parameters="x: int = 1\ny: int = 1")
    made.notebook("reads", READS)
    made.notebook("tries", "try:\n    open('../maybe.txt')\nexcept FileNotFoundError:\n    pass")
    made.notebook("lists", "from pathlib import Path\nprint(sorted(Path('../months').iterdir()))")
    (made.root / "numbers.csv").write_text("1,2,3")
    (made.root / "months").mkdir()
    (made.root / "months" / "1.csv").write_text("1")
    names = sorted(path.stem for path in (made.root / "notebooks").iterdir())
    steps = [f"{{notebook: {name}, needs: []}}" for name in names if name != "typed"]
    typed = "{notebook: typed, needs: [], params: {y: 5}}"
    file = made.pipeline(f"steps: [{', '.join([*steps, typed])}]")
    with pytest.MonkeyPatch.context() as patch:
        at_home(folder, made.root, patch)
        pipeline = read_pipeline(file, made.root)
        record, _ = run_pipeline(pipeline, pool=warm_pool, listener=Listener())
    assert record.status is Status.OK
    return folder


def at_home(folder: Path, root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("MLFLOW_TRACKING_URI", sqlite_address(folder / "mlflow.db"))
    patch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", str(folder / "artifacts"))
    patch.setenv("TAXI_NB_ROOT", str(root))
    patch.chdir(root)


@pytest.fixture
def ran(ran_once: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """A copy of it, in which everything is up to date."""
    shutil.copytree(ran_once / "project", project.root, symlinks=True, dirs_exist_ok=True)
    at_home(ran_once, project.root, monkeypatch)

    def plan_again() -> dict[str, str]:
        pipeline = read_pipeline(project.root / "params" / "test.yaml", project.root)
        made = planned(pipeline, Memory(pipeline))
        return {planned.step.name: str(planned) for planned in made.steps}

    return Ran(project, (project.root / "runs" / "latest").resolve(), plan_again)


def edit(notebook: Path, number: int, source: str) -> None:
    """Give a notebook's cell, counted from 1, another source."""
    content = nbformat.read(notebook, as_version=4)
    content.cells[number - 1].source = source
    nbformat.write(content, notebook)


def statuses(record: RunRecord) -> dict[str, Status]:
    return {step.name: step.status for step in record.steps}


def step(record: RunRecord, name: str) -> StepResult:
    return next(step for step in record.steps if step.name == name)


def test_what_never_ran_will_run_and_then_is_up_to_date(
    project: Project, run: Run, plan: PlanOf
) -> None:
    project.notebook("01_a", "print('a')")
    text = "steps: [{notebook: 01_a}]"
    assert plan(text) == {"01_a": "will run: never ran"}
    run(text)
    assert plan(text) == {"01_a": "up to date"}


def test_an_up_to_date_step_points_at_its_former_run_and_notebook(
    project: Project, run: Run, store: str
) -> None:
    project.notebook("01_a", "import mlflow\nmlflow.log_metric('m', 3)\nprint('hello')")
    project.notebook("02_b", "print(x)", parameters="x: int = 1")
    text = "steps: [{notebook: 01_a}, {notebook: 02_b}]"
    first, folder = run(text)
    second, newer = run(text, overrides=["x=2"])
    assert statuses(second) == {"01_a": Status.CACHED, "02_b": Status.OK}
    former, reused = step(first, "01_a"), step(second, "01_a")
    assert reused.mlflow_run_id == former.mlflow_run_id
    assert reused.reused_from == first.id
    assert reused.metrics == {"m": 3}
    assert "hello" in texts(newer / "01_a.ipynb")
    assert (newer / "01_a.ipynb").read_bytes() == (folder / "01_a.ipynb").read_bytes()
    # Whoever edits one of them edits no other run's.
    assert not (newer / "01_a.ipynb").samefile(folder / "01_a.ipynb")
    assert "hello" in (newer / "01_a.html").read_text()
    assert step(second, "02_b").reason == "params.x 1 -> 2"
    assert len(runs_of(store, "tags.step = '01_a'")) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda nb: nb.cells[1].update(source="y = 1  # why"), id="a comment"),
        pytest.param(lambda nb: nb.cells[1].update(source="y  =  1\n\n"), id="layout"),
        pytest.param(lambda nb: nb.cells[2].update(source="Other prose"), id="a markdown cell"),
        pytest.param(lambda nb: nb.cells[1].metadata.update(tags=["hide"]), id="a tag"),
        pytest.param(lambda nb: nb.cells.insert(1, nbformat.v4.new_markdown_cell("x")), id="more"),
        pytest.param(
            lambda nb: nb.cells[1].update(
                outputs=[nbformat.v4.new_output("stream", text="2")], execution_count=7
            ),
            id="an output",
        ),
    ],
)
def test_what_changes_no_result_runs_nothing(
    ran: Ran, change: Callable[[nbformat.NotebookNode], None]
) -> None:
    path = ran.notebook("cells")
    notebook = nbformat.read(path, as_version=4)
    change(notebook)
    nbformat.write(notebook, path)
    assert ran.changed() == {}


def test_a_changed_cell_is_named_as_a_reader_counts(ran: Ran) -> None:
    edit(ran.notebook("cells"), 4, "%time z = y + 1")
    assert ran.changed() == {"cells": "will run: notebook cell 4 changed"}


def test_a_default_that_the_pipeline_does_not_give_is_a_parameter(ran: Ran) -> None:
    edit(ran.notebook("typed"), 1, "x: int = 1  # as before\ny: int = 2")
    assert ran.changed() == {}
    edit(ran.notebook("typed"), 1, "x: int = 3\ny: int = 2")
    assert ran.changed() == {"typed": "will run: params.x 1 -> 3"}


def test_a_changed_helper_runs_only_the_notebooks_that_use_it(
    project: Project, run: Run, plan: PlanOf, helper: Path
) -> None:
    project.notebook("01_a", "import helper\nprint(helper.double(2))")
    project.notebook("02_b", "print(2)")
    text = "steps: [{notebook: 01_a}, {notebook: 02_b}]"
    run(text)
    helper.write_text('"""Now documented."""\n' + helper.read_text() + "# and more\n")
    assert set(plan(text).values()) == {"up to date"}
    helper.write_text("FACTOR = 2\n\ndef double(x):\n    return x + x\n")
    assert plan(text) == {
        "01_a": "will run: helper.py: double changed",
        "02_b": "up to date",
    }


def test_a_changed_data_file_runs_its_readers(ran: Ran) -> None:
    numbers = ran.file("numbers.csv")
    numbers.touch()
    assert ran.changed() == {}
    numbers.write_text("1,2,4")
    assert ran.changed() == {"reads": "will run: numbers.csv changed"}
    numbers.unlink()
    assert ran.changed() == {"reads": "will run: numbers.csv is gone"}


def test_a_file_of_the_same_size_and_time_is_still_another(ran: Ran) -> None:
    numbers = ran.file("numbers.csv")
    assert ran.changed() == {}
    before = numbers.stat()
    numbers.write_text("1,2,4")
    os.utime(numbers, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ran.changed() == {"reads": "will run: numbers.csv changed"}


WAYS_TO_READ = (
    "import pyarrow.csv as c\nprint(c.read_csv('../numbers.csv'))",
    "import pandas as pd\nprint(pd.read_csv('../numbers.csv'))",
    "from pathlib import Path\nprint(Path('../numbers.csv').read_bytes())",
    "!cat ../numbers.csv",
    "import subprocess\nprint(subprocess.check_output(['cat', '../numbers.csv']))",
    "import os\nprint(os.open('../numbers.csv', os.O_RDONLY))",
    "import multiprocessing as m\nwith m.get_context('fork').Pool(1) as p:\n"
    "    print(p.map(open, ['../numbers.csv'][:0]), open('../numbers.csv').read())",
)


@pytest.mark.slow
def test_whatever_reads_a_file_it_is_an_input(project: Project, run: Run, plan: PlanOf) -> None:
    numbers = project.root / "numbers.csv"
    numbers.write_text("a,b\n1,2\n")
    for number, reads in enumerate(WAYS_TO_READ):
        project.notebook(f"n{number}", reads)
    steps = [f"{{notebook: n{number}, needs: []}}" for number in range(len(WAYS_TO_READ))]
    text = f"steps: [{', '.join(steps)}]"
    assert run(text)[0].status is Status.OK
    assert set(plan(text).values()) == {"up to date"}
    numbers.write_text("a,b\n1,3\n")
    assert set(plan(text).values()) == {"will run: numbers.csv changed"}


def test_a_file_that_was_not_there_is_an_input_too(ran: Ran) -> None:
    ran.file("maybe.txt").write_text("now")
    assert ran.changed() == {"tries": "will run: maybe.txt is new"}


def test_a_new_file_in_a_folder_that_was_listed(ran: Ran) -> None:
    ran.file("months/2.csv").write_text("2")
    assert ran.changed() == {"lists": "will run: the files in months are others"}


@pytest.mark.slow
def test_a_month_in_a_bucket_is_compared_by_its_version_and_then_by_its_digest(
    project: Project, run: Run, plan: PlanOf, bucket: Bucket, tmp_path: Path
) -> None:
    month = sample_file(tmp_path, 500).read_bytes()
    place = {"Bucket": "trips", "Key": "green_tripdata_2021-01.parquet"}
    bucket.client.put_object(**place, Body=month)
    load = (
        "from taxi_nb import load_trips\nprint(len(load_trips('green', ['2021-01'], 's3://trips')))"
    )
    project.notebook("01_a", load)
    text = "steps: [{notebook: 01_a}]"
    assert run(text)[0].status is Status.OK
    assert plan(text) == {"01_a": "up to date"}
    bucket.client.put_object(**place, Body=month + b"more")
    assert plan(text) == {"01_a": "will run: the file of data green 2021-01 changed"}
    bucket.client.delete_object(**place)
    assert plan(text) == {"01_a": "will run: data green 2021-01 is gone"}
    bucket.server.stop()
    assert plan(text)["01_a"].startswith("will run: data green 2021-01 cannot be compared: ")


@pytest.mark.slow
def test_a_file_that_one_step_writes_and_the_next_reads(
    project: Project, run: Run, plan: PlanOf
) -> None:
    writes = "with open('../made.txt', 'w') as file:\n    file.write(str(x))"
    project.notebook("01_a", writes, parameters="x: int = 1")
    project.notebook("02_b", "print(open('../made.txt').read())")
    project.notebook("03_c", "print('c')")
    text = "steps: [{notebook: 01_a}, {notebook: 02_b}, {notebook: 03_c}]"
    run(text)
    assert set(plan(text).values()) == {"up to date"}
    assert plan(text, "x=2") == {
        "01_a": "will run: params.x 1 -> 2",
        "02_b": "will run: needs 01_a, which will run",
        "03_c": "up to date",
    }
    _, folder = run(text, overrides=["x=2"])
    assert "2" in texts(folder / "02_b.ipynb")
    # What it wrote is the other variant's by now.
    assert plan(text)["01_a"] == "will run: made.txt, which it wrote, changed"
    (project.root / "made.txt").unlink()
    assert plan(text, "x=2")["01_a"] == "will run: made.txt, which it wrote, is gone"


@pytest.mark.slow
def test_a_step_that_names_its_needs_runs_again_with_them(
    project: Project, run: Run, plan: PlanOf
) -> None:
    project.notebook("01_a", "print(x)", parameters="x: int = 1")
    project.notebook("02_b", "print('b')")
    project.notebook("03_c", "print('c')")
    text = "steps: [{notebook: 01_a}, {notebook: 02_b, needs: [01_a]}, {notebook: 03_c}]"
    run(text)
    assert plan(text, "x=2") == {
        "01_a": "will run: params.x 1 -> 2",
        "02_b": "will run: needs 01_a, which will run",
        "03_c": "up to date",
    }


ASKS = "from taxi_nb.tracking.upstream import upstream_runs\nprint(upstream_runs())"
ASKS_MLFLOW = "import mlflow\nprint(mlflow.search_runs(search_all_experiments=True).shape)"


@pytest.mark.parametrize("asks", [ASKS, ASKS_MLFLOW])
def test_a_step_that_asked_for_upstream_runs_runs_again_with_them(
    project: Project, run: Run, plan: PlanOf, asks: str
) -> None:
    project.notebook("01_a", "print(x)", parameters="x: int = 1")
    project.notebook("02_b", asks)
    text = "steps: [{notebook: 01_a, matrix: {x: [1, 2]}}, {notebook: 02_b}]"
    run(text)
    assert set(plan(text).values()) == {"up to date"}
    assert plan(text, "x=[1,3]") == {
        "01_a[1]": "up to date",
        "01_a[3]": "will run: never ran",
        "02_b": "will run: needs 01_a[3], which will run; no longer needs 01_a[2]",
    }


def test_variants_do_not_evict_one_another(project: Project, run: Run, plan: PlanOf) -> None:
    project.notebook("01_a", "print(x)", parameters="x: int = 1")
    text = "steps: [{notebook: 01_a}]"
    run(text)
    run(text, overrides=["x=2"])
    assert plan(text) == {"01_a": "up to date"}
    assert plan(text, "x=2") == {"01_a": "up to date"}
    # As 1 and True are one key in a dict, but not one parameter.
    assert plan(text, "x=3") == {"01_a": "will run: params.x 2 -> 3"}


def test_a_branch_that_changes_code_and_back_finds_its_results(
    project: Project, run: Run, plan: PlanOf, helper: Path
) -> None:
    project.notebook("01_a", "import helper\nprint(helper.double(2))")
    text = "steps: [{notebook: 01_a}]"
    on_main = helper.read_text()
    run(text)
    helper.write_text("def double(x):\n    return 4 * x\n")
    run(text)
    assert plan(text) == {"01_a": "up to date"}
    helper.write_text(on_main)
    assert plan(text) == {"01_a": "up to date"}


def test_another_version_of_a_package(
    project: Project, run: Run, plan: PlanOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = tmp_path / "site"
    (site / "abacus-1.0.0.dist-info").mkdir(parents=True)
    (site / "abacus.py").write_text("beads = 10")
    metadata = "Metadata-Version: 2.1\nName: abacus\nVersion: 1.0.0\n"
    (site / "abacus-1.0.0.dist-info" / "METADATA").write_text(metadata)
    (site / "abacus-1.0.0.dist-info" / "RECORD").write_text("abacus.py,,\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.syspath_prepend(str(site))
    # Another process would look at the packages anew.
    monkeypatch.setattr(
        "taxi_nb.pipeline._recorded_inputs.packages_with_modules",
        packages_with_modules.__wrapped__,
    )
    project.notebook("01_a", "import abacus\nprint(abacus.beads)")
    project.notebook("02_b", "print('no beads')")
    text = "steps: [{notebook: 01_a}, {notebook: 02_b}]"
    run(text)
    assert set(plan(text).values()) == {"up to date"}
    (site / "abacus-1.0.0.dist-info").rename(site / "abacus-1.0.1.dist-info")
    assert plan(text) == {"01_a": "will run: abacus 1.0.0 -> 1.0.1", "02_b": "up to date"}


def test_what_failed_runs_again_and_says_so(project: Project, run: Run, plan: PlanOf) -> None:
    flag = project.root / "flag"
    project.notebook("01_a", "print('a')")
    project.notebook("02_b", f"import os\nassert os.path.exists({str(flag)!r})")
    text = "steps: [{notebook: 01_a}, {notebook: 02_b}]"
    assert run(text)[0].status is Status.FAILED
    assert plan(text) == {"01_a": "up to date", "02_b": "will run: last time failed"}
    flag.touch()
    record, _ = run(text)
    assert statuses(record) == {"01_a": Status.CACHED, "02_b": Status.OK}


def test_deleted_results_are_made_again(
    project: Project, run: Run, plan: PlanOf, store: str
) -> None:
    project.notebook("01_a", "print('a')")
    text = "steps: [{notebook: 01_a}]"
    record, folder = run(text)
    kept = folder.with_name("kept")
    folder.rename(kept)
    assert plan(text) == {"01_a": "will run: its executed notebook is gone"}
    kept.rename(folder)
    with (folder / "01_a.ipynb").open("r+b") as file:
        file.truncate(100)
    changed = f"will run: its executed notebook in {folder.name} changed since"
    assert plan(text) == {"01_a": changed}
    shutil.rmtree(folder)
    record, folder = run(text)
    from mlflow import MlflowClient

    MlflowClient(store).delete_run(str(step(record, "01_a").mlflow_run_id))
    assert plan(text) == {"01_a": "will run: its MLflow run is gone"}
    (project.root / "mlflow.db").unlink()
    assert plan(text) == {"01_a": "will run: its MLflow run is gone"}


def test_what_is_damaged_is_made_again(project: Project, run: Run, plan: PlanOf) -> None:
    project.notebook("01_a", "import mlflow\nmlflow.log_text('some', 'some.txt')\nprint('a')")
    text = "steps: [{notebook: 01_a}]"
    _, folder = run(text)
    notebook = folder / "01_a.ipynb"
    content = notebook.read_bytes()
    notebook.write_bytes(bytes(len(content)))
    assert plan(text) == {"01_a": f"will run: its executed notebook in {folder.name} changed since"}
    notebook.write_bytes(content)
    assert plan(text) == {"01_a": "up to date"}
    (project.root / "mlartifacts").rename(project.root / "elsewhere")
    assert "its artifacts are gone or not whole: mlartifacts/" in plan(text)["01_a"]
    (project.root / "elsewhere").rename(project.root / "mlartifacts")
    assert plan(text) == {"01_a": "up to date"}
    next((project.root / "mlartifacts").rglob("some.txt")).write_text("")
    assert "some.txt" in plan(text)["01_a"]
    _, folder = run(text)
    assert plan(text) == {"01_a": "up to date"}
    assert notebook.read_bytes() == content


def test_results_of_older_commits_count_while_they_are_whole(ran: Ran) -> None:
    for kept in ran.file("runs/.results/keys").rglob("*.json"):
        known = json.loads(kept.read_text())
        left = {k: known[k] for k in known if k not in ("digests", "artifacts")}
        kept.write_text(json.dumps(left))
    assert ran.changed() == {}
    notebook = ran.folder / "plain.ipynb"
    notebook.write_bytes(bytes(notebook.stat().st_size))
    assert ran.changed() == {"plain": "will run: its executed notebook is not whole"}
    notebook.unlink()


def test_results_belong_to_a_store_and_an_experiment(
    project: Project, run: Run, plan: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.notebook("01_a", "print('a')")
    run("experiment: one\nsteps: [{notebook: 01_a}]")
    assert plan("experiment: two\nsteps: [{notebook: 01_a}]") == {
        "01_a": "will run: experiment one -> two"
    }
    shutil.copy(project.root / "mlflow.db", project.root / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project.root}/other.db")
    assert "will run: store sqlite" in plan("experiment: one\nsteps: [{notebook: 01_a}]")["01_a"]


def test_forced_steps_run_and_what_needs_them(project: Project, run: Run, plan: PlanOf) -> None:
    project.notebook("01_a", "print('a')")
    project.notebook("02_b", "print('b')")
    text = "steps: [{notebook: 01_a}, {notebook: 02_b, needs: [01_a]}]"
    run(text)
    forced = "will run: forced"
    assert plan(text, force=("02_b",)) == {"01_a": "up to date", "02_b": forced}
    assert plan(text, force=("01_a",))["02_b"] == "will run: needs 01_a, which will run"
    assert set(plan(text, force=(EVERY_STEP,)).values()) == {forced}
    with pytest.raises(UnknownStepError, match="no step named '01_aa'; did you mean '01_a'"):
        plan(text, force=("01_aa",))


def test_a_notebook_edited_while_it_runs_is_run_again(
    project: Project, run: Run, plan: PlanOf
) -> None:
    path = project.notebook("01_a", "print('a')")
    replace = f"import shutil\nshutil.copy({str(path.with_name('02_b.ipynb'))!r}, {str(path)!r})"
    edit(path, 2, replace)
    project.notebook("02_b", "print('edited')")
    text = "steps: [{notebook: 01_a}]"
    assert run(text)[0].status is Status.OK
    assert plan(text) == {"01_a": "will run: last time its notebook was edited while it ran"}


def test_a_file_that_changes_while_a_step_runs_is_never_taken_for_what_was_read(
    project: Project, run: Run, plan: PlanOf
) -> None:
    (project.root / "numbers.csv").write_text("1")
    writes = "import subprocess\nsubprocess.run('echo 2 >> ../numbers.csv', shell=True, check=True)"
    project.notebook("01_a", READS, writes)
    text = "steps: [{notebook: 01_a}]"
    run(text)
    assert plan(text) == {"01_a": "will run: numbers.csv changed while it was used"}


def test_a_step_whose_record_is_lost_runs_again(project: Project, run: Run, plan: PlanOf) -> None:
    lose = (
        "from pathlib import Path\n"
        "for record in Path('../runs').resolve().glob('*/.*.inputs.jsonl'):\n    record.unlink()"
    )
    project.notebook("01_a", lose)
    text = "steps: [{notebook: 01_a}]"
    assert run(text)[0].status is Status.OK
    assert plan(text) == {"01_a": "will run: last time its inputs could not be recorded"}


def test_the_inputs_of_a_step_are_kept_beside_its_notebook(
    project: Project, run: Run, helper: Path
) -> None:
    (project.root / "numbers.csv").write_text("1")
    project.notebook("01_a", "import helper, pandas", READS, parameters="x: int = 1")
    record, folder = run("steps: [{notebook: 01_a}]")
    inputs = json.loads((folder / str(step(record, "01_a").inputs)).read_text())
    assert inputs["parameters"] == {"x": 1}
    assert set(inputs["cells"]) == {"2", "3"}
    assert set(inputs["modules"]) == {"helper.py"}
    assert set(inputs["modules"]["helper.py"]) == {"FACTOR", "double"}
    assert set(inputs["files"]) == {"numbers.csv"}
    assert {"python", "pandas", "numpy"} <= set(inputs["packages"])


def test_a_half_written_result_is_no_result_nor_one_whose_inputs_are_something_else(
    project: Project, run: Run, plan: PlanOf
) -> None:
    project.notebook("01_a", "print('a')")
    text = "steps: [{notebook: 01_a}]"
    run(text)
    (kept,) = (project.root / "runs" / ".results" / "keys").rglob("*.json")
    whole = kept.read_text()
    strange: list[object] = [None, [], 5, "x", True, {"modules": 5}]
    others = [json.dumps({**json.loads(whole), "inputs": inputs}) for inputs in strange]
    for damaged in (*others, whole[:50]):
        kept.write_text(damaged)
        assert plan(text)["01_a"].startswith("will run: ")
    assert run(text)[0].status is Status.OK
    assert plan(text) == {"01_a": "up to date"}


def test_what_results_have_in_common_is_kept_once_and_damaged_it_is_no_result(
    project: Project, run: Run, plan: PlanOf, helper: Path
) -> None:
    project.notebook("01_a", "import helper\nprint(helper.FACTOR)")
    text = "steps: [{notebook: 01_a}, {notebook: 01_a, name: again}]"
    run(text)
    parts = sorted((project.root / "runs" / ".results" / "parts").iterdir())
    assert len(parts) == 2  # The modules, and the packages.
    whole = [part.read_bytes() for part in parts]
    for damaged in (whole[0][:-10], whole[0].replace(b":", b";", 1), b""):
        parts[0].write_bytes(damaged)
        assert all(said.startswith("will run: ") for said in plan(text).values())
    parts[0].unlink()
    parts[0].symlink_to(project.root / "helper.py")
    record, _ = run(text)
    assert [step.status for step in record.steps] == [Status.OK] * 2
    assert [part.read_bytes() for part in parts] == whole
    assert plan(text) == {"01_a": "up to date", "again": "up to date"}
    parts[0].unlink()
    parts[0].mkdir()  # Then results say themselves what they would have in common.
    assert [step.status for step in run(text)[0].steps] == [Status.OK] * 2
    assert plan(text) == {"01_a": "up to date", "again": "up to date"}


@pytest.mark.slow
def test_an_upstream_run_that_turns_into_another_kind_is_noticed(
    project: Project, run: Run, store: str
) -> None:
    asks = (
        "from taxi_nb.tracking.inputs import used_runs\nused_runs('training', {})\nprint('asked')"
    )
    project.notebook("01_a", "print('a')")
    project.notebook("02_b", asks)
    text = "steps: [{notebook: 01_a}, {notebook: 02_b}]"
    run(text)
    path = project.notebook("01_a", "print('a', 2)")
    assert statuses(run(text)[0]) == {"01_a": Status.OK, "02_b": Status.CACHED}
    edit(path, 2, "import mlflow\nmlflow.set_tag('taxi_nb.kind', 'training')")
    record, _ = run(text)
    assert statuses(record) == {"01_a": Status.OK, "02_b": Status.OK}
    assert step(record, "02_b").reason == "needs 01_a, which ran since"


def test_planning_does_not_wait_for_a_writer_of_the_store(ran: Ran, ran_once: Path) -> None:
    with closing(sqlite3.connect(ran_once / "mlflow.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert ran.changed() == {}
        writer.execute("ROLLBACK")

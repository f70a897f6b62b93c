"""Results that machines share: another checkout of the project runs nothing, or says why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from taxi_nb.pipeline.kernels.pool import KernelPool
from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.object_store import ObjectStoreError
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.plan import plan
from taxi_nb.pipeline.planned import Plan
from taxi_nb.pipeline.record import RunRecord, Status
from taxi_nb.pipeline.run import run_pipeline
from taxi_nb.tracking.file_addresses import sqlite_address
from tests.conftest import Bucket, Project
from tests.running import CommandLine, Listener

STEPS = "steps: [{notebook: 01_a}, {notebook: 02_b}]"
WRITES = "open('../made.txt', 'w').write(str(x * 2))\nprint('made')"
READS = "print('read', open('../made.txt').read())"


class Machines:
    """Checkouts of one project that share an MLflow store and a place for results."""

    def __init__(self, folder: Path, pool: KernelPool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.pool = pool
        self._patch = monkeypatch
        self.problems: dict[str, str] = {}

    def checkout(self, name: str, *, x: int = 21, writes: str = WRITES) -> Project:
        """Make a fresh checkout."""
        # The folder's name is the experiment's: all have the same.
        made = Project(self.folder / name / "project")
        made.notebook("01_a", writes, parameters=f"x: int = {x}")
        made.notebook("02_b", READS)
        made.pipeline(STEPS)
        return made

    def plan(self, project: Project) -> tuple[Memory, Plan]:
        self._patch.setenv("TAXI_NB_ROOT", str(project.root))
        self._patch.chdir(project.root)
        pipeline = read_pipeline(project.root / "params" / "test.yaml", project.root)
        return (memory := Memory(pipeline)), plan(pipeline, memory)

    def run(self, project: Project) -> RunRecord:
        memory, made = self.plan(project)
        record, _ = run_pipeline(
            memory.pipeline, pool=self.pool, listener=Listener(), planned=(memory, made)
        )
        self.problems = memory.not_shared
        return record


@pytest.fixture
def machines(
    tmp_path: Path, empty_store: Path, warm_pool: KernelPool, monkeypatch: pytest.MonkeyPatch
) -> Machines:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_address(tmp_path / "mlflow.db"))
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    monkeypatch.setenv("TAXI_NB_RESULTS", str(tmp_path / "results"))
    return Machines(tmp_path, warm_pool, monkeypatch)


def statuses(record: RunRecord) -> list[Status]:
    return [step.status for step in record.steps]


def objects(place: Path) -> list[Path]:
    return sorted(path for path in (place / "files").rglob("*") if path.is_file())


def test_another_checkout_runs_nothing_and_has_the_files(machines: Machines) -> None:
    first = machines.run(machines.checkout("ada's"))
    assert statuses(first) == [Status.OK, Status.OK]

    other = machines.checkout("a checkout elsewhere")
    said = str(machines.plan(other)[1]).splitlines()
    assert said[0].startswith("01_a  up to date (shared by ")
    assert said[-1] == "nothing will run"
    assert not (other.root / "made.txt").exists()  # A plan changes nothing.

    second = machines.run(other)
    assert statuses(second) == [Status.CACHED, Status.CACHED]
    assert [s.mlflow_run_id for s in second.steps] == [s.mlflow_run_id for s in first.steps]
    assert (other.root / "made.txt").read_text() == "42"
    folder = other.root / "runs" / second.id
    assert "read 42" in (folder / "02_b.ipynb").read_text()
    assert "shared by" in (folder / "index.html").read_text()
    # What was fetched is as good as one's own, also where the place can no longer be reached.
    shutil.rmtree(machines.folder / "results")
    assert machines.plan(other)[1].summary == "nothing will run"


@pytest.mark.slow
def test_what_differs_runs_and_says_why(machines: Machines) -> None:
    machines.run(machines.checkout("one"))
    another_value = machines.checkout("another value", x=4)
    _, made = machines.plan(another_value)
    assert [planned.reason for planned in made.steps] == ["never ran", "made.txt is gone"]
    assert statuses(machines.run(another_value)) == [Status.OK, Status.OK]
    assert (another_value.root / "made.txt").read_text() == "8"


def test_a_result_of_another_mlflow_store_is_not_taken(
    machines: Machines, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines.run(machines.checkout("one"))
    shutil.copy(empty_store, machines.folder / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_address(machines.folder / "other.db"))
    _, made = machines.plan(machines.checkout("two"))
    assert made.steps[0].reason.startswith("its MLflow run is not in sqlite:///")


def test_what_is_gone_is_said_by_the_plan(machines: Machines) -> None:
    machines.run(machines.checkout("one"))
    for file in objects(machines.folder / "results"):
        file.unlink()
    _, made = machines.plan(machines.checkout("two"))
    assert "is not whole: run:executed_notebook is gone or cut short" in made.steps[0].reason


def test_what_is_damaged_is_not_used_and_its_step_runs(
    machines: Machines, taxi_nb: CommandLine
) -> None:
    machines.run(machines.checkout("one"))
    for file in objects(machines.folder / "results"):
        file.write_bytes(b"x" * file.stat().st_size)
    two = machines.checkout("two")
    record = machines.run(two)
    assert statuses(record) == [Status.OK, Status.OK]
    assert "is damaged" in (record.steps[0].reason or "")
    assert (two.root / "made.txt").read_text() == "42"

    place = ("--results", str(machines.folder / "results"))
    code, out, err = taxi_nb("results", "check", *place)
    assert code == 1
    assert "is not whole: run:executed_notebook is gone or damaged" in err
    # The new results are whole: what they have in common with the damaged ones was written again.
    assert out == "4 results, 2 damaged\n"
    pruned = taxi_nb("results", "prune", "--damaged", *place)
    assert pruned[:2] == (0, "removed 2 results and 0 files\n")  # Files are left for a day.
    assert taxi_nb("results", "check", *place)[:2] == (0, "2 results, 0 damaged\n")
    assert taxi_nb("results", "list", *place)[1].count("shared by") == 2


@pytest.mark.slow
def test_two_that_finish_the_same_step_at_once_share_it_and_a_third_goes_on(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = machines.folder / "results"
    first = machines.run(machines.checkout("one"))
    place.rename(machines.folder / "aside")
    machines.run(machines.checkout("two"))
    for file in (machines.folder / "aside").rglob("*.json"):
        shutil.copy(file, place / file.relative_to(machines.folder / "aside"))
    shutil.copytree(machines.folder / "aside", place, dirs_exist_ok=True)
    third = machines.run(machines.checkout("three"))
    assert statuses(third) == [Status.CACHED, Status.CACHED]
    assert {s.executed_in or s.reused_from for s in third.steps} == {first.id}


@pytest.mark.parametrize("path", ["../taxi.py", "../params/other.yaml"])
def test_a_result_that_would_bring_code_is_not_shared(machines: Machines, path: str) -> None:
    record = machines.run(machines.checkout("one", writes=f"open({path!r}, 'w').write('1 + 1')"))
    assert record.steps[0].status is Status.OK
    assert "hidden, settings or code" in machines.problems["01_a"]


def test_a_result_that_somebody_made_to_bring_code_is_not_taken(machines: Machines) -> None:
    machines.run(machines.checkout("one"))
    for file in (machines.folder / "results" / "results").rglob("*.json"):
        file.write_text(file.read_text().replace("made.txt", "../made.py"))
    _, made = machines.plan(machines.checkout("two"))
    assert "cannot be read" in made.steps[0].reason


def test_a_place_that_cannot_be_written_to_is_said_before_anything_runs(
    machines: Machines, taxi_nb: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machines.folder / "file").write_text("no folder")
    monkeypatch.setenv("TAXI_NB_RESULTS", str(machines.folder / "file"))
    project = machines.checkout("one")
    monkeypatch.setenv("TAXI_NB_ROOT", str(project.root))
    code, out, err = taxi_nb("run", "params/test.yaml")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert str(machines.folder / "file") in err
    assert "cannot be used" in err


@pytest.mark.slow
def test_a_bucket_is_such_a_place_and_its_end_costs_no_result(
    machines: Machines, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAXI_NB_RESULTS", "s3://trips/results")
    machines.run(machines.checkout("one"))
    assert statuses(machines.run(machines.checkout("two"))) == [Status.CACHED, Status.CACHED]

    three = machines.checkout("three", x=5)
    memory, made = machines.plan(three)
    bucket.server.stop()
    record, _ = run_pipeline(
        memory.pipeline, pool=machines.pool, listener=Listener(), planned=(memory, made)
    )
    assert statuses(record) == [Status.OK, Status.OK]
    assert "s3://trips/results cannot be used" in memory.not_shared["01_a"]
    with pytest.raises(ObjectStoreError, match="s3://trips/results cannot be used"):
        machines.plan(machines.checkout("four"))


def test_keys_are_the_same_wherever_a_checkout_lies(machines: Machines) -> None:
    def keys(project: Project) -> list[str]:
        memory, _ = machines.plan(project)
        return [memory.inputs_before(step).shared_key for step in memory.pipeline.steps]

    here, there = machines.checkout("here"), machines.checkout("there")
    for notebook in (there.root / "notebooks").iterdir():
        notebook.write_bytes(notebook.read_bytes().replace(b"\n", b"\r\n"))
    assert keys(here) == keys(there)

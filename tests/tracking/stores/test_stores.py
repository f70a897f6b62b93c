"""The stores that people use: many processes at once, artifacts in a bucket, stores that end."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from taxi_nb.pipeline.kernels.pool import KernelPool
from taxi_nb.pipeline.memory import Memory
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.plan import plan
from taxi_nb.pipeline.run import run_pipeline
from taxi_nb.pipeline.spec import Pipeline
from taxi_nb.tracking.run import tracked_run
from taxi_nb.tracking.store_errors import StoreError
from taxi_nb.tracking.stored_runs import finished_runs
from taxi_nb.training.used_trips import log_trips
from taxi_nb.trips.errors import MissingMonthError
from taxi_nb.trips.loading import load_trips
from taxi_nb.trips.origin import provenance
from tests.conftest import Project, runs_of_every_kind, sample_file
from tests.running import CommandLine, Listener, wait_for
from tests.tracking.stores.servers import PASSWORD, Postgresql, Server
from tests.warm import WarmPython

pytestmark = pytest.mark.slow

PROCESSES, RUNS, STEPS = 8, 2, 5


@pytest.fixture(scope="module", autouse=True)
def start_early(starting_server: Server) -> None:
    """Let the tracking server start while other stores are tried."""


@pytest.fixture(scope="session")
def processes() -> Any:
    """Processes that have imported MLflow: it takes seconds, and eight of them share two cores."""
    context = multiprocessing.get_context("forkserver")
    stores = ["mlflow.store.tracking.sqlalchemy_store", "mlflow.store.tracking.rest_store"]
    used = [
        "mlflow.tracing.provider",
        "alembic.command",
        "psycopg",
        "git",
        "IPython",
        "mlflow.data.pandas_dataset",
    ]
    trips = ["taxi_nb.trips.loading", "mlflow.data.filesystem_dataset_source"]
    context.set_forkserver_preload([*stores, *used, *trips, __name__])
    return context


@pytest.fixture(params=["sqlite", "postgresql", "server"])
def empty_store_of_a_kind(
    request: pytest.FixtureRequest, project: Project, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A store that nobody has used; its address."""
    if request.param == "sqlite":
        address = f"sqlite:///{project.root}/mlflow.db"
    elif request.param == "postgresql":
        address = request.getfixturevalue("postgresql").database("met_by_eight")
        monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "artifacts")
    else:
        address = request.getfixturevalue("server_address")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


def log_runs(environment: dict[str, str], process: int, trips: Any, together: Any) -> None:
    """Log what a notebook logs, as one of the eight."""
    os.environ.update(environment)
    import mlflow

    together.wait()
    for number in range(RUNS):
        name = f"{process}-{number}"
        with tracked_run(name, params={"process": process, "number": number}):
            for step in range(STEPS):
                mlflow.log_metric("loss", process + step / 10, step=step)
            mlflow.log_text(f"by {name}", "note.txt")
            if number == 0:
                together.wait()  # A data set that the store does not know yet.
            log_trips(trips, "training")


def test_eight_processes_meet_an_empty_store_and_nothing_is_lost(
    empty_store_of_a_kind: str, processes: Any, project: Project
) -> None:
    trips = load_trips("green", ["2021-01"], "sample", sample_rows=300)
    together = processes.Barrier(PROCESSES, timeout=60)
    started = [
        processes.Process(
            target=log_runs, args=(dict(os.environ), number, trips, together), daemon=True
        )
        for number in range(PROCESSES)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0] * PROCESSES
    assert logged() == {
        f"{process}-{number}": {
            "status": "FINISHED",
            "params": {"process": str(process), "number": str(number)},
            "data": [provenance(trips).title],
            "loss": [process + step / 10 for step in range(STEPS)],
            "note": f"by {process}-{number}",
        }
        for process in range(PROCESSES)
        for number in range(RUNS)
    }


def logged() -> dict[str, Any]:
    """Return what the store has, run by run; a name that is there twice fails the test."""
    import mlflow

    from taxi_nb.tracking.store import connect, experiment_name

    experiment = connect()
    client: Any = mlflow.MlflowClient()
    assert [e.name for e in client.search_experiments()] == [experiment_name(), "Default"]
    found = {}
    for run in client.search_runs([experiment]):
        assert run.info.run_name not in found
        history = client.get_metric_history(run.info.run_id, "loss")
        found[run.info.run_name] = {
            "status": run.info.status,
            "params": {name: run.data.params[name] for name in ("process", "number")},
            "data": [used.dataset.name for used in run.inputs.dataset_inputs],
            "loss": [metric.value for metric in history],
            "note": mlflow.artifacts.load_text(f"{run.info.artifact_uri}/note.txt"),
        }
    return found


def test_planning_asks_a_server_and_its_database_the_same(
    mlflow_server: Server, server_address: str, postgresql: Postgresql
) -> None:
    runs = runs_of_every_kind(server_address)
    asked = list(runs.values())
    assert finished_runs(postgresql.address("served"), asked) == {runs["finished"]}
    # Servers give runs of deleted experiments; nobody looks at them there.
    asked.remove(runs["of a deleted experiment"])
    assert finished_runs(server_address, asked) == {runs["finished"]}


def test_a_bucket_holds_large_artifacts_and_months(
    postgresql: Postgresql,
    bucket: Any,
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgresql.database("of_large_artifacts"))
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://artifacts/large/")
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(20_000_000))
    with tracked_run("large") as run:
        mlflow.log_artifact(str(large), "data")
        mlflow.log_text("small", "data/small.txt")
    stored = bucket.Object(f"large/{run.info.run_id}/artifacts/data/large.bin")
    # A bucket names how many parts a file came in.
    assert stored.e_tag.endswith('-3"')
    listed = mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="data")
    assert {(f.path, f.file_size) for f in listed} == {
        ("data/large.bin", 20_000_000),
        ("data/small.txt", 5),
    }
    # Fetched in ranges, as what is larger than 8 MB is.
    again = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/data/large.bin")
    assert Path(again).read_bytes() == large.read_bytes()
    part = stored.get(Range="bytes=19999990-19999999")["Body"].read()
    assert part == large.read_bytes()[-10:]

    bucket.upload_file(sample_file(project.root, rows=300), "trips/green_tripdata_2021-01.parquet")
    monkeypatch.setenv("AWS_ENDPOINT_URL", os.environ["MLFLOW_S3_ENDPOINT_URL"])
    trips = load_trips("green", ["2021-01"], "s3://artifacts/trips")
    assert provenance(trips).source == "s3://artifacts/trips"
    with pytest.raises(MissingMonthError, match="months of green there: 2021-01"):
        load_trips("green", ["2021-02"], "s3://artifacts/trips")


TWO_STEPS = """
experiment: in-two-steps
artifact_root: s3://artifacts/team
steps:
  - notebook: 01_make
  - notebook: 02_use
"""
MAKE = """
import shutil
import tempfile

import mlflow
from taxi_nb.tracking import inputs
from taxi_nb import log_trips, tracked_run

with tracked_run(), tempfile.TemporaryDirectory() as folder:
    mlflow.log_metric("made", 1)
    mlflow.log_text("x" * 1000, "big/made.txt")
    with inputs.not_inputs():  # As a model takes the package's code along.
        shutil.copy(inputs.__file__, f"{folder}/inputs.py")
        mlflow.log_artifacts(folder, "code")
"""
USE = """
import mlflow
from taxi_nb.tracking.store import connect; from taxi_nb.tracking.upstream import upstream_runs

connect()
run_id = upstream_runs()["01_make"]
print(len(mlflow.artifacts.load_text(f"runs:/{run_id}/big/made.txt")), mlflow.get_tracking_uri())
"""


@pytest.fixture
def two_steps(
    project: Project, postgresql: Postgresql, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """A pipeline whose runs go to PostgreSQL and whose artifacts to a bucket."""
    name = f"db_{project.root.parent.name}"
    uri = postgresql.database("".join(c if c.isalnum() else "_" for c in name).lower()[:60])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "")
    project.notebook("01_make", MAKE)
    project.notebook("02_use", USE)
    return read_pipeline(project.pipeline(TWO_STEPS), project.root)


def assert_no_password_in(*folders: Path) -> None:
    secrets = [PASSWORD.encode(), quote(PASSWORD, safe="").encode()]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets), path


class _At(Listener):
    """Does something when a step's cell starts, and then lets the cell go on."""

    def __init__(self, name: str, cell: int, do: Callable[[], None], go_on: Path) -> None:
        super().__init__()
        self.when, self.do, self.go_on = (name, cell), do, go_on

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        if (name, cell) == self.when:
            self.do()
            self.go_on.touch()


WAIT = """
import time
from pathlib import Path

Path("../started").touch()
while not Path("../go_on").exists():
    time.sleep(0.02)
"""


def test_a_pipeline_on_postgresql_and_a_bucket_outlives_a_restart_between_two_calls(
    two_steps: Pipeline,
    warm_pool: KernelPool,
    postgresql: Postgresql,
    bucket: Any,
    project: Project,
) -> None:
    def restart() -> None:
        postgresql.server.stop()
        postgresql.server.start()
        postgresql.server.wait()

    late = "mlflow.log_metric('after', 2, run_id=mlflow.last_active_run().info.run_id)"
    project.notebook("01_make", MAKE, WAIT, late)
    at_restart = _At("01_make", 3, restart, project.root / "go_on")
    record, folder = run_pipeline(two_steps, pool=warm_pool, listener=at_restart)
    assert record.status.is_good, record.steps
    assert record.steps[0].metrics == {"made": 1, "after": 2}
    assert "1000 postgresql://taxi@127.0.0.1" in (folder / "02_use.ipynb").read_text()
    run_ids = [str(step.mlflow_run_id) for step in record.steps]
    kept = {item.key: item.get()["Body"].read() for item in bucket.objects.filter(Prefix="team/")}
    assert f"team/{run_ids[0]}/artifacts/big/made.txt" in kept
    assert f"team/{run_ids[1]}/artifacts/notebook/02_use.ipynb" in kept
    assert_no_password_in(project.root)
    assert not any(PASSWORD.encode() in content for content in kept.values())
    assert not plan(two_steps, Memory(two_steps)).will_run
    assert finished_runs(os.environ["MLFLOW_TRACKING_URI"], run_ids) == set(run_ids)


def test_postgresql_that_ends_while_a_step_works_costs_no_result(
    two_steps: Pipeline, warm_pool: KernelPool, postgresql: Postgresql, project: Project
) -> None:
    project.notebook("01_make", MAKE, WAIT, "print('what a night brought')")
    at_end = _At("01_make", 3, postgresql.server.stop, project.root / "go_on")
    try:
        with pytest.raises(StoreError, match=r"cannot be used: .*Connection refused") as raised:
            run_pipeline(two_steps, pool=warm_pool, listener=at_end)
    finally:
        postgresql.server.start()
        postgresql.server.wait()
    folder = project.root / "runs" / "latest"
    assert str(folder.resolve()) in str(raised.value)
    assert_the_first_step_is_kept(folder, "what a night brought")
    assert_no_password_in(project.root)


def test_artifacts_that_cannot_be_kept_are_told_before_a_notebook_runs(
    two_steps: Pipeline, warm_pool: KernelPool, project: Project
) -> None:
    elsewhere = replace(two_steps, artifact_root="s3://no-such-bucket/team")
    with pytest.raises(StoreError, match=r"cannot be read or written: .*NoSuchBucket") as raised:
        run_pipeline(elsewhere, pool=warm_pool, listener=Listener())
    assert "\n" not in str(raised.value)
    with pytest.raises(StoreError, match="artifact_root"):
        # The experiment that the first attempt made keeps its place.
        run_pipeline(two_steps, pool=warm_pool, listener=Listener())
    assert not list((project.root / "runs").rglob("*.ipynb"))


def assert_the_first_step_is_kept(folder: Path, shown: str) -> None:
    assert shown in (folder / "01_make.ipynb").read_text()
    record = json.loads((folder / "run.json").read_text())
    first, second = record["steps"]
    assert record["status"] == "failed"
    assert (first["status"], second["status"]) == ("failed", "skipped")
    assert "cannot be used" in first["error"]["message"]
    assert first["executed_notebook"] == "01_make.ipynb"
    assert "cannot be used" in (folder / "index.html").read_text()


def test_a_server_that_ends_while_a_step_works_costs_no_result(
    project: Project,
    mlflow_server: Server,
    server_address: str,
    monkeypatch: pytest.MonkeyPatch,
    warm_python: WarmPython,
) -> None:
    # The last test: it leaves no server behind.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server_address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    project.notebook("01_make", MAKE, WAIT, "with tracked_run('late'):\n    pass")
    project.notebook("02_use", USE)
    project.pipeline(TWO_STEPS.replace("artifact_root: s3://artifacts/team", ""))
    process = CommandLine(project.root, warm_python).fork("run", "params/test.yaml")
    wait_for((project.root / "started").exists)
    mlflow_server.stop(signal.SIGTERM)
    (project.root / "go_on").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"http://127.0.0.1:{mlflow_server.port} cannot be used" in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    assert_the_first_step_is_kept(project.root / "runs" / "latest", "late")
    assert_no_password_in(project.root)
    assert PASSWORD not in out + err

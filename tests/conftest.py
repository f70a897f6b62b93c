"""What all tests share: small projects made in place, an MLflow store of their own.

Fixtures that several rooms need are at home in modules beside this one, and named at its end.
"""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from filelock import FileLock

from taxi_nb.tracking.file_addresses import sqlite_address

REPOSITORY = Path(__file__).resolve().parent.parent

# Set before anything imports mlflow.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["MLFLOW_LOGGING_LEVEL"] = "WARNING"
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "TAXI_NB_DATA_DIR"):
    os.environ.pop(name, None)
os.environ.pop("TAXI_NB_ENGINE", None)
# The tests' processes run side by side: OpenMP's threads would only spin for each other's cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_configure() -> None:
    """Compile the project: where Python is told to write no bytecode, and in a fresh checkout, each
    of hundreds of processes would take a third of a second for it.
    """
    compileall.compile_dir(REPOSITORY / "taxi_nb", quiet=2)


class Project:
    """A folder with notebooks/ and params/, as a user's project has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("notebooks", "params"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def notebook(self, name: str, *cells: str, parameters: str | None = "") -> Path:
        """Write a notebook from its cells; the first is the parameters cell unless None."""
        notebook = nbformat.v4.new_notebook()
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        if parameters is not None:
            cell = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
            notebook.cells.append(cell)
        for source in cells:
            is_markdown = source.startswith("#md ")
            make = nbformat.v4.new_markdown_cell if is_markdown else nbformat.v4.new_code_cell
            notebook.cells.append(make(source.removeprefix("#md ")))
        path = self.root / "notebooks" / f"{name}.ipynb"
        nbformat.write(notebook, path)
        return path

    def pipeline(self, text: str, name: str = "test") -> Path:
        """Write a pipeline file."""
        path = self.root / "params" / f"{name}.yaml"
        path.write_text(text)
        return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long: one that comes last keeps a single worker busy."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project; it is the current one."""
    return current_project(tmp_path / "project", monkeypatch)


def current_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make an empty project and let it be the current one."""
    made = Project(root)
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("TAXI_NB_ROOT", str(made.root))
    return made


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with MLflow's tables and nothing in them: making them takes seconds.

    All workers share it. MLflow's migrations are read once, as in kernels, not for each store.
    """
    from mlflow.store.db import utils
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    made = folder / "empty_store.db"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            part = folder / "empty_store.part"
            SqlAlchemyStore(f"sqlite:///{part}", str(folder / "artifacts")).engine.dispose()
            part.rename(made)
    newest: Any = utils
    newest._get_latest_schema_revision = cache(newest._get_latest_schema_revision)
    return made


@pytest.fixture
def store(project: Project, empty_store: Path) -> Iterator[str]:
    """The project's own store, ready; its address."""
    import mlflow

    shutil.copy(empty_store, project.root / "mlflow.db")
    uri = sqlite_address(project.root / "mlflow.db")
    mlflow.set_tracking_uri(uri)
    yield uri
    while mlflow.active_run():
        mlflow.end_run("FAILED")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_in_the_checkout() -> Iterator[None]:
    """Tests work in folders of their own: a run, a store or data here would be one's mistake."""
    names = ("mlruns", "mlartifacts", "mlflow.db", "mlflow.db.lock", "runs", "data", "out")
    before = {name for name in names if (REPOSITORY / name).exists()}
    yield
    left = {name for name in names if (REPOSITORY / name).exists()} - before
    assert not left, f"tests left in {REPOSITORY}: {', '.join(sorted(left))}"


@pytest.fixture(autouse=True)
def forget_run_and_store() -> Iterator[None]:
    """Tests are not cells of one notebook: none is the child of another's run, or in its store.

    MLflow keeps the store that it was told in the environment, where we look for it.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    os.environ.pop("TAXI_NB_STEP_RUN", None)
    if os.environ.get("MLFLOW_TRACKING_URI") != before:
        import mlflow

        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None: as it was


@pytest.fixture(autouse=True)
def notebooks_are_valid(tmp_path: Path) -> Iterator[None]:
    """Whatever notebook a test wrote has to be valid nbformat."""
    yield
    for path in tmp_path.rglob("*.ipynb"):
        if path.is_symlink() or "broken" in path.name:
            continue
        nbformat.validate(nbformat.read(path, as_version=4))


@contextmanager
def mounted_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of a size such as ``"64k"`` in place of a folder; a skip where that is not allowed."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@dataclass(frozen=True)
class Bucket:
    """The bucket ``trips`` of a server that speaks S3, and a client of it."""

    client: Any
    server: Any


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket served over HTTP; the environment leads to it."""
    server_module = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="trips")
    forget_buckets()
    yield Bucket(client, server)
    server.stop()


def forget_buckets() -> None:
    """Close s3fs's connections: it would ask a server that another test has ended."""
    s3fs = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()


def sample_file(root: Path, rows: int) -> Path:
    """Make a month of the sample below `root` and return its file."""
    from taxi_nb import load_trips, provenance

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXI_NB_ROOT", str(root))
        trips = load_trips("green", ["2021-01"], "sample", sample_rows=rows)
    return Path(provenance(trips).files[0].path)


def runs_of(uri: str, condition: str = "") -> list[Any]:
    """Return all runs of a store, oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(ids, condition, order_by=["attributes.start_time ASC"]))


def runs_of_every_kind(uri: str) -> dict[str, str]:
    """Make runs that a store has, no longer has, or never had: what it is -> its id."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    kept, gone = client.create_experiment("kept"), client.create_experiment("gone")

    def run(experiment: str, status: str | None) -> str:
        run_id = str(client.create_run(experiment).info.run_id)
        if status:
            client.set_terminated(run_id, status)
        return run_id

    made = {
        "finished": run(kept, "FINISHED"),
        "failed": run(kept, "FAILED"),
        "running": run(kept, None),
        "deleted": run(kept, "FINISHED"),
        "of a deleted experiment": run(gone, "FINISHED"),
        "unknown": "0" * 32,
    }
    client.delete_run(made["deleted"])
    client.delete_experiment(gone)
    return made


def texts(path: Path) -> str:
    """Return all the text that an executed notebook shows."""
    shown: list[str] = []
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data: Mapping[str, str] = output.get("data", {})
            parts: Sequence[str] = (
                output.get("text", ""),
                data.get("text/markdown", data.get("text/plain", "")),
                output.get("evalue", ""),
            )
            shown += [part for part in parts if part]
    return "\n".join(shown)


@pytest.fixture(scope="session")
def real_months() -> str:
    """The folder of the TLC's months."""
    beside_the_project = REPOSITORY.parent / "shared" / "data"
    folder = Path(os.environ.get("TAXI_NB_TEST_DATA", beside_the_project)).resolve()
    if not (folder / "green_tripdata_2021-01.parquet").exists():
        pytest.skip(f"no real months in {folder}; TAXI_NB_TEST_DATA can name another folder")
    return str(folder)


from tests.receiving import mail, webhook  # noqa: E402
from tests.running import run, taxi_nb, warm_pool, warm_python  # noqa: E402
from tests.trained_models import (  # noqa: E402
    database_of_three_champions,
    three_champions,
    trained,
    trained_models,
)

__all__ = [
    "database_of_three_champions",
    "mail",
    "run",
    "taxi_nb",
    "three_champions",
    "trained",
    "trained_models",
    "warm_pool",
    "warm_python",
    "webhook",
]

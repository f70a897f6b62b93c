"""Which runs a store has, asked past MLflow: its own stores have to agree."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from taxi_nb.stored_runs import StoreError, finished_runs


@pytest.fixture
def runs(store: str) -> dict[str, str]:
    """Runs of every kind: what it is -> its id."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
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


def test_only_finished_runs_count(store: str, runs: dict[str, str]) -> None:
    assert finished_runs(store, runs.values()) == {runs["finished"]}


def test_other_databases_are_asked_the_same(store: str, runs: dict[str, str]) -> None:
    uri = store.replace("sqlite:", "sqlite+pysqlite:")
    assert finished_runs(uri, list(runs.values())) == {runs["finished"]}


@pytest.fixture
def server(store: str, tmp_path: Path) -> Iterator[str]:
    """A tracking server on that store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(f"{address}/health")
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_it_answers(address: str) -> None:
    end = time.monotonic() + 90
    while time.monotonic() < end:
        try:
            urlopen(address, timeout=5)
            return
        except (URLError, OSError):
            time.sleep(0.1)
    raise AssertionError("the server never answered")


def test_a_tracking_server_is_asked_the_same(server: str, runs: dict[str, str]) -> None:
    # Servers give runs of deleted experiments; nobody looks at them there.
    asked = [run_id for what, run_id in runs.items() if "experiment" not in what]
    assert finished_runs(server, asked) == {runs["finished"]}


def test_a_store_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    assert finished_runs(f"sqlite:///{tmp_path}/none.db", ["1" * 32]) == set()
    assert finished_runs("http://127.0.0.1:9", []) == set()


def test_a_server_that_does_not_answer_is_an_error_without_credentials() -> None:
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 cannot be asked") as raised:
        finished_runs("http://user:secret@127.0.0.1:9", ["1" * 32])
    assert "secret" not in str(raised.value)

"""The champion behind an address on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
import requests
from typer.testing import CliRunner

from taxi_nb.cli import app
from tests.conftest import REPOSITORY, Project
from tests.trained_models import TrainedModels

pytestmark = pytest.mark.slow

ROUTE = {"PULocationID": 74, "DOLocationID": 75, "trip_distance": 1.8}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def address(three_champions: TrainedModels, store: str) -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "taxi_nb", "serve", "--port", str(port)],
        env={**os.environ, "MLFLOW_TRACKING_URI": store},
        start_new_session=True,
    )
    found = f"http://127.0.0.1:{port}"
    try:
        _wait_for(server, f"{found}/ping")
        yield f"{found}/invocations"
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(30)


def _wait_for(server: subprocess.Popen, url: str) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server has ended"
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_the_champion_answers_and_a_wrong_request_is_told_so(
    address: str, three_champions: TrainedModels
) -> None:
    def ask(*records: Any) -> requests.Response:
        return requests.post(address, json={"dataframe_records": list(records)}, timeout=30)

    answer = ask(ROUTE, ROUTE)
    assert answer.status_code == 200, answer.text
    champion = mlflow.sklearn.load_model("models:/nyc-taxi-duration@champion")
    trips = three_champions.validation.head(1).assign(**ROUTE)
    minutes = float(champion.predict(trips)[0])
    assert answer.json() == {"predictions": pytest.approx([minutes, minutes])}

    for wrong in ({"PULocationID": 74}, {**ROUTE, "trip_distance": "far"}):
        refused = ask(wrong)
        assert refused.status_code == 400
        assert "trip_distance" in refused.json()["message"]
    json = {"Content-Type": "application/json"}
    assert requests.post(address, data="?", headers=json, timeout=30).status_code == 400
    assert ask(ROUTE).status_code == 200


def test_without_a_champion_there_is_one_clear_message(
    trained: TrainedModels, three_champions: TrainedModels
) -> None:
    client = mlflow.MlflowClient()
    client.delete_registered_model_alias("nyc-taxi-duration", "champion")
    refused = CliRunner().invoke(app, ["serve", "--port", str(free_port())])
    assert refused.exit_code == 1
    assert "nyc-taxi-duration has no champion" in refused.output
    nothing = CliRunner().invoke(app, ["serve", "--name", "x", "--port", str(free_port())])
    assert nothing.exit_code == 1
    assert "nothing is registered as 'x'; there are nyc-taxi-duration" in nothing.output


def test_a_port_in_use_is_named(store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = CliRunner().invoke(app, ["serve", "--port", str(port)])
    assert refused.exit_code == 2
    assert f"port {port}: Address already in use" in refused.output


def test_a_project_without_a_store_is_not_given_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    refused = CliRunner().invoke(app, ["registry", "list"])
    assert refused.exit_code == 1
    assert "there is no store yet" in refused.output
    assert not (project.root / "mlflow.db").exists()


def test_make_serve_passes_store_and_port_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    shown = subprocess.run(
        ["make", "--print-data-base", "--dry-run", "serve", "PORT=5099"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "taxi-nb serve --port 5099" in shown
    assert "serve: MLFLOW_TRACKING_URI := sqlite:///elsewhere.db" in shown

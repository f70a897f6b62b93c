"""The champion behind an address on this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlflow
import pytest
import requests
from playwright.sync_api import Browser, expect
from typer.testing import CliRunner

from taxi_nb.cli import app
from tests.conftest import REPOSITORY, Project, runs_of
from tests.tracking.stores.servers import free_port
from tests.trained_models import TrainedModels

pytestmark = pytest.mark.slow

ROUTE = {"PULocationID": 74, "DOLocationID": 75, "trip_distance": 1.8}


@contextmanager
def opened(command: str, store: str, *options: str, **variables: str) -> Iterator[str]:
    """The address that a server prints when it answers."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "taxi_nb", command, "--port", str(port), *options],
        env={**os.environ, "MLFLOW_TRACKING_URI": store, **variables},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stderr is not None
    try:
        said = ""
        for line in server.stderr:
            if found := re.search(rf"at (http://127.0.0.1:{port}/\S*)", line):
                # It says so when it answers, and not before.
                assert requests.get(f"http://127.0.0.1:{port}/health", timeout=30).ok
                yield found[1]
                break
            said += line
        else:
            raise AssertionError(f"the server has ended: {said}")
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.stderr.close()
        assert server.wait(30) in (0, 130)


@pytest.fixture
def address(three_champions: TrainedModels, store: str) -> Iterator[str]:
    with opened("serve", store) as found:
        yield found


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

    wrong_trips: dict[str, dict[str, Any]] = {
        "DOLocationID is missing": {"PULocationID": 74},
        "trip_distance must be 0 or more miles, got 'far'": {**ROUTE, "trip_distance": "far"},
        "trip_distance must be 0 or more miles, got -1.8": {**ROUTE, "trip_distance": -1.8},
        "PULocationID must be the number of a zone, 1 to 265, got 999": ROUTE
        | {"PULocationID": 999},
        "DOLocationID must be the number of a zone": ROUTE | {"DOLocationID": 74.5},
    }
    for reason, wrong in wrong_trips.items():
        refused = ask(ROUTE, wrong)
        assert refused.status_code == 400
        assert f"trip 2: {reason}" in refused.json()["message"]

    split: Any = {"columns": ["other", *ROUTE], "data": [[{}, *ROUTE.values()]]}
    again = requests.post(address, json={"dataframe_split": split}, timeout=30)
    assert again.json() == {"predictions": [pytest.approx(minutes)]}

    json = {"Content-Type": "application/json"}
    bodies = {
        "no JSON": b"?",
        "nested too deeply": b"[" * 9_000,
        "brackets": b'{"dataframe_records": [' + b"[]," * 500_000,
        "2,097,152 bytes": b" " * 50_000_000,
        "must be an object with": b"1",
        "1 to 10,000 trips": b'{"dataframe_records": []}',
    }
    for reason, body in bodies.items():
        began = time.monotonic()
        told = requests.post(address, data=body, headers=json, timeout=60)
        assert time.monotonic() - began < 30, reason
        assert told.status_code == 400
        assert reason in told.json()["message"]
    assert ask(ROUTE).status_code == 200

    # Others on this machine reach the port, but have no token.
    bare = address.partition("?")[0]
    asked = {"dataframe_records": [ROUTE]}
    for headers in ({}, {"Authorization": "Bearer x"}, {"Cookie": "taxi_nb=x"}):
        assert requests.post(bare, json=asked, headers=headers, timeout=30).status_code == 401
    bearer = {"Authorization": f"Bearer {address.partition('=')[2]}"}
    assert requests.post(bare, json=asked, headers=bearer, timeout=30).ok
    from_elsewhere = {**bearer, "Origin": "http://127.0.0.1:1"}
    assert requests.post(bare, json=asked, headers=from_elsewhere, timeout=30).status_code == 403
    by_another_name = {**bearer, "Host": "evil.example"}
    assert requests.post(bare, json=asked, headers=by_another_name, timeout=30).status_code == 403


def test_mlflows_pages_open_by_the_printed_address_and_for_nobody_else(
    three_champions: TrainedModels, store: str, browser: Browser
) -> None:
    client = mlflow.MlflowClient()
    with opened("ui", store) as address:
        base = address.partition("/?")[0]
        calls: dict[str, Any] = {
            "registered-models/alias": {"name": "nyc-taxi-duration", "alias": "champion"}
            | {"version": "1"},
            "registered-models/set-tag": {"name": "nyc-taxi-duration", "key": "a", "value": "b"},
        }
        for prefix in ("api", "ajax-api"):
            for call, body in calls.items():
                told = requests.post(f"{base}/{prefix}/2.0/mlflow/{call}", json=body, timeout=60)
                assert told.status_code == 401
        version = client.get_model_version_by_alias("nyc-taxi-duration", "champion")
        assert str(version.version) == "3"

        bearer = {"Authorization": f"Bearer {address.partition('=')[2]}"}
        for path in (
            "api/2.0/mlflow-artifacts/artifacts/x",
            "ajax-api/2.0/mlflow-artifacts/artifacts/x",
            "ajax-api/2.0/mlflow/upload-artifact?run_uuid=1&path=MLmodel",
        ):
            for method in ("PUT", "POST", "DELETE"):
                told = requests.request(method, f"{base}/{path}", headers=bearer, timeout=60)
                assert told.status_code == 403, path

        # A program of mine, and a browser that is given nothing but the address.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_TOKEN", address.partition("=")[2])
            remote = mlflow.MlflowClient(base)
            assert remote.search_registered_models()[0].name == "nyc-taxi-duration"
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        assert "token" not in page.url
        page.goto(f"{base}/#/models")
        expect(page.get_by_text("nyc-taxi-duration").first).to_be_visible(timeout=60_000)
        context.close()
        stranger = browser.new_context()
        told_so = stranger.new_page()
        told_so.goto(f"{base}/#/models")
        expect(told_so.get_by_text("a token is needed")).to_be_visible()
        stranger.close()


def test_a_token_of_ones_own_is_not_printed(three_champions: TrainedModels, store: str) -> None:
    token = "a-token-of-my-own"
    with opened("serve", store, TAXI_NB_TOKEN=token) as address:
        assert token not in address
        bearer = {"Authorization": f"Bearer {token}"}
        trips = {"dataframe_records": [ROUTE]}
        assert requests.post(address, json=trips, headers=bearer, timeout=30).ok
    # What it counted stands in MLflow, also the last, unfinished minute.
    (run,) = runs_of(store, "tags.`taxi_nb.kind` = 'serving'")
    assert run.info.status == "FINISHED"
    assert run.data.metrics["requests"] == 1
    assert run.data.tags["serving.versions"] == "3"


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


def test_a_container_answers_to_its_own_name_as_well_and_still_asks_for_the_token(
    three_champions: TrainedModels, store: str
) -> None:
    with opened("serve", store, "--host", "0.0.0.0") as address:

        def ask(host: str, to: str = address) -> int:
            trips = {"dataframe_records": [ROUTE]}
            return requests.post(to, json=trips, headers={"Host": host}, timeout=30).status_code

        assert ask(socket.gethostname()) == ask("127.0.0.1") == 200
        assert ask("elsewhere.example") == 403
        assert ask("127.0.0.1", to=address.partition("?")[0]) == 401


def test_an_address_of_another_machine_is_a_wrong_argument() -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        done = CliRunner().invoke(app, ["ui", "--host", host, "--port", str(free_port())])
        assert done.exit_code == 2
        assert f"--host {host}: " in done.output

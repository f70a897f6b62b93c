"""A version goes to a team's stores: a tracking server's registry, PostgreSQL with a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from taxi_nb.cli import app
from taxi_nb.registry.copying import copy_version
from taxi_nb.scoring.scored_model import load_scored_model
from taxi_nb.tracking.model_files import noted_files
from taxi_nb.tracking.store_errors import StoreError
from tests.tracking.stores.servers import PASSWORD, Postgresql, running, tracking_server
from tests.trained_models import TrainedModels

pytestmark = pytest.mark.slow

NAME = "nyc-taxi-duration"


def copied(to: str, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["registry", "copy", "3", "--to", to, *arguments])
    assert done.exit_code == 0, done.output
    assert PASSWORD not in done.output
    return done.output


def test_to_a_server_and_on_to_postgresql(
    three_champions: TrainedModels,
    postgresql: Postgresql,
    s3_environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
) -> None:
    client = MlflowClient()
    files = noted_files(client, client.get_model_version(NAME, "3"))
    kept = {"MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path}/server.db"}
    with running(tracking_server(tmp_path, kept)) as server:
        address = f"http://127.0.0.1:{server.port}"
        assert f"version 3 is version 1 in {address}" in copied(address)
        assert f"version 3 was there already, as version 1 in {address}" in copied(address)
        for name, value in s3_environment.items():
            monkeypatch.setenv(name, value)
        database = postgresql.database("copied")
        # It is new: nothing says where artifacts go.
        with pytest.raises(StoreError, match="give --artifact-root, such as s3://bucket/prefix"):
            copy_version("3", database)
        monkeypatch.setenv("PRODUCTION", database)
        copied("env:PRODUCTION", "--artifact-root", "s3://artifacts/production")
        # From a server, too: its version 1 is the same model.
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow.set_tracking_uri(address)
        again = copy_version("1", database)
        assert (again.version, again.is_new) == ("1", False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    from taxi_nb.tracking.store import tracking_uri

    mlflow.set_tracking_uri(tracking_uri())
    there: Any = MlflowClient()
    version = there.get_model_version(NAME, "1")
    assert noted_files(there, version) == files
    assert version.tags["origin.registry"] == store
    assert load_scored_model(f"models:/{NAME}/1").errors["rmse"] > 0
    found = postgresql_texts(postgresql)
    assert NAME in found
    assert PASSWORD not in found


def postgresql_texts(postgresql: Postgresql) -> str:
    """All that the database says of runs and versions."""
    import psycopg

    with psycopg.connect(postgresql.address("copied")) as connection:
        tables = ("tags", "params", "model_version_tags", "model_versions", "runs")
        rows = [
            row
            for table in tables
            for row in connection.execute(f"SELECT * FROM {table}")  # type: ignore[call-overload]
        ]
    return str(rows)

"""A PostgreSQL, a bucket and a tracking server for all tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import forget_buckets
from tests.tracking.stores.servers import (
    PASSWORD,
    Postgresql,
    Server,
    forget_store,
    postgresql_programs,
    postgresql_server,
    running,
    s3_server,
    tracking_server,
)


@pytest.fixture(autouse=True)
def store_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What comes next has a store of its own, and no password."""
    for name in ("PGPASSWORD", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    forget_store()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("NO POSTGRESQL HERE: stores in it are NOT TESTED (apt install postgresql)")
    with postgresql_server(programs) as server:
        yield server


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """A server with the bucket ``artifacts``; the variables that lead to it."""
    pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    with running(s3_server()) as server:
        address = f"http://127.0.0.1:{server.port}"
        keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in keys.items():
                patch.setenv(name, value)
            boto3.client("s3", endpoint_url=address).create_bucket(Bucket="artifacts")
        yield {"MLFLOW_S3_ENDPOINT_URL": address, **keys}


@pytest.fixture
def bucket(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bucket ``artifacts``, as boto3 gives it; the environment leads to it."""
    import boto3

    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    forget_buckets()
    address = s3_environment["MLFLOW_S3_ENDPOINT_URL"]
    return boto3.resource("s3", endpoint_url=address).Bucket("artifacts")


@pytest.fixture(scope="session")
def starting_server(
    postgresql: Postgresql, s3_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A tracking server in front of an empty PostgreSQL and the bucket; it takes seconds."""
    environment = {
        **s3_environment,
        "MLFLOW_BACKEND_STORE_URI": postgresql.database("served"),
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://artifacts/served",
    }
    server = tracking_server(tmp_path_factory.mktemp("server"), environment)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mlflow_server(starting_server: Server) -> Server:
    """The tracking server, when it answers; artifacts go through it."""
    starting_server.wait()
    return starting_server


@pytest.fixture
def server_address(mlflow_server: Server) -> str:
    """The tracking server's address, with a user and a password."""
    return f"http://taxi:{quote(PASSWORD, safe='')}@127.0.0.1:{mlflow_server.port}"

"""Stores before they are used: their addresses, what they need, where artifacts go."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.spec import PipelineFileError
from taxi_nb.tracking._reaching import reach
from taxi_nb.tracking.experiments import artifact_root
from taxi_nb.tracking.store import address_in, connect
from taxi_nb.tracking.store_errors import StoreError
from taxi_nb.tracking.stored_runs import finished_runs
from tests.conftest import Project
from tests.tracking.stores.servers import forget_store

RUN = ["1" * 32]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (
        "MLFLOW_TRACKING_URI",
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_DEFAULT_ARTIFACT_ROOT",
        "PGPASSWORD",
    ):
        # Set first, so that what a test leaves is taken back.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    forget_store()


@pytest.mark.parametrize(
    ("address", "clean", "password"),
    [
        ("postgresql://ann:se%2Fcret@db/mlflow", "postgresql://ann@db/mlflow", "se/cret"),
        ("postgresql+psycopg2://ann:a%40b@db/x", "postgresql+psycopg2://ann@db/x", "a@b"),
        (
            "postgresql://db/x?password=top&sslmode=require",
            "postgresql://db/x?sslmode=require",
            "top",
        ),
        ("postgresql://ann@db:5432/x", "postgresql://ann@db:5432/x", None),
        ("postgresql:///x?host=/run/postgresql", "postgresql:///x?host=/run/postgresql", None),
    ],
)
def test_a_databases_password_leaves_the_address(
    address: str, clean: str, password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert address_in("MLFLOW_TRACKING_URI") == clean
    assert os.environ["MLFLOW_TRACKING_URI"] == clean
    assert os.environ.get("PGPASSWORD") == password
    # Asked again it stays what it is.
    assert address_in("MLFLOW_TRACKING_URI") == clean
    assert os.environ.get("PGPASSWORD") == password


def test_a_password_of_which_nobody_knows_the_end_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ann:half@secret@db/x")
    with pytest.raises(StoreError, match=r"postgresql://db/x: .* must be written %40") as raised:
        address_in("MLFLOW_TRACKING_URI")
    assert "secret" not in str(raised.value)


def test_a_servers_password_leaves_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:se%2Fcret@mlflow.example/team")
    assert address_in("MLFLOW_TRACKING_URI") == "https://mlflow.example/team"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "ann"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "se/cret"


@pytest.mark.parametrize(
    "address",
    ["sqlite:////tmp/a:b@c.db", "file:///tmp/x", "databricks", "http://token@mlflow.example"],
)
def test_other_addresses_are_left_alone(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert address_in("MLFLOW_TRACKING_URI") == address


def test_no_address_is_none() -> None:
    assert address_in("MLFLOW_TRACKING_URI") is None


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://u:secret@127.0.0.1:9", r"http://127\.0\.0\.1:9 .*no server answers there"),
        ("postgresql://u:secret@127.0.0.1:9/x", r"//127\.0\.0\.1:9/x .*Connection refused"),
        ("postgres://u:secret@db/x", "write postgresql:// for postgres://"),
        ("mysql+pymysql://u:secret@127.0.0.1:9/x", "No module named 'pymysql'"),
        ("nosuch://u:secret@db/x", "nosuch"),
        ("postgresql://u:secret@db:port/x", "its address cannot be read"),
    ],
)
def test_a_store_that_cannot_be_reached_is_told_at_once(address: str, told: str) -> None:
    with pytest.raises(StoreError, match=told) as raised:
        reach(address)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a package look as if it were not installed."""
    monkeypatch.setitem(sys.modules, package, None)


def test_without_the_driver_the_extra_is_named(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("psycopg", monkeypatch)
    address = "postgresql://u:secret@127.0.0.1:9/x"
    message = r"postgresql://127\.0\.0\.1:9/x needs psycopg: pip install 'taxi-nb\[postgres\]'$"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(StoreError, match=message):
        connect()
    with pytest.raises(StoreError, match=message):
        finished_runs(address, RUN)


def test_without_boto3_the_extra_is_named(
    project: Project, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/prefix")
    connect("is in a bucket")
    without("boto3", monkeypatch)
    message = r"artifacts in s3://bucket/prefix need boto3: pip install 'taxi-nb\[s3\]'$"
    for experiment in ("is in a bucket", "is new"):
        with pytest.raises(StoreError, match=message):
            connect(experiment)


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("s3://bucket/prefix/", "s3://bucket/prefix"),
        ("artifacts", "file://{project}/artifacts"),
        ("/mnt/team", "file:///mnt/team"),
        ("", None),
    ],
)
def test_where_artifacts_go(
    given: str, root: str | None, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", given)
    assert artifact_root() == (root and root.format(project=project.root))


def test_keys_do_not_belong_into_the_place_of_artifacts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://key:secret@bucket/prefix")
    with pytest.raises(StoreError, match=r"must not carry credentials.*s3://bucket/pre") as raised:
        artifact_root()
    assert "secret" not in str(raised.value).replace("AWS_SECRET_ACCESS_KEY", "")


def test_a_place_that_is_not_the_experiments_is_refused(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect("here")
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/prefix")
    with pytest.raises(StoreError, match=r"'here' .*mlartifacts, which cannot .* s3://bucket/pre"):
        connect("here")
    assert connect("there") == connect("there")


def test_an_experiment_below_the_place_fits(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    # As a server makes them that was started with --default-artifact-root.
    mlflow.create_experiment("mine", artifact_location="s3://bucket/prefix/7")
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/prefix")
    connect("mine")
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/pre")
    with pytest.raises(StoreError, match="leave that out, or name another experiment"):
        connect("mine")


@pytest.mark.parametrize(
    "line",
    [
        "tracking_uri: postgresql://ann:se/cret@db/x",
        "tracking_uri: postgresql://db/x?password=se/cret",
        "tracking_uri: http://ann:se/cret@mlflow.example",
        "artifact_root: s3://key:se/cret@bucket/prefix",
    ],
)
def test_a_password_in_a_pipeline_file_is_refused(project: Project, line: str) -> None:
    project.notebook("01_a")
    file = project.pipeline(f"{line}\nsteps:\n  - notebook: 01_a\n")
    with pytest.raises(PipelineFileError, match=r"yaml:1: .*must not carry a password") as raised:
        read_pipeline(file, project.root)
    assert "se/cret" not in str(raised.value)

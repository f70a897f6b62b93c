"""Another store for a while: the credentials that it is given, and that all is as before then."""

from __future__ import annotations

import os

import pytest

from taxi_nb.tracking import other_store as module
from taxi_nb.tracking.other_store import other_store
from taxi_nb.tracking.store_errors import StoreError

CREDENTIALS = (
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "PGPASSWORD",
)


@pytest.mark.parametrize(
    ("present", "known", "given", "address", "used"),
    [
        # A server is not sent the token of another, only its own.
        ("http://staging", {"MLFLOW_TRACKING_TOKEN": "st"}, "http://prod", "http://prod", {}),
        (
            "http://staging",
            {"MLFLOW_TRACKING_TOKEN": "st"},
            "https://pt@prod/mlflow",
            "https://prod/mlflow",
            {"MLFLOW_TRACKING_TOKEN": "pt"},
        ),
        (
            "http://ann:se%2Fcret@staging",
            {},
            "http://bob:o%40b@prod",
            "http://prod",
            {"MLFLOW_TRACKING_USERNAME": "bob", "MLFLOW_TRACKING_PASSWORD": "o@b"},
        ),
        # What no store at hand has use for is the other's.
        (
            "sqlite:///staging.db",
            {"MLFLOW_TRACKING_TOKEN": "pt"},
            "http://prod",
            "http://prod",
            {"MLFLOW_TRACKING_TOKEN": "pt"},
        ),
        ("postgresql://a@one/x", {"PGPASSWORD": "st"}, "postgresql://a@two/x", None, {}),
        # One server of databases has one password.
        (
            "postgresql://a@one/staging",
            {"PGPASSWORD": "st"},
            "postgresql://a@one/production",
            None,
            {"PGPASSWORD": "st"},
        ),
        (
            "postgresql://a:st@one/staging",
            {},
            "postgresql://a:pr@two/x",
            "postgresql://a@two/x",
            {"PGPASSWORD": "pr"},
        ),
    ],
)
def test_a_store_is_given_its_own_credentials_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
    present: str,
    known: dict[str, str],
    given: str,
    address: str | None,
    used: dict[str, str],
) -> None:
    monkeypatch.setattr(module, "_require_there", lambda uri: None)
    for name in CREDENTIALS:
        monkeypatch.setenv(name, known.get(name, ""))
        if name not in known:
            monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", present)
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://staging")
    monkeypatch.setenv("PRODUCTION", given)
    with other_store("env:PRODUCTION", "s3://production") as uri:
        assert uri == (address or given)
        assert {name: os.environ[name] for name in CREDENTIALS if name in os.environ} == used
        assert os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == "s3://production"
    assert os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == "s3://staging"
    for name, value in known.items():
        assert os.environ[name] == value


def test_an_error_says_where_the_address_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRODUCTION", "http://ann:s3cret@127.0.0.1:9")
    with (
        pytest.raises(StoreError, match=r"Its address is that of env:PRODUCTION$") as raised,
        other_store("env:PRODUCTION"),
    ):
        pass
    assert "s3cret" not in str(raised.value)
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ

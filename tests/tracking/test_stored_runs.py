"""Which runs a store has, asked past MLflow; tests/stores/ asks servers the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from taxi_nb.tracking.store_errors import StoreError
from taxi_nb.tracking.stored_runs import finished_runs
from tests.conftest import runs_of_every_kind


@pytest.fixture
def runs(store: str) -> dict[str, str]:
    return runs_of_every_kind(store)


def test_only_finished_runs_count(store: str, runs: dict[str, str]) -> None:
    assert finished_runs(store, runs.values()) == {runs["finished"]}


def test_other_databases_are_asked_the_same(store: str, runs: dict[str, str]) -> None:
    uri = store.replace("sqlite:", "sqlite+pysqlite:")
    assert finished_runs(uri, list(runs.values())) == {runs["finished"]}


def test_a_store_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    assert finished_runs(f"sqlite:///{tmp_path}/none.db", ["1" * 32]) == set()
    assert finished_runs("http://127.0.0.1:9", []) == set()


def test_a_server_that_does_not_answer_is_an_error_without_credentials() -> None:
    with pytest.raises(StoreError, match=r"http://127\.0\.0\.1:9 cannot be asked") as raised:
        finished_runs("http://user:secret@127.0.0.1:9", ["1" * 32])
    assert "secret" not in str(raised.value)

"""Which runs are closed because their owner has ended, and which are left alone."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

import pytest
from mlflow import MlflowClient

from taxi_nb.tracking import _lifecycle
from taxi_nb.tracking._lifecycle import close_abandoned, owner
from taxi_nb.tracking.names import LEASE_TAG, OWNER_TAG, PARENT_TAG

PLACE, OWN = owner().rsplit("/", 2)[0], str(os.getpid())
ELSEWHERE = "00000000-0000-4000-8000-000000000000/4026531836"


def state_after_closing(owner: str, lease: float | None = None, age: float = 0) -> str:
    """Return what becomes of an open run when another process looks for abandoned ones."""
    client = MlflowClient()
    begun = int((time.time() - age) * 1000)
    leased = {} if lease is None else {LEASE_TAG: f"{time.time() + lease:.0f}"}
    run = client.create_run("0", start_time=begun, tags={OWNER_TAG: owner, **leased})
    close_abandoned(client, "0")
    return str(client.get_run(run.info.run_id).info.status)


def ended_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_the_run_of_a_process_that_lives_is_left_alone(store: str) -> None:
    assert state_after_closing(owner()) == "RUNNING"


def test_the_run_of_a_process_that_has_ended_is_closed(store: str) -> None:
    assert state_after_closing(f"{PLACE}/{ended_process()}/1 on here") == "KILLED"
    # The number is another process's by now.
    assert state_after_closing(f"{PLACE}/{OWN}/1 on here", lease=300) == "KILLED"


@pytest.mark.parametrize("host", ["here", "a_b", "with / and % on it"])
def test_an_owner_elsewhere_is_believed_until_its_lease_has_run_out(store: str, host: str) -> None:
    """In another container of the same host's name, or before a restart of this machine."""
    other = f"{ELSEWHERE}/{OWN}/1 on {host}"
    assert state_after_closing(other, lease=60) == "RUNNING"
    assert state_after_closing(other, lease=-1) == "KILLED"


def test_a_model_that_a_killed_process_was_logging_is_not_pending_for_ever(store: str) -> None:
    client = MlflowClient()
    ended = {OWNER_TAG: f"{PLACE}/{ended_process()}/1 on here"}
    run = client.create_run("0", tags=ended)
    step = client.create_run("0", tags={PARENT_TAG: run.info.run_id})
    cut_short = client.create_logged_model("0", "lasso", step.info.run_id)
    whole = client.create_logged_model("0", "ridge", run.info.run_id)
    client.finalize_logged_model(whole.model_id, "READY")
    alive = client.create_run("0", tags={OWNER_TAG: owner()})
    others = client.create_logged_model("0", "linear", alive.info.run_id)
    close_abandoned(client, "0")
    models = (cut_short, whole, others)
    states = [str(client.get_logged_model(one.model_id).status) for one in models]
    assert states == ["FAILED", "READY", "PENDING"]


def test_owners_as_they_were_written_before_are_believed_for_a_day(store: str) -> None:
    former = f"{os.uname().nodename}:{ended_process()}:1764280000.25"
    assert state_after_closing(former) == "RUNNING"
    assert state_after_closing(former, age=25 * 3600) == "KILLED"


def test_a_run_that_ends_well_while_it_is_judged_stays_so(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient()
    dead = f"{PLACE}/{ended_process()}/1 on here"
    run = client.create_run("0", tags={OWNER_TAG: dead})

    def its_last_act(judged: Any) -> bool:
        client.set_terminated(judged.info.run_id, "FINISHED")
        return True

    monkeypatch.setattr(_lifecycle, "_has_ended", its_last_act)
    assert close_abandoned(client, "0") == []
    assert client.get_run(run.info.run_id).info.status == "FINISHED"


def test_an_owner_says_that_it_lives_while_its_run_is_open(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lifecycle, "_BEAT_SECONDS", 0.05)
    client = MlflowClient()
    run_id = client.create_run("0", tags={LEASE_TAG: "0"}).info.run_id
    with _lifecycle.leased(client, run_id):
        end = time.monotonic() + 60
        while client.get_run(run_id).data.tags[LEASE_TAG] == "0":
            assert time.monotonic() < end
            time.sleep(0.05)

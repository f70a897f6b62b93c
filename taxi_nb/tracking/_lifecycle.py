"""The owner of a run, a process with a lease; and closing runs whose owners have ended."""

from __future__ import annotations

import os
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import NAMESPACE_DNS, uuid5

from taxi_nb.tracking.names import LEASE_TAG, OWNER_TAG, PARENT_TAG, PIPELINE_RUN_TAG, RunStatus

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Ending = Callable[["Run"], RunStatus]

# How long an owner is believed to live that this machine cannot ask after, and how often a
# living one says that it does.
LEASE_SECONDS = 300
_BEAT_SECONDS = 60
# A run that several processes carry out, one after the other, has no process of its own.
NO_PROCESS = "no process: opened to be carried out step by step"
_LONG_LEASE_SECONDS = 7 * 24 * 3600
# Owners of before had no lease: a day after its start nobody will go on with such a run.
_OLD_LEASE_SECONDS = 24 * 3600

_OWNER = re.compile(r"(?P<place>[0-9a-f-]{36}/\d+)/(?P<pid>\d+)/(?P<start>\d+) on .*", re.DOTALL)


def close_abandoned(
    client: MlflowClient, experiment: str, ending: Ending | None = None
) -> list[str]:
    """End the runs whose owners have ended; return the runs' names.

    `ending` says how a run ended; without it runs of pipelines are left to their pipelines.
    """
    closed = []
    for run in _open_runs(client, experiment, f"tags.`{OWNER_TAG}` != ''"):
        is_others = ending is None and PIPELINE_RUN_TAG in run.data.tags
        if is_others or not _has_ended(run):
            continue
        status = ending(run) if ending else "KILLED"
        # Asked again: its owner may have finished it between the search and its own end.
        if _is_open(client, run):
            close(client, experiment, run.info.run_id, status)
            closed.append(str(run.info.run_name))
    return closed


def close(client: MlflowClient, experiment: str, run_id: str, status: RunStatus) -> None:
    """End a run, and its children that are still open."""
    for child in _open_runs(client, experiment, f"tags.`{PARENT_TAG}` = '{run_id}'"):
        if _is_open(client, child):
            _end(client, experiment, child.info.run_id, "KILLED")
    _end(client, experiment, run_id, status)


def _end(client: MlflowClient, experiment: str, run_id: str, status: RunStatus) -> None:
    """End a run; a model that it was still logging will never be whole."""
    if status != "FINISHED":
        made = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
        for model in made:
            if str(model.status) == "PENDING":
                client.finalize_logged_model(model.model_id, "FAILED")
    client.set_terminated(run_id, status)


def _open_runs(client: MlflowClient, experiment: str, condition: str) -> list[Run]:
    """Return open runs, the youngest first: steps before their pipeline."""
    search = f"attributes.status = 'RUNNING' and {condition}"
    return list(client.search_runs([experiment], search, order_by=["attributes.start_time DESC"]))


def _is_open(client: MlflowClient, run: Run) -> bool:
    return bool(client.get_run(run.info.run_id).info.status == "RUNNING")


def _has_ended(run: Run) -> bool:
    """Whether a run's owner is known to have ended, or has not been heard of for too long."""
    state = state_of(run.data.tags[OWNER_TAG])
    if state != "unknown":
        return state == "ended"
    with suppress(KeyError, ValueError):
        return time.time() > float(run.data.tags[LEASE_TAG])
    return time.time() > run.info.start_time / 1000 + _OLD_LEASE_SECONDS


def state_of(owner: str) -> Literal["alive", "ended", "unknown"]:
    """Whether the process that `owner` named still lives, as far as that can be told from here."""
    found = _OWNER.fullmatch(owner)
    if found is None or found["place"] != _place():
        return "unknown"
    pid, start = int(found["pid"]), _start_of(int(found["pid"]))
    if start is None and _is_hidden(pid):
        return "unknown"
    return "alive" if start == int(found["start"]) else "ended"


@cache
def owner() -> str:
    """Name this process so that a later one can tell whether it still lives.

    The system's start, the namespace of process numbers, the number, the process's start in the
    kernel's own ticks: no clock that can be set is part of it. The host is for people.
    """
    pid = os.getpid()
    return f"{_place()}/{pid}/{_start_of(pid)} on {platform.node()}"


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=owner.cache_clear)


@cache
def _place() -> str:
    """Name where a process number means one process: this system since its start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:  # Elsewhere numbers have one space, and starts are told by the clock.
        boot, namespace = str(uuid5(NAMESPACE_DNS, platform.node())), "0"
    return f"{boot}/{namespace}"


def _start_of(pid: int) -> int | None:
    """Return when a process began, in a unit of its own; None if there is none."""
    try:
        # Past the name, which may hold anything, it is the twentieth field: proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else int(fields[19])
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError, ValueError):
        return None
    import psutil

    try:
        return int(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _is_hidden(pid: int) -> bool:
    """Whether a process is there of which this user is shown nothing."""
    try:
        os.kill(pid, 0) if os.name == "posix" else None
    except PermissionError:
        return True
    except OSError:
        pass
    return False


class Lease:
    """Says again and again that the owner of some runs lives, in a thread of its own."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        self._runs: set[str] = set()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, run_id: str) -> None:
        """Say it of one more run."""
        with self._lock:
            self._runs.add(run_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
                self._thread.start()

    def discard(self, run_id: str) -> None:
        """Say it no longer of a run."""
        with self._lock:
            self._runs.discard(run_id)
            if not self._runs:
                self._stopped.set()

    def _beat(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            with self._lock:
                runs = tuple(self._runs)
            for run_id in runs:
                with suppress(Exception):  # A store that is away for a while is no end.
                    self._client.set_tag(run_id, LEASE_TAG, lease())


def lease(*, is_long: bool = False) -> str:
    """Return until when a run's owner is to be believed alive: seconds since 1970."""
    return f"{time.time() + (_LONG_LEASE_SECONDS if is_long else LEASE_SECONDS):.0f}"


@contextmanager
def leased(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Hold the lease of a run while a block goes on."""
    holder = Lease(client)
    holder.add(run_id)
    try:
        yield
    finally:
        holder.discard(run_id)

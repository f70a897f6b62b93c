"""One pipeline run at a time in one project: the next waits and says for whom."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from taxi_nb.project import private_folder, write_whole
from taxi_nb.tracking.lock_holder import lock_holder

_POLL_SECONDS = 0.2


@contextmanager
def project_lock(runs: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a project's lock, at most until this process ends; `say` is told for whom it waits."""
    from filelock import FileLock, Timeout

    private_folder(runs)
    lock = FileLock(runs / ".lock", poll_interval=_POLL_SECONDS)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"waiting for {_holder(runs)}, which runs a pipeline in this project; Ctrl-C ends this")
        lock.acquire()
    try:
        write_whole(runs / ".lock-holder.json", json.dumps(_this_process()))
        yield
    finally:
        lock.release()


def _this_process() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _holder(runs: Path) -> str:
    import psutil

    try:
        holder = json.loads((runs / ".lock-holder.json").read_bytes())
        if holder["host"] == platform.node() and not psutil.pid_exists(holder["pid"]):
            return lock_holder(runs / ".lock")
        return (
            f"process {holder['pid']} on {holder['host']} "
            f"({holder['command']}, since {holder['since']})"
        )
    except (OSError, ValueError, KeyError):
        return lock_holder(runs / ".lock")

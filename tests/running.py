"""Pipelines that run for real, with as little start-up as can be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from taxi_nb.pipeline.kernels.pool import KernelPool, default_kind, in_one_order
from taxi_nb.pipeline.pipeline_file import read_pipeline
from taxi_nb.pipeline.record import RunRecord, Status, StepResult
from taxi_nb.pipeline.run import run_pipeline
from tests.conftest import Project
from tests.warm import Forked, WarmPython, listen

Run = Callable[..., tuple[RunRecord, Path]]


def run_record(**given: Any) -> RunRecord:
    """Return a record of a good run without steps, but for what is given."""
    fields: dict[str, Any] = {
        "id": "one",
        "pipeline": "test",
        "parameter_file": "params/test.yaml",
        "status": Status.OK,
        "started": "2026-01-01",
        "tracking_uri": "",
        "experiment": "",
        "mlflow_run_id": None,
        "steps": (),
    }
    return RunRecord(**fields | given)


class Listener:
    """Notes what a run tells."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def run_started(self, record: RunRecord, folder: Path) -> None:
        self.heard.append(f"run of {len(record.steps)}")

    def step_started(self, begun: StepResult) -> None:
        self.heard.append(f"{begun.name} starts")

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        self.heard.append(f"{name} {cell}/{cells}")

    def progressed(self, name: str, says: str) -> None:
        self.heard.append(f"{name} {says}")

    def run_ended(self, record: RunRecord) -> None:
        """What it came to is returned."""

    def step_ended(self, result: StepResult) -> None:
        self.heard.append(f"{result.name} {result.status}")


@pytest.fixture(scope="session")
def warm_pool(warm_python: WarmPython) -> Iterator[KernelPool]:
    """Kernels for all tests of a worker: the libraries are imported once."""
    pool = KernelPool(default_kind(), env=in_one_order(os.environ))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", subprocess.Popen)
        warm_python.kernel_servers.take_over()
        pool.start()
    with pool:
        yield pool


@pytest.fixture
def run(project: Project, store: str, warm_pool: KernelPool) -> Run:
    """Run a pipeline text in this process."""

    def run_text(
        text: str, *, jobs: int = 1, listener: Listener | None = None, overrides: Sequence[str] = ()
    ) -> tuple[RunRecord, Path]:
        pipeline = read_pipeline(project.pipeline(text), project.root, overrides)
        return run_pipeline(pipeline, pool=warm_pool, jobs=jobs, listener=listener or Listener())

    return run_text


@pytest.fixture(scope="session")
def warm_python() -> Iterator[WarmPython]:
    """Programs of Python for all tests of a worker: the libraries are imported once."""
    warm = WarmPython()
    yield warm
    warm.close()


class CommandLine:
    """`taxi-nb` in a process of its own: forked, where a test calls it to its end."""

    def __init__(self, root: Path, warm: WarmPython) -> None:
        self.root = root
        self.warm = warm

    def fork(self, *arguments: str) -> Forked:
        """Start it in a process that has imported the libraries, and return at once."""
        variables = {**os.environ, "COLUMNS": "200"}
        return self.warm.start(["-m", "taxi_nb", *arguments], self.root, variables)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it as a user's shell does, and return at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "taxi_nb", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
            preexec_fn=listen,
        )

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run it to its end; return exit code, output and errors."""
        process = self.fork(*arguments)
        out, err = process.communicate(timeout=120)
        return process.wait(), out, err


@pytest.fixture
def taxi_nb(project: Project, store: str, warm_python: WarmPython) -> CommandLine:
    return CommandLine(project.root, warm_python)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)


def all_dead(pids: Sequence[int]) -> bool:
    """Whether none of the processes lives (a zombie does not)."""
    return not any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        for pid in pids
    )


def end(process: subprocess.Popen[str] | Forked, number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal and wait for the end."""
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.wait(), out, err

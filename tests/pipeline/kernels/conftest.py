"""Kernels for the tests: one warm pool of each kind, and a check that nothing is left behind."""

from __future__ import annotations

import ast
import contextlib
import gc
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import nbclient
import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from taxi_nb.pipeline.kernels.pool import KernelKind, KernelPool

# In the environment of every process that a test causes, whoever its parent is.
MARK = "TAXI_NB_KERNEL_TEST"
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Executed:
    """How the execution of a notebook ended."""

    nb: nbformat.NotebookNode
    error: Exception | None
    returncode: int | None
    ready_seconds: float | None

    def text(self, cell: int = -1) -> str:
        """What a cell printed, or the plain text of its result."""
        outputs = self.nb.cells[cell].outputs
        return "".join(
            o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs
        )

    def value(self, cell: int = -1) -> Any:
        """The result of a cell that ends in an expression with a literal for `repr`."""
        if self.error is not None:
            raise self.error
        return ast.literal_eval(self.text(cell))


Execute = Callable[..., Executed]


@pytest.fixture(scope="package")
def execute() -> Execute:
    """Execute cells as a notebook in a fresh kernel of a pool."""

    def execute(
        pool: KernelPool,
        *cells: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        **settings: Any,
    ) -> Executed:
        nb = new_notebook(cells=[new_code_cell(source) for source in cells])  # type: ignore[no-untyped-call]
        km = pool.manager(_without_pytest(os.environ if env is None else env))
        resources = {"metadata": {"path": str(cwd or tempfile.gettempdir())}}
        # Asking a spawned kernel politely to end takes a second.
        settings = {"shutdown_kernel": "immediate"} | settings
        client = nbclient.NotebookClient(nb, km=km, resources=resources, **settings)
        client.owns_km = True
        error = None
        try:
            client.execute()
        except Exception as caught:
            error = caught
        return Executed(nb, error, km.returncode, km.kernel_ready_seconds)

    return execute


def _without_pytest(env: Mapping[str, str]) -> dict[str, str]:
    """In a kernel under test, ipykernel would leave the output of subprocesses alone."""
    return {name: value for name, value in env.items() if not name.startswith("PYTEST_")}


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The one directory for everything temporary, with a path short enough for sockets.

    Of these tests alone: it goes with them.
    """
    tmp_path_factory.getbasetemp()  # That of all tests is not to lie in it.
    path = Path(tempfile.mkdtemp(prefix="k-", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(path))
        patch.delenv("XDG_RUNTIME_DIR", raising=False)
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv(MARK, str(path))
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="package")
def pools(root: Path, execute: Execute) -> Iterator[Callable[[KernelKind], KernelPool]]:
    """One warm pool for each kind."""
    with contextlib.ExitStack() as stack:
        env = {name: value for name, value in os.environ.items() if "_NUM_THREADS" not in name}
        made = {
            kind: stack.enter_context(KernelPool(kind, env=env)) for kind in get_args(KernelKind)
        }
        # nbclient's event loop, which lasts, has sockets too.
        execute(made["fork"], "pass")
        yield made.__getitem__


@pytest.fixture(params=["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def pool(request: pytest.FixtureRequest, pools: Callable[[KernelKind], KernelPool]) -> KernelPool:
    """Each of the two pools."""
    return pools(request.param)


@pytest.fixture
def fork_pool(pools: Callable[[KernelKind], KernelPool]) -> KernelPool:
    """The pool that forks."""
    return pools("fork")


@pytest.fixture
def spawn_pool(pools: Callable[[KernelKind], KernelPool]) -> KernelPool:
    """The pool that spawns."""
    return pools("spawn")


@pytest.fixture(autouse=True)
def nothing_left_behind(root: Path, pools: Callable[[KernelKind], KernelPool]) -> Iterator[None]:
    """Fail a test after which a process, socket or temporary file is left."""
    before = _traces(root)
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := _traces(root) - before) and time.monotonic() < deadline:
        # Event loops and sockets are closed when they are collected.
        gc.collect()
        time.sleep(0.02)
    assert not left


def _traces(root: Path) -> set[str]:
    return set(_processes(root)) | set(_files(root)) | set(_own_sockets())


def _processes(root: Path) -> Iterator[str]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get(MARK) == str(root) or process.ppid() == os.getpid()
            if ours and process.pid != os.getpid():
                yield f"process {process.pid}: {' '.join(process.cmdline())[:200]}"


def _files(root: Path) -> Iterator[str]:
    for folder in (root, Path("/dev/shm")):
        if folder.exists():
            yield from (str(path) for path in folder.rglob("*") if not _is_others(path))


def _is_others(path: Path) -> bool:
    """Whether pytest made it, a PostgreSQL that other tests run, or another living process.

    loky's semaphores are named after the process. One of a test that still lives is found as such.
    """
    if (owner := re.match(r"sem\.loky-(\d+)-", path.name)) and psutil.pid_exists(int(owner[1])):
        return True
    return any(part.startswith(("pytest-", "PostgreSQL.")) for part in path.parts)


def _own_sockets() -> Iterator[str]:
    """Open sockets of this process that lead to kernels or to the server."""
    if sys.platform != "linux":
        return
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            if target.startswith("socket:"):
                yield target

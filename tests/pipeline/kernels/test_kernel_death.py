"""Who dies takes along what depends on him."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from nbclient.exceptions import DeadKernelError

from taxi_nb.pipeline.kernels._directories import PrivateDirectory
from taxi_nb.pipeline.kernels.pool import KernelKind, KernelPool, default_kind
from tests.pipeline.kernels.conftest import Execute

pytestmark = pytest.mark.slow

FORKS = pytest.mark.skipif(default_kind() != "fork", reason="forking is not safe here")
LIGHT = ["ipykernel.kernelapp", "ipykernel.ipkernel"]

PIPELINE = """
import asyncio, os, sys, time
from taxi_nb.pipeline.kernels.pool import KernelPool

async def kernel(pool):
    km = pool.manager()
    await km.start_kernel()
    client = km.client()
    client.start_channels()
    await client.wait_for_ready()
    client.execute(sys.argv[2])
    await asyncio.sleep(0.3)
    return km, client

if __name__ == "__main__":
    pool = KernelPool(sys.argv[1], ["ipykernel.kernelapp", "ipykernel.ipkernel"])
    kept = asyncio.new_event_loop().run_until_complete(kernel(pool))
    print(pool._directory.path, kept[0].pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A pipeline that starts one kernel, says so, and does nothing for long."""
    path = tmp_path / "pipeline.py"
    path.write_text(PIPELINE)
    return path


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Iterator[KernelKind]:
    """The kind of the kernel in another pipeline."""
    yield request.param
    # The next pipeline removes the directories of killed ones.
    PrivateDirectory().remove()


def _start(script: Path, kind: KernelKind, cell: str) -> tuple[subprocess.Popen[str], Path, int]:
    command = [sys.executable, str(script), kind, cell]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    directory, kernel = process.stdout.readline().split()
    process.stdout.close()
    return process, Path(directory), int(kernel)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        pytest.param("fork", "import subprocess; subprocess.run(['sleep', '600'])", marks=FORKS),
        pytest.param("fork", "while True: pass", marks=FORKS),
        ("spawn", "while True: pass"),
    ],
    indirect=["kind"],
)
def test_kernels_die_with_a_killed_pipeline(script: Path, kind: KernelKind, cell: str) -> None:
    pipeline, directory, kernel = _start(script, kind, cell)
    pipeline.kill()
    pipeline.wait()

    _wait_until(lambda: not _runs(kernel))
    if kind == "fork":
        _wait_until(lambda: not directory.exists())


@FORKS
def test_killed_server_is_noticed_and_kernels_are_spawned(
    execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), KernelPool("fork", LIGHT) as pool:
        done = execute(
            pool,
            "import os, signal, subprocess, time; subprocess.Popen(['sleep', '600'])",
            "os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)",
        )
        again = execute(pool, "1 + 1").value()

    assert isinstance(done.error, DeadKernelError)
    assert done.returncode == -signal.SIGKILL
    assert again == 2
    assert "the fork server is gone" in caplog.text


@FORKS
def test_server_that_crashes_while_it_imports_is_no_harm(
    execute: Execute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "crashing.py").write_text(
        "import os, sys; print('oops', file=sys.stderr, flush=True); os._exit(3)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with caplog.at_level(logging.WARNING), KernelPool("fork", ["crashing"]) as pool:
        assert execute(pool, "1 + 1").value() == 2

    assert "its last words: oops" in caplog.text


def test_closing_a_pool_kills_its_kernels(kind_of_pool: KernelKind) -> None:
    async def start(pool: KernelPool) -> int:
        km = pool.manager()
        await km.start_kernel()
        client = km.client()
        client.start_channels()
        await client.wait_for_ready()
        client.execute("import subprocess; subprocess.run(['sleep', '600'])")
        await asyncio.sleep(0.3)
        client.stop_channels()
        return km.pid or 0

    pool = KernelPool(kind_of_pool, LIGHT)
    kernel = asyncio.run(start(pool))
    assert _runs(kernel)
    pool.close()

    assert not _runs(kernel)


@pytest.fixture(params=["fork", "spawn"])
def kind_of_pool(request: pytest.FixtureRequest) -> KernelKind:
    """Each kind of kernel."""
    kind: KernelKind = request.param
    return kind


def test_kernel_can_be_restarted(pool: KernelPool) -> None:
    async def restart() -> list[int | None]:
        km = pool.manager()
        await km.start_kernel()
        pids = []
        for _ in range(2):
            pids.append(km.pid)
            client = km.client()
            client.start_channels()
            await client.wait_for_ready()
            client.stop_channels()
            await km.restart_kernel(now=True)
        await km.shutdown_kernel(now=True)
        return pids

    first, second = asyncio.run(restart())

    assert first != second


def test_directories_of_killed_pipelines_are_removed_and_no_others(
    root: Path, tmp_path: Path
) -> None:
    mine = PrivateDirectory()
    code = """
    import os, signal
    from taxi_nb.pipeline.kernels._directories import PrivateDirectory
    held = PrivateDirectory()
    print(held.path, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    theirs = Path(killed.stdout.strip())
    assert theirs.exists()
    PrivateDirectory().remove()

    assert mine.path.exists()
    assert not theirs.exists()
    mine.remove()


def test_paths_of_sockets_are_short_whatever_the_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    directory = PrivateDirectory()

    assert len(str(directory.subdirectory() / "s-5")) < 100
    directory.remove()


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait_until(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()

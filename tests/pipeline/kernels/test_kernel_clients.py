"""Who uses the kernels: nbclient in threads, papermill, and any other Jupyter client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from taxi_nb.pipeline.kernels.pool import KernelPool, default_kind
from tests.pipeline.kernels.conftest import Execute


def test_importing_is_cheap() -> None:
    code = """
    import sys
    import taxi_nb.pipeline.kernels
    heavy = {"jupyter_client", "ipykernel", "IPython", "nbclient", "papermill", "zmq", "asyncio"}
    print(sorted(heavy & sys.modules.keys()))
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "[]"


def test_start_does_not_wait_for_the_imports() -> None:
    with KernelPool("fork") as pool:
        begin = time.monotonic()
        pool.start()

        assert time.monotonic() - begin < 0.5


def test_kind_must_be_known() -> None:
    with pytest.raises(ValueError, match=r"`kind` must be one of \['fork', 'spawn'\], got: 'tcp'"):
        KernelPool("tcp")  # type: ignore[arg-type]


def test_default_kind_forks_on_linux_only() -> None:
    assert default_kind() == ("fork" if sys.platform == "linux" else "spawn")


def test_several_threads_share_a_pool(pool: KernelPool, execute: Execute) -> None:
    def square(number: int) -> int:
        return int(execute(pool, f"n = {number}", "n * n").value())

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(square, range(6))) == [0, 1, 4, 9, 16, 25]


def test_time_to_readiness_is_measured(pool: KernelPool, execute: Execute) -> None:
    seconds = execute(pool, "pass").ready_seconds

    assert seconds is not None
    assert 0 < seconds < 30


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook with a parameter, which names a kernel that is not installed."""
    parameters = new_code_cell("n = 1", metadata={"tags": ["parameters"]})  # type: ignore[no-untyped-call]
    kernelspec = {"name": "not-installed", "display_name": "x", "language": "python"}
    nb = new_notebook(  # type: ignore[no-untyped-call]
        cells=[parameters, new_code_cell("n * 2")],  # type: ignore[no-untyped-call]
        metadata={"kernelspec": kernelspec},
    )
    path = tmp_path / "notebook.ipynb"
    nbformat.write(nb, path)  # type: ignore[no-untyped-call]
    return path


def test_papermill_uses_the_kernels_of_a_pool(
    pool: KernelPool, notebook: Path, tmp_path: Path
) -> None:
    executed = papermill.execute_notebook(
        str(notebook),
        str(tmp_path / "out.ipynb"),
        parameters={"n": 21},
        engine_name="taxi-nb",
        kernel_pool=pool,
        kernel_env=os.environ | {"TZ": "UTC"},
        progress_bar=False,
    )

    assert executed.cells[-1].outputs[0].data["text/plain"] == "42"


def test_papermill_can_make_its_own_pool(notebook: Path, tmp_path: Path) -> None:
    executed = papermill.execute_notebook(
        str(notebook),
        str(tmp_path / "out.ipynb"),
        engine_name="taxi-nb",
        kernel_kind="spawn",
        execution_timeout=60,
        progress_bar=False,
    )

    assert executed.cells[-1].outputs[0].data["text/plain"] == "2"


CLIENT = """
import os, sys
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager

specs = KernelSpecManager(kernel_dirs=[sys.argv[1]])
for _ in range(2):
    km = KernelManager(kernel_name="forked", kernel_spec_manager=specs)
    km.start_kernel()
    client = km.client()
    client.start_channels()
    client.wait_for_ready(timeout=30)
    client.execute_interactive("import os, sys; print(os.getppid(), 'json.tool' in sys.modules)")
    client.stop_channels()
    km.shutdown_kernel()
print(os.getpid())
"""


@pytest.mark.skipif(default_kind() != "fork", reason="forking is not safe here")
def test_any_jupyter_client_can_fork_kernels(tmp_path: Path) -> None:
    spec = {
        "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "forked",
        "language": "python",
        "metadata": {
            "kernel_provisioner": {
                "provisioner_name": "taxi-nb-fork",
                "config": {"preload": ["ipykernel.kernelapp", "json.tool"]},
            }
        },
    }
    folder = tmp_path / "forked"
    folder.mkdir()
    (folder / "kernel.json").write_text(json.dumps(spec))
    answer = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path)],
        env=os.environ | {"JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")},
        capture_output=True,
        text=True,
        check=True,
    )
    first, second, pipeline = answer.stdout.splitlines()

    assert first == second
    assert first.endswith(" True")
    assert first.split()[0] != pipeline

"""Who uses the kernels: nbclient in threads, and papermill."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from taxi_nb.pipeline._execute import execute_notebook
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


def test_papermill_uses_the_kernels_of_a_pool(pool: KernelPool, tmp_path: Path) -> None:
    parameters = new_code_cell("n = 1", metadata={"tags": ["parameters"]})  # type: ignore[no-untyped-call]
    kernelspec = {"name": "python3", "display_name": "x", "language": "python"}
    nb = new_notebook(  # type: ignore[no-untyped-call]
        cells=[parameters, new_code_cell("n * 2")],  # type: ignore[no-untyped-call]
        metadata={"kernelspec": kernelspec},
    )
    source, target = tmp_path / "notebook.ipynb", tmp_path / "out.ipynb"
    nbformat.write(nb, source)  # type: ignore[no-untyped-call]

    execute_notebook(source, target, {"n": 21}, pool.manager(os.environ | {"TZ": "UTC"}))

    executed = nbformat.read(target, as_version=4)  # type: ignore[no-untyped-call]
    assert executed.cells[-1].outputs[0].data["text/plain"] == "42"

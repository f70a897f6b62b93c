"""What a notebook may do: the same happens in a forked and in a spawned kernel."""

from __future__ import annotations

import os
import signal
import stat
import textwrap
import zipfile
from pathlib import Path

import psutil
import pytest
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from taxi_nb.pipeline.kernels.pool import KernelPool
from tests.pipeline.kernels.conftest import Execute

# By ipykernel and IPython when they start, by scikit-learn when it is imported.
SET_BY_LIBRARIES = {
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "FORCE_COLOR",
    "GIT_PAGER",
    "JPY_PARENT_PID",
    "KMP_DUPLICATE_LIB_OK",
    "KMP_INIT_AT_FORK",
    "LC_CTYPE",
    "MPLBACKEND",
    "PAGER",
    "PYDEVD_USE_FRAME_EVAL",
    "TERM",
}


def test_cells_share_one_fresh_process(pool: KernelPool, execute: Execute) -> None:
    first = execute(pool, "import os; x = 1", "x + 1, os.getpid()").value()
    second = execute(pool, "import os; 'x' in globals(), os.getpid()").value()

    assert first[0] == 2
    assert second[0] is False
    assert first[1] != second[1]


def test_error_in_a_cell_stops_the_notebook(pool: KernelPool, execute: Execute) -> None:
    done = execute(pool, "1 / 0", "print('never')")

    assert isinstance(done.error, CellExecutionError)
    assert done.error.ename == "ZeroDivisionError"
    assert done.text(1) == ""


def test_figures_appear_inline(pool: KernelPool, execute: Execute) -> None:
    done = execute(pool, "import matplotlib.pyplot as plt\nplt.plot([1, 2]);")

    assert [list(o.data) for o in done.nb.cells[0].outputs] == [["text/plain", "image/png"]]


def test_exit_status_of_a_dead_kernel_is_known(pool: KernelPool, execute: Execute) -> None:
    done = execute(pool, "import os; os._exit(7)")

    assert isinstance(done.error, DeadKernelError)
    assert done.returncode == 7


def test_signal_that_killed_a_kernel_is_known(pool: KernelPool, execute: Execute) -> None:
    done = execute(pool, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    assert isinstance(done.error, DeadKernelError)
    assert done.returncode == -signal.SIGKILL


def test_kernel_ends_with_status_zero_when_asked_to(pool: KernelPool, execute: Execute) -> None:
    assert execute(pool, "pass", shutdown_kernel="graceful").returncode == 0


def test_atexit_handlers_run_before_a_kernel_ends(
    pool: KernelPool, execute: Execute, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    cell = f"import atexit, pathlib; atexit.register(pathlib.Path({str(note)!r}).touch)"
    execute(pool, cell, shutdown_kernel="graceful")

    assert note.exists()


def test_what_a_notebook_leaves_open_is_written_to_its_end(
    pool: KernelPool, execute: Execute, tmp_path: Path
) -> None:
    (tmp_path / "keeps.py").write_text(
        "import pathlib, sys, zipfile\n"
        "log = open('module.txt', 'w')\n"
        "log.write('module')\n"
        "sys.of_no_module = open('nowhere.txt', 'w')\n"
        "sys.of_no_module.write('nowhere')\n"
        "archive = zipfile.ZipFile('archive.zip', 'w')\n"
        "archive.writestr('name', 'content')\n"
        "class Last:\n"
        "    def __del__(self, write=pathlib.Path('last.txt').write_text):\n"
        "        write('last')\n"
        "last, last.itself = (it := Last()), it\n"
    )
    cells = f"""
        import ctypes, os, sys, threading, time
        os.chdir({str(tmp_path)!r})
        sys.path.insert(0, '')
        import keeps
        mine = open('notebook.txt', 'w')
        mine.write('notebook')
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        libc.fputs(b'c', ctypes.c_void_p(libc.fopen(b'c.txt', b'w')))
        def later():
            time.sleep(0.3)
            with open('thread.txt', 'w') as file:
                file.write('thread')
        threading.Thread(target=later).start()
    """
    done = execute(pool, textwrap.dedent(cells), shutdown_kernel="graceful")

    assert (done.error, done.returncode) == (None, 0)
    for name in ("module", "nowhere", "last", "notebook", "c", "thread"):
        assert (tmp_path / f"{name}.txt").read_text() == name
    with zipfile.ZipFile(tmp_path / "archive.zip") as archive:
        assert archive.read("name") == b"content"


def test_timeout_of_a_cell(pool: KernelPool, execute: Execute) -> None:
    done = execute(pool, "import time; time.sleep(60)", timeout=1)

    assert isinstance(done.error, CellTimeoutError)


def test_interrupt_raises_keyboard_interrupt(pool: KernelPool, execute: Execute) -> None:
    done = execute(pool, "import time; time.sleep(60)", timeout=1, interrupt_on_timeout=True)

    assert isinstance(done.error, CellExecutionError)
    assert done.error.ename == "KeyboardInterrupt"


def test_input_is_refused(pool: KernelPool, execute: Execute) -> None:
    done = execute(pool, "input('?')")

    assert isinstance(done.error, CellExecutionError)
    assert done.error.ename == "StdinNotImplementedError"


def test_large_output_arrives_complete(pool: KernelPool, execute: Execute) -> None:
    done = execute(pool, "print('x' * 100_000_000)")

    assert done.error is None
    assert len(done.text()) == 100_000_001


def test_top_level_await(pool: KernelPool, execute: Execute) -> None:
    cell = "import asyncio\nawait asyncio.gather(*(asyncio.sleep(0.01, n) for n in range(3)))"

    assert execute(pool, cell).value() == [0, 1, 2]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(pool: KernelPool, execute: Execute, method: str) -> None:
    cell = f"""
    import multiprocessing
    with multiprocessing.get_context({method!r}).Pool(2) as workers:
        result = workers.map(abs, [-1, -2, -3])
    result
    """

    assert execute(pool, textwrap.dedent(cell)).value() == [1, 2, 3]


def test_output_of_subprocesses_and_of_file_descriptors(pool: KernelPool, execute: Execute) -> None:
    cell = """
    import os, subprocess, sys, time
    subprocess.run(["echo", "from a subprocess"], check=True)
    os.write(1, b"from descriptor 1\\n")
    time.sleep(0.3)  # the pipe is read by a thread
    """
    text = execute(pool, textwrap.dedent(cell)).text()

    assert "from a subprocess" in text
    assert "from descriptor 1" in text


def test_processes_that_a_notebook_forgot_die_with_its_kernel(
    pool: KernelPool, execute: Execute
) -> None:
    cell = "import subprocess; subprocess.Popen(['sleep', '600']).pid"
    forgotten = execute(pool, cell).value()

    assert not _runs(forgotten)


def test_processes_of_a_crashed_kernel_die_too(pool: KernelPool, execute: Execute) -> None:
    done = execute(
        pool, "import os, subprocess; subprocess.Popen(['sleep', '600']).pid", "os._exit(1)"
    )

    assert isinstance(done.error, DeadKernelError)
    assert not _runs(int(done.text(0)))


def test_sockets_are_for_their_owner_alone(pool: KernelPool, execute: Execute) -> None:
    cell = """
    import json, os, stat, sys
    file = sys.argv[2]
    info = json.load(open(file))
    folder = os.path.dirname(file)
    modes = [os.stat(path).st_mode for path in (folder, os.path.dirname(folder), file)]
    (info["transport"], info["ip"], modes, sorted(os.listdir(folder)))
    """
    transport, ip, modes, names = execute(pool, textwrap.dedent(cell)).value()

    assert transport == "ipc"
    assert len(ip) < 90
    assert [stat.S_IMODE(mode) & 0o777 for mode in modes] == [0o700, 0o700, 0o600]
    assert names == ["kernel.json", "s-1", "s-2", "s-3", "s-4", "s-5"]


def test_environment_is_exactly_what_was_given(pool: KernelPool, execute: Execute) -> None:
    given = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    env = given | {"GREETING": "héllo $HOME"}
    seen = execute(pool, "import os; dict(os.environ)", env=env).value()

    assert {k: v for k, v in seen.items() if k not in SET_BY_LIBRARIES} == {
        k: v for k, v in env.items() if k not in SET_BY_LIBRARIES
    }


def test_time_zone_is_that_of_the_environment(pool: KernelPool, execute: Execute) -> None:
    env = os.environ | {"TZ": "America/New_York"}

    assert execute(pool, "import time; time.tzname", env=env).value() == ("EST", "EDT")


def test_matplotlib_obeys_the_backend_of_the_environment(
    pool: KernelPool, execute: Execute
) -> None:
    done = execute(
        pool, "import matplotlib; matplotlib.get_backend()", env=os.environ | {"MPLBACKEND": "svg"}
    )

    assert done.value() == "svg"


def test_modules_beside_the_notebook_can_be_imported(
    pool: KernelPool, execute: Execute, tmp_path: Path
) -> None:
    (tmp_path / "beside.py").write_text("answer = 42")
    done = execute(pool, "import os, beside; os.getcwd(), beside.answer", cwd=tmp_path)

    assert done.value() == (str(tmp_path), 42)


def test_missing_directory_is_an_error(pool: KernelPool, execute: Execute, tmp_path: Path) -> None:
    assert isinstance(execute(pool, "1", cwd=tmp_path / "none").error, FileNotFoundError)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

"""What is particular to forked kernels: nothing of the server shows in them."""

from __future__ import annotations

import logging
import os
import textwrap
from pathlib import Path

import pytest

from taxi_nb.pipeline.kernels.pool import DEFAULT_PRELOAD, KernelPool, default_kind
from tests.pipeline.kernels.conftest import Execute

pytestmark = pytest.mark.skipif(default_kind() != "fork", reason="forking is not safe here")

# What each kind of kernel has imported before the first cell is its own business.
IMPORTS = "\n".join(f"import {m}" for m in DEFAULT_PRELOAD if not m.startswith("ipykernel"))

STATE = """
import gc, locale, logging, os, signal, sys, time, warnings
import matplotlib, numpy, pandas

def handlers():
    loggers = [(n, l) for n, l in logging.root.manager.loggerDict.items()] + [("", logging.root)]
    for name, logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            yield name, type(handler).__name__, type(getattr(handler, "stream", None)).__name__

me = sys.modules["__main__"]
{
    "argv": [os.path.basename(arg) for arg in sys.argv],
    "orig_argv": [os.path.basename(arg) for arg in sys.orig_argv],
    "path": sys.path,
    "flags": str(sys.flags),
    "environment": sorted(os.environ.items() - {("JPY_PARENT_PID", str(os.getppid()))}),
    "main": (me.__name__, me.__spec__, hasattr(me, "__file__"), me is sys.modules[__name__]),
    "leads session and group": (os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()),
    "signals": {s.name: str(signal.getsignal(s)).split(" at ")[0] for s in signal.Signals},
    "blocked": [line for line in open("/proc/self/status") if line.startswith("SigBlk")],
    "time zone": time.tzname,
    "locale": locale.setlocale(locale.LC_ALL),
    "streams": [(s.encoding, s.errors, s.line_buffering) for s in (sys.__stdout__, sys.__stderr__)],
    "stdin at end": sys.__stdin__.read(),
    "gc": (gc.isenabled(), gc.get_threshold()),
    "log handlers": sorted(handlers()),
    "warning filters": sorted(map(str, warnings.filters)),
    "matplotlib": {k: repr(v) for k, v in matplotlib.rcParams.items()},
    "pandas": pandas.get_option("display.max_columns"),
    "numpy": (str(numpy.geterr()), str(numpy.get_printoptions())),
    "shell events": {k: len(v) for k, v in get_ipython().events.callbacks.items()},
}
"""


@pytest.mark.slow
def test_state_is_that_of_a_spawned_kernel(
    fork_pool: KernelPool, spawn_pool: KernelPool, execute: Execute
) -> None:
    forked = execute(fork_pool, IMPORTS, STATE).value()
    spawned = execute(spawn_pool, IMPORTS, STATE).value()

    assert forked == spawned


def test_no_module_of_the_project_is_imported(fork_pool: KernelPool, execute: Execute) -> None:
    cell = "import sys; [name for name in sys.modules if name.split('.')[0] == 'taxi_nb']"

    assert execute(fork_pool, cell).value() == []


def test_kernels_draw_different_random_numbers(fork_pool: KernelPool, execute: Execute) -> None:
    cell = """
    import multiprocessing, random, tempfile, uuid
    import numpy
    key = bytes(multiprocessing.current_process().authkey)
    name = next(tempfile._get_candidate_names())
    [random.random(), float(numpy.random.random()), uuid.uuid4().hex, key, name]
    """
    first, second = (execute(fork_pool, textwrap.dedent(cell)).value() for _ in range(2))

    assert len({*first, *second}) == 10


def test_file_descriptors_of_the_server_are_not_inherited(
    fork_pool: KernelPool, execute: Execute
) -> None:
    cell = """
    import os
    def sockets(pid):
        links = (f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd"))
        return {os.readlink(link) for link in links if os.path.lexists(link)}
    sockets("self") & sockets(os.getppid())
    """

    assert execute(fork_pool, textwrap.dedent(cell)).value() == {"/dev/null"}


def test_blas_openmp_and_xgboost_use_several_threads(
    fork_pool: KernelPool, execute: Execute
) -> None:
    cell = """
    import os
    import numpy, sklearn.ensemble, threadpoolctl, xgboost

    def threads():
        return len(os.listdir("/proc/self/task"))

    def new_threads(work):
        before = threads()
        work()
        return threads() - before

    X = numpy.random.default_rng(0).normal(size=(2000, 20))
    y = X @ numpy.arange(20.0)
    trees = xgboost.XGBRegressor(n_estimators=5)
    boosting = sklearn.ensemble.HistGradientBoostingRegressor(max_iter=5)
    (
        new_threads(lambda: X @ X.T),
        new_threads(lambda: trees.fit(X, y)),
        trees.score(X, y) > 0.3 and boosting.fit(X, y).score(X, y) > 0.3,
        {pool["num_threads"] for pool in threadpoolctl.threadpool_info()},
        len(os.sched_getaffinity(0)),
    )
    """
    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = execute(fork_pool, textwrap.dedent(cell), env=env)
    blas, openmp, learnt, sizes, cpus = done.value()

    assert sizes == {cpus}
    assert learnt
    assert cpus == 1 or (blas > 0 and openmp > 0)


def test_arrow_and_joblib_work_in_parallel(
    fork_pool: KernelPool, execute: Execute, tmp_path: Path
) -> None:
    cell = """
    import joblib, pandas, pyarrow
    frame = pandas.DataFrame({name: range(1000) for name in "abcdefgh"})
    frame.to_parquet("frame.parquet")
    back = pandas.read_parquet("frame.parquet", engine="pyarrow")
    back.equals(frame), joblib.Parallel(2)(joblib.delayed(abs)(-n) for n in range(3))
    """
    done = execute(fork_pool, textwrap.dedent(cell), cwd=tmp_path)

    assert done.value() == (True, [0, 1, 2])


def test_thread_limits_of_the_environment_are_obeyed(
    fork_pool: KernelPool, execute: Execute
) -> None:
    cell = "import threadpoolctl; {pool['num_threads'] for pool in threadpoolctl.threadpool_info()}"
    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}

    assert execute(fork_pool, cell, env=env | {"OMP_NUM_THREADS": "1"}).value() == {1}


def test_atexit_handlers_of_libraries_run_after_ipykernels_own(
    execute: Execute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "note"
    (tmp_path / "noting.py").write_text(
        "import atexit, sys\n"
        "def note():\n"
        f"    with open({str(note)!r}, 'a') as file:\n"
        "        file.write(type(sys.stdout).__name__)\n"
        "atexit.register(note)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with KernelPool("fork", ["ipykernel.kernelapp", "noting"]) as pool:
        execute(pool, "import noting", shutdown_kernel="graceful")

    # Once, in the kernel alone; and not to a stream that leads to closed sockets.
    assert note.read_text() == "TextIOWrapper"


def test_server_with_threads_does_not_fork(
    execute: Execute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "threading_library.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, name='busy', daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        caplog.at_level(logging.WARNING),
        KernelPool("fork", ["threading_library"]) as pool,
    ):
        assert execute(pool, "1 + 1").value() == 2

    assert "spawning the kernel instead of forking it: threads are running: busy" in caplog.text


def test_missing_library_is_skipped(execute: Execute) -> None:
    with KernelPool("fork", ["no_such_library", "json"]) as pool:
        assert execute(pool, "import sys; 'json' in sys.modules").value() is True


def test_import_path_of_the_environment_is_obeyed(
    fork_pool: KernelPool, spawn_pool: KernelPool, execute: Execute, tmp_path: Path
) -> None:
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    forked = execute(fork_pool, "import sys; sys.path", env=env).value()
    spawned = execute(spawn_pool, "import sys; sys.path", env=env).value()

    assert str(tmp_path) in forked
    assert forked == spawned


def test_what_cannot_change_after_a_fork_is_spawned(
    fork_pool: KernelPool, execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    cell = "import sys; sys.flags.hash_randomization"
    with caplog.at_level(logging.WARNING):
        done = execute(fork_pool, cell, env=os.environ | {"PYTHONHASHSEED": "0"})

    assert done.value() == 0
    assert "other values of PYTHONHASHSEED" in caplog.text


def test_what_cannot_change_can_be_given_to_the_pool(
    execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    env = os.environ | {"PYTHONHASHSEED": "0"}
    with KernelPool("fork", ["json"], env=env) as pool:
        done = execute(pool, "import sys; sys.flags.hash_randomization", env=env)

    assert done.value() == 0
    assert "spawning" not in caplog.text


def test_server_has_imported_all_default_libraries_and_no_threads(
    fork_pool: KernelPool, execute: Execute
) -> None:
    cell = """
    import os, sys
    server = os.getppid()
    log = os.path.join(os.path.dirname(os.path.dirname(sys.argv[2])), "fork_server.log")
    len(os.listdir(f"/proc/{server}/task")), open(log).read()
    """

    assert execute(fork_pool, textwrap.dedent(cell)).value() == (1, "")

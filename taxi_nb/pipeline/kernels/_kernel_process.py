"""The process that a kernel is: forked from the server of kernels, or a program of its own.

A spawned kernel is ``python _kernel_process.py -m ipykernel_launcher -f CONNECTION_FILE``, and
all else is as without the first argument. It uses the standard library alone, and no kernel holds
a module of this project that its notebook did not import.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

# How long the last messages of a kernel may take.
CONTROL_GRACE_SECONDS = 2.0

PR_SET_PDEATHSIG = 1

# What all open files are, those written in C among them.
_STREAM = io.TextIOWrapper.__mro__[-2]


@dataclass(frozen=True)
class KernelRequest:
    """The file descriptors of a kernel that a forked child has to become."""

    channel: socket.socket
    stdout: int
    stderr: int


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        channel.sendall(json.dumps(message).encode() + b"\n")


def become_kernel(
    request: KernelRequest, server_pid: int, set_by_imports: dict[str, str]
) -> NoReturn:
    """Turn this forked child into the process that a freshly started ipykernel would be.

    `set_by_imports` are variables that libraries set while they were imported, and count on.
    """
    of_server = set(sys.modules)
    os.setsid()
    _die_with_server(server_pid)
    send(request.channel, {"pid": os.getpid()})
    with request.channel, request.channel.makefile("rb") as file:
        line = file.readline()
    if not line.endswith(b"\n"):
        os._exit(1)
    launch = json.loads(line)
    _take_streams(request.stdout, request.stderr)
    _take_environment(set_by_imports | launch["env"])
    _take_place(launch["argv"], launch["cwd"])
    # Or all kernels would draw the same numbers; `random` is seeded by a fork itself.
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    gc.enable()
    _run_kernel(server_pid)
    _end(of_server)


def _die_with_server(server_pid: int) -> None:
    """Ask for SIGKILL on the server's death; elsewhere than on Linux, ipykernel polls for it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server_pid:
        os._exit(1)


def _take_streams(stdout: int, stderr: int) -> None:
    for target, source in ((1, stdout), (2, stderr)):
        os.dup2(source, target)
        os.close(source)
    # The server's own output was no terminal.
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]


def _take_environment(env: dict[str, str]) -> None:
    old = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    _take_python_path(env.get("PYTHONPATH", ""), old.get("PYTHONPATH", ""))
    for user_api, names in THREAD_VARIABLES.items():
        if any(env.get(name) != old.get(name) for name in names):
            _limit_threads(user_api, [env.get(name, "") for name in names])


def _take_python_path(new: str, old: str) -> None:
    if new == old:
        return
    gone = {os.path.abspath(entry) for entry in old.split(os.pathsep)} if old else set()
    added = [os.path.abspath(entry) for entry in new.split(os.pathsep)] if new else []
    sys.path[:] = added + [entry for entry in sys.path if entry not in gone]


# The variables that each kind of library reads when it is loaded, the strongest first.
THREAD_VARIABLES = {
    "blas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "openmp": ("OMP_NUM_THREADS",),
}


def _limit_threads(user_api: str, given: Iterable[str]) -> None:
    """Limit loaded libraries to the first number that is given, or to the usable processors."""
    numbers = (text.split(",")[0].strip() for text in given)
    number = next((int(number) for number in numbers if number.isdigit()), 0)
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    with contextlib.suppress(ImportError):
        import threadpoolctl

        threadpoolctl.threadpool_limits(number or usable, user_api=user_api)


def _take_place(argv: list[str], cwd: str) -> None:
    """Stand where ``python -m ipykernel_launcher`` would: arguments, directory, import path."""
    _pose_as_launcher(argv)
    os.chdir(cwd)
    importlib.invalidate_caches()
    # Modules keep these from when they were imported or first used.
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.ORIGINAL_DIR = cwd
        process.current_process().authkey = os.urandom(32)
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None


def _pose_as_launcher(argv: list[str]) -> None:
    import ipykernel_launcher

    sys.orig_argv[:] = argv
    sys.argv[:] = [str(ipykernel_launcher.__file__), *argv[argv.index("-m") + 2 :]]
    # Imported only for its path: where it is the program, it is `__main__` alone.
    del sys.modules["ipykernel_launcher"]


def _run_kernel(server_pid: int) -> None:
    from ipykernel.kernelapp import IPKernelApp

    # JPY_PARENT_PID was read when the class was made, in the server.
    os.environ["JPY_PARENT_PID"] = str(server_pid)
    handlers = _handlers_on(sys.stderr)
    app = IPKernelApp.instance(parent_handle=server_pid)
    app.initialize()  # type: ignore[no-untyped-call]
    # Which matplotlib would obey if it were imported now.
    if (matplotlib := sys.modules.get("matplotlib")) and os.environ.get("MPLBACKEND"):
        matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"]
    # Libraries that are imported in a notebook log to the notebook.
    for handler in handlers:
        handler.setStream(sys.stderr)
    _serve(app)


def _serve(app: Any) -> None:
    """Be the kernel until it is asked to end.

    The reply has to be out before `IPKernelApp.close`, at exit, ends its way. Otherwise the thread
    now and then waits for ever for another that has ended, and the kernel for it, until a signal
    kills it and no exit handler of a library runs.
    """
    app.start()
    if app.control_thread is not None and app.control_thread.is_alive():
        app.control_thread.stop()
        app.control_thread.join(CONTROL_GRACE_SECONDS)


def _end(of_server: set[str]) -> NoReturn:
    """End as an interpreter ends, but leave alone what the server had imported.

    To take that apart would copy the pages that all kernels share: 0.15 s of each step.
    """
    shut_down: Any = threading._shutdown  # type: ignore[attr-defined]
    shut_down()
    atexit._run_exitfuncs()
    for module in [sys.modules[name] for name in reversed(sys.modules) if name not in of_server]:
        if type(module) is ModuleType:  # One that is lazy would be imported now.
            # As the interpreter does: what a module held is let go, and the name stays.
            vars(module).update(dict.fromkeys(vars(module).keys() - {"__builtins__"}))
    gc.collect()
    for left in gc.get_objects():
        if issubclass(type(left), _STREAM):
            with contextlib.suppress(Exception):
                left.flush()
    # The exit of C and not `os._exit`: libraries that are no Python have handlers, too.
    ctypes.PyDLL(None).exit(0)
    raise AssertionError("a process has ended here")


def _handlers_on(stream: Any) -> list[logging.StreamHandler[Any]]:
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = (h for logger in loggers for h in getattr(logger, "handlers", ()))
    return [h for h in handlers if isinstance(h, logging.StreamHandler) and h.stream is stream]


def main() -> None:
    """Be a spawned kernel."""
    # A program's folder is put in front, and its modules are not for the notebook.
    if sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]
    _pose_as_launcher([sys.executable, *sys.argv[1:]])
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize()  # type: ignore[no-untyped-call]
    _serve(app)


if __name__ == "__main__":
    main()

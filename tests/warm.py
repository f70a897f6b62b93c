"""Python programs in processes that are forked from one in which the libraries are imported.

Importing MLflow, papermill and nbconvert takes four seconds of processor time, and the command
line is called a hundred times. All else is as in a process that is started: it has its own
environment, folder, streams and signals, and it reads this project's code itself. This file, run
by path, is the process that is forked; it imports and forks, and nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

LIBRARIES = (
    *("mlflow", "mlflow.store.tracking.sqlalchemy_workspace_store", "mlflow.tracing.provider"),
    *("mlflow.tracing.processor.base_mlflow", "alembic.command", "sqlalchemy.dialects.sqlite"),
    *("papermill", "nbclient", "nbconvert", "nbformat", "jupyter_client.asynchronous", "git"),
    *("ipykernel.kernelspec", "typer", "rich.live", "ruamel.yaml", "jinja2.ext", "nh3", "psutil"),
    *("latex2mathml", "pydantic.dataclasses", "filelock", "pandas", "pyarrow.parquet"),
)
KERNELS = Path(__file__).resolve().parent.parent / "taxi_nb" / "pipeline" / "kernels"


class Forked:
    """A running program, with what tests use of `subprocess.Popen`."""

    def __init__(self, status: IO[str], stdout: IO[str], stderr: IO[str]) -> None:
        self._status = status
        self.stdout, self.stderr = stdout, stderr
        self.pid = int(status.readline())
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code, ``-N`` after signal N."""
        if self.returncode is None:
            with ThreadPoolExecutor(1) as reader:
                self.returncode = int(reader.submit(self._status.readline).result(timeout))
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Return what is left of output and errors once both have been closed."""
        with ThreadPoolExecutor(2) as readers:
            texts = readers.map(lambda stream: stream.read(), (self.stdout, self.stderr))
            out, err = list(texts)
        self.stdout.close()
        self.stderr.close()
        self.wait(timeout)
        return out, err


class WarmPython:
    """Starts programs as the interpreter does, after `-m` or `-c`; ends with `close`."""

    def __init__(self) -> None:
        # No library may start a thread where processes are forked, for kernels as for these.
        from taxi_nb.pipeline.kernels._client import SERVER_ENVIRONMENT

        self._control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env={**os.environ, **SERVER_ENVIRONMENT, "PYTHONUNBUFFERED": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Forked:
        """Start ``python ARGUMENTS``, with pipes for output and errors, and return at once."""
        request = {"argv": list(arguments), "cwd": str(cwd), "env": dict(env)}
        pipes = [os.pipe() for _ in range(3)]
        socket.send_fds(
            self._control, [json.dumps(request).encode()], [theirs for _, theirs in pipes]
        )
        for _, theirs in pipes:
            os.close(theirs)
        return Forked(*(open(ours, encoding="utf-8") for ours, _ in pipes))

    def close(self) -> None:
        self._control.close()
        self._process.wait(60)


def serve(control: socket.socket) -> dict[str, Any]:
    """Fork a program for each request; returns its request in the process that has to become it."""
    watchers = 0
    while True:
        message, streams, _, _ = socket.recv_fds(control, 1 << 20, 3)
        while watchers and os.waitpid(-1, os.WNOHANG if message else 0)[0]:
            watchers -= 1
        if not message:
            os._exit(0)
        watchers += 1
        if os.fork() == 0:
            control.close()
            if (pid := os.fork()) == 0:
                os.close(streams[0])
                return {**json.loads(message), "streams": streams[1:]}
            for stream in streams[1:]:
                os.close(stream)
            _watch(pid, streams[0])
        for stream in streams:
            os.close(stream)


def _watch(pid: int, status: int) -> None:
    os.write(status, f"{pid}\n".encode())
    _, how = os.waitpid(pid, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(how)}\n".encode())
    os._exit(0)


def become(option: str, program: str, *arguments: str) -> None:
    """Be ``python -m MODULE ...`` or ``python -c CODE ...``."""
    sys.argv[:] = [option, *arguments]
    if option == "-m":
        sys.path.insert(0, os.getcwd())
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, "")
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(program, "<string>", "exec"), main.__dict__)


def main() -> None:
    """Import, then serve."""
    sys.path[0] = str(KERNELS)
    import _fork_server as kernels  # type: ignore[import-not-found]

    del sys.path[0]
    set_by_imports = kernels.preload(LIBRARIES)
    gc.collect()
    gc.freeze()
    kernels.end_library_threads()
    if threads := kernels.extra_threads():
        raise SystemExit(f"threads would be lost by a fork: {', '.join(threads)}")
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    kernels._take_streams(*request["streams"])
    kernels._take_environment(set_by_imports | request["env"])
    os.chdir(request["cwd"])
    # A suite in the background may have been told to ignore them; a terminal's programs are not.
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.modules["numpy.random"].seed()
    sys.orig_argv[:] = [sys.executable, *request["argv"]]
    become(*request["argv"])


if __name__ == "__main__":
    main()

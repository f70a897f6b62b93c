"""The pipeline's side of the fork server: starting it and asking it for kernels."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taxi_nb.pipeline.kernels.processes import ForkedProcess

SCRIPT = Path(__file__).with_name("_fork_server.py")

# No thread may run in the server, so whatever a library would start there is off. Kernels do not
# inherit this: they get the environment that their client gives.
SERVER_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    # Or ipykernel's debugger warns of breakpoints that it might miss.
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
# Libraries read these while they are imported, so that the server must not have them.
KERNEL_ONLY = ("MPLBACKEND", "JPY_PARENT_PID", "JPY_INTERRUPT_EVENT", "JPY_SESSION_NAME")

# Importing everything on a cold disk, next to other work.
START_TIMEOUT_SECONDS = 180.0
STOP_TIMEOUT_SECONDS = 10.0

# Beginnings of variables that the interpreter, or a library while it is loaded, reads once.
READ_BEFORE_FORK = (
    "PYTHON", "LC_", "LANG", "LD_", "DYLD_", "MALLOC_", "GLIBC_", "MIMALLOC_", "JE_ARROW_",
    "ARROW_", "GOMP_", "KMP_", "MKL_", "NPY_", "NUMEXPR_", "OMP_", "OPENBLAS_", "PANDAS_",
    "SKLEARN_", "HOME", "MATPLOTLIBRC", "MPLCONFIGDIR", "MLFLOW_CONFIGURE_LOGGING",
    "MLFLOW_LOGGING_LEVEL",
)  # fmt: skip
# Of these, the ones that a forked kernel sets right itself, or that are read later.
SET_AFTER_FORK = {
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONBREAKPOINT", "PYTHONEXECUTABLE"),
    *("PYTHONPATH", "PYTHONSTARTUP"),
}


class ForkFailedError(RuntimeError):
    """The fork server cannot give a kernel; the message says why."""


class ForkServer:
    """The process that has imported `preload` and forks kernels; usable from several threads.

    It logs into `directory`, and removes that when this process dies.
    """

    def __init__(self, preload: Sequence[str], directory: Path, env: Mapping[str, str]) -> None:
        """Start the process and return at once; requests wait until it has imported."""
        self._env = env
        self._log_path = directory / "fork_server.log"
        self._lock = threading.Lock()
        self._has_forked = self._closed = False
        self._control, theirs = socket.socketpair()
        with theirs, self._log_path.open("wb") as log:
            settings = {"control": theirs.fileno(), "preload": preload, "directory": str(directory)}
            inherited = {k: v for k, v in env.items() if k not in KERNEL_ONLY}
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), json.dumps(settings)],
                env=inherited | SERVER_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def close(self) -> None:
        """End the server and with it all its kernels; harmless if it has ended."""
        with self._lock:
            self._closed = True
            self._control.close()
            if not self._has_forked:
                # It may be importing, and deaf to the closed socket.
                self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                # Kernels die with it, see PR_SET_PDEATHSIG.
                self._process.kill()
                self._process.wait()

    def unfit_variables(self, env: Mapping[str, str]) -> list[str]:
        """Return the variables in which `env` differs although they are read before a fork."""
        names = (env.keys() | self._env.keys()) - SET_AFTER_FORK
        differing = (n for n in names if env.get(n) != self._env.get(n))
        return sorted(n for n in differing if n.startswith(READ_BEFORE_FORK))

    async def fork(
        self, argv: list[str], env: dict[str, str], cwd: str, stdout: int, stderr: int
    ) -> ForkedProcess:
        """Have a kernel forked that the command `argv` would spawn, with these descriptors.

        Raises ForkFailedError if the server has died, holds threads or does not answer, and
        RuntimeError if it was closed.
        """
        launch = {"argv": argv, "env": env, "cwd": cwd}
        try:
            channel = self._request(stdout, stderr)
        except OSError as error:
            raise self._failure(f"the fork server is gone: {error}") from error
        try:
            process = await asyncio.wait_for(_launch(channel, launch), START_TIMEOUT_SECONDS)
        except OSError as error:
            channel.close()
            why = str(error) or f"no answer in {START_TIMEOUT_SECONDS:.0f} s"
            raise self._failure(why) from error
        except BaseException:
            # A closed channel makes the server kill what it forked for it.
            channel.close()
            raise
        self._has_forked = True
        return process

    def _failure(self, why: str) -> RuntimeError:
        if self._closed:
            return RuntimeError("the fork server was closed")
        log = ""
        with contextlib.suppress(OSError):
            log = self._log_path.read_text(errors="replace").strip()
        return ForkFailedError(f"{why}; its last words: {log[-1000:]}" if log else why)

    def _request(self, stdout: int, stderr: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            try:
                socket.send_fds(self._control, [b"k"], [theirs.fileno(), stdout, stderr])
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        return ours


async def _launch(channel: socket.socket, launch: dict[str, Any]) -> ForkedProcess:
    loop = asyncio.get_running_loop()
    # A server that refuses hangs up without listening, after an answer that says why.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await loop.sock_sendall(channel, json.dumps(launch).encode() + b"\n")
    received = b""
    while b"\n" not in received:
        data = await loop.sock_recv(channel, 4096)
        if not data:
            raise OSError("the fork server died")
        received += data
    line, _, rest = received.partition(b"\n")
    answer = json.loads(line)
    if "pid" not in answer:
        raise OSError(answer.get("refused") or f"the fork ended with {answer['returncode']}")
    return ForkedProcess(answer["pid"], channel, rest)

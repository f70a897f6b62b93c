"""Python programs in processes that are forked from one in which the libraries are imported.

Importing MLflow, papermill and nbconvert takes four seconds of processor time, and the command
line is called hundreds of times. All else is as in a process that is started: it has its own
environment, folder, streams and signals, and it reads this project's code itself. The process
that a command starts to fork its kernels from is forked, too, from a second one that has imported
what kernels use. This file, run by path, is the process that is forked; it imports and forks, and
nothing else.
"""

from __future__ import annotations

import gc
import io
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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

LIBRARIES = (
    *("mlflow", "mlflow.store.tracking.sqlalchemy_workspace_store", "mlflow.tracing.provider"),
    *("mlflow.tracing.processor.base_mlflow", "alembic.command", "sqlalchemy.dialects.sqlite"),
    *("papermill", "nbclient", "nbconvert", "nbformat", "jupyter_client.asynchronous", "git"),
    *("ipykernel.kernelspec", "typer", "rich.live", "ruamel.yaml", "jinja2.ext", "nh3", "psutil"),
    *("latex2mathml", "pydantic.dataclasses", "filelock", "pandas", "pyarrow.parquet"),
    *("IPython.lib.lexers", "pygments.lexers.shell", "pygments.lexers.lilypond", "alembic.config"),
    *("mlflow.tracing.processor.otel", "rich.table", "rich.padding"),
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


class ForkedServer(Forked):
    """The process that kernels are forked from, as its client knows it."""

    def __init__(self, status: IO[str]) -> None:
        super().__init__(status, io.StringIO(), io.StringIO())

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        try:
            return super().wait(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired("a forked server", timeout or 0) from None


@dataclass(frozen=True)
class KernelServers:
    """Where `_fork_server.py` is forked instead of started, and with which environment that fits.

    The client of `control` is any process that was forked from here.
    """

    control: int
    script: str
    environment: Mapping[str, str]
    read_before_fork: Sequence[str]
    set_after_fork: Sequence[str]

    def take_over(self) -> None:
        """Fork from now on what this process would start of these."""
        servers = self

        class Popen(subprocess.Popen):  # type: ignore[type-arg]
            def __new__(cls, args: Any, *_: Any, **options: Any) -> Any:
                if servers._fits(args, options):
                    return servers._fork(args, **options)
                return super().__new__(cls)

        subprocess.Popen = Popen  # type: ignore[misc]

    def _fits(self, args: Any, options: Mapping[str, Any]) -> bool:
        if not (isinstance(args, list) and args[:2] == [sys.executable, self.script]):
            return False
        env = options["env"]
        differing = {name for name in env | self.environment if self._differs(name, env)}
        return not differing.difference(self.set_after_fork)

    def _differs(self, name: str, env: Mapping[str, str]) -> bool:
        read_before = name.startswith(tuple(self.read_before_fork))
        return read_before and env.get(name) != self.environment.get(name)

    def _fork(self, args: list[str], **options: Any) -> ForkedServer:
        request = {"argv": args[2:], "cwd": os.getcwd(), "env": dict(options["env"])}
        ours, theirs = os.pipe()
        streams = [theirs, options["stderr"].fileno(), *options["pass_fds"]]
        with socket.socket(fileno=os.dup(self.control)) as control:
            socket.send_fds(control, [json.dumps(request).encode()], streams)
        os.close(theirs)
        return ForkedServer(open(ours, encoding="utf-8"))


class WarmPython:
    """Starts programs as the interpreter does, after `-m` or `-c`; ends with `close`."""

    def __init__(self) -> None:
        # No library may start a thread where processes are forked, for kernels as for these.
        from taxi_nb.pipeline.kernels import _client
        from taxi_nb.pipeline.kernels.pool import DEFAULT_PRELOAD, in_one_order

        env = {**os.environ, **_client.SERVER_ENVIRONMENT}
        kernel_env = {
            name: value
            for name, value in in_one_order(env).items()
            if name not in _client.KERNEL_ONLY
        }
        self._kernels, self._kernels_control = self._begin([*DEFAULT_PRELOAD], kernel_env)
        servers: list[Any] = [
            *(self._kernels_control.fileno(), str(_client.SCRIPT), kernel_env),
            *(_client.READ_BEFORE_FORK, sorted(_client.SET_AFTER_FORK)),
        ]
        self.kernel_servers = KernelServers(*servers)
        self._process, self._control = self._begin(
            LIBRARIES, {**env, "PYTHONUNBUFFERED": "1"}, servers
        )

    @staticmethod
    def _begin(
        modules: Sequence[str], env: Mapping[str, str], kernels: Sequence[Any] = ()
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Start a process that forks, and return it with our end of its socket."""
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            settings = json.dumps([theirs.fileno(), modules, kernels])
            process = subprocess.Popen(
                [sys.executable, __file__, settings],
                env=env,
                pass_fds=[theirs.fileno(), *kernels[:1]],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return process, ours

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
        for control in (self._control, self._kernels_control):
            control.close()
        for process in (self._process, self._kernels):
            process.wait(60)


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


def be_kernel_server(request: Mapping[str, Any], kernels: Any, kernel: Any, imported: Any) -> None:
    """Be ``python _fork_server.py SETTINGS``, with its libraries imported already."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_WRONLY)
    log, control = request["streams"]
    kernel._take_streams(nothing, log)
    kernel._take_environment(request["env"] | imported)
    os.chdir(request["cwd"])
    settings = json.loads(request["argv"][0]) | {"control": control}
    sys.argv[:] = [str(KERNELS / "_fork_server.py"), json.dumps(settings)]
    sys.path.insert(0, str(KERNELS))  # Which it takes away.
    sys.modules.pop(kernels.__name__)
    import_rest = kernels.preload
    kernels.preload = lambda modules: imported | import_rest(modules)
    kernels.main()


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


def listen() -> None:
    """Hear signals that a suite in the background may be told to ignore, as in a terminal."""
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def main() -> None:
    """Import, when somebody asks for something, then serve."""
    sys.path[0] = str(KERNELS)
    import _fork_server as kernels  # type: ignore[import-not-found]
    import _kernel_process as kernel  # type: ignore[import-not-found]

    del sys.path[0]
    control, modules, servers = json.loads(sys.argv[1])
    if not socket.socket(fileno=os.dup(control)).recv(1, socket.MSG_PEEK):
        return  # Nobody asked.
    set_by_imports = kernels.preload(modules)
    gc.collect()
    gc.freeze()
    kernels.end_library_threads()
    if threads := kernels.extra_threads():
        raise SystemExit(f"threads would be lost by a fork: {', '.join(threads)}")
    request = serve(socket.socket(fileno=control))
    if not servers:
        be_kernel_server(request, kernels, kernel, set_by_imports)
        return
    kernel._take_streams(*request["streams"])
    kernel._take_environment(set_by_imports | request["env"])
    os.chdir(request["cwd"])
    listen()
    sys.modules["numpy.random"].seed()
    sys.orig_argv[:] = [sys.executable, *request["argv"]]
    KernelServers(*servers).take_over()
    become(*request["argv"])


if __name__ == "__main__":
    main()

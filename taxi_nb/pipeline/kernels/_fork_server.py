"""The process that kernels are forked from: it imports libraries once and then only forks.

Run by path, ``python _fork_server.py SETTINGS``, with a Unix socket (the *control* socket) that
it inherits. It uses the standard library and modules beside it that it forgets again, so no
kernel forked from it holds a module of this project that the notebook did not import.

The protocol
------------
control, client to server
    one byte for each kernel wanted, and three file descriptors with it: the kernel's *channel*,
    its standard output and its standard error. End of file: kill all kernels, clean up, leave.
channel, client to kernel
    one JSON line: ``{"argv": [...], "env": {...}, "cwd": "..."}``.
    End of file: kill this kernel.
channel, kernel or server to client
    JSON lines: ``{"pid": 7}`` from the kernel when it leads its own process group,
    ``{"returncode": 0}`` from the server when it has ended, or ``{"refused": "why"}``.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import importlib
import inspect
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taxi_nb.pipeline.kernels._kernel_process import KernelRequest, become_kernel, send
    from taxi_nb.pipeline.kernels._process_groups import EndedLeader, has_ended
else:  # This file's folder is on the path of a program that is run by path.
    from _kernel_process import KernelRequest, become_kernel, send
    from _process_groups import EndedLeader, has_ended

# Importing these does something that depends on the kernel it happens in (registering figures
# with the shell, choosing a progress bar), so every kernel has to import them itself. The
# project's own code, of which MLflow imports a plug-in, must be read by each kernel, too.
KERNEL_SPECIFIC = (
    *("taxi_nb", "_kernel_process", "_process_groups", "ipywidgets", "matplotlib_inline"),
    *("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"),
)

# How long a thread that is to end may take.
THREAD_GRACE_SECONDS = 1.0
GROUP_POLL_MILLISECONDS = 5


# --- importing -------------------------------------------------------------------------------


def preload(modules: Iterable[str]) -> dict[str, str]:
    """Import modules, as far as possible, and return the variables that they have set."""
    before = dict(os.environ)
    builtins.get_ipython = _SHELL  # type: ignore[attr-defined]
    try:
        for name in modules:
            try:
                importlib.import_module(name)
            except Exception as error:  # Every kernel tries for itself.
                print(f"not preloaded: {name}: {type(error).__name__}: {error}", file=sys.stderr)
        _read_migrations()
        _list_backends()
    finally:
        del builtins.get_ipython  # type: ignore[attr-defined]
    _forget(KERNEL_SPECIFIC)
    # Each kernel whose cell raises would look where the files of all modules are.
    inspect.getmodule(preload.__code__)
    return {name: value for name, value in os.environ.items() if name not in before}


def _read_migrations() -> None:
    """Read MLflow's migrations once for all kernels.

    To learn the number of the newest each would execute all of them when it opens a database.
    """
    database: Any = sys.modules.get("mlflow.store.db.utils")
    with contextlib.suppress(Exception):  # Every kernel tries for itself.
        newest = database._get_latest_schema_revision()
        database._get_latest_schema_revision = lambda: newest


def _list_backends() -> None:
    """Have matplotlib read all packages' entry points once: each kernel sets its backend."""
    backends: Any = sys.modules.get("matplotlib.backends")
    with contextlib.suppress(Exception):  # Every kernel tries for itself.
        backends.backend_registry.list_all()


# Stands for the shell while importing: pandas asks whether it runs in a terminal.
_SHELL = type("ZMQInteractiveShell", (), {"kernel": None, "config": {"IPKernelApp": {}}})


def _forget(packages: Iterable[str]) -> None:
    for package in packages:
        for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
            del sys.modules[name]
            parent, _, attribute = name.rpartition(".")
            with contextlib.suppress(AttributeError):
                delattr(sys.modules.get(parent), attribute)


# --- threads ---------------------------------------------------------------------------------


def end_library_threads() -> None:
    """Fork once for nothing: OpenBLAS then ends its threads; others would be lost by a fork."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def extra_threads() -> list[str]:
    """Names of the threads besides the main one, those of C libraries among them."""
    deadline = time.monotonic() + THREAD_GRACE_SECONDS
    while (names := _extra_threads_now()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return names


def _extra_threads_now() -> list[str]:
    python = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    native: list[str] = []
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            # One that has just ended has no file any more.
            with contextlib.suppress(OSError), open(f"/proc/self/task/{task}/comm") as file:
                native += [file.read().strip()] if int(task) != os.getpid() else []
    return python if len(python) >= len(native) else native


# --- the server ------------------------------------------------------------------------------


class Server:
    """Forks kernels, waits for their ends, and takes them along when it goes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._channels: dict[int, socket.socket] = {}
        self._ended: dict[int, EndedLeader] = {}
        self._poll = select.poll()
        self._wakeup_read, self._wakeup_write = socket.socketpair()

    def serve(self) -> KernelRequest | None:
        """Serve until the client hangs up; returns in every forked child with its request."""
        for end in (self._wakeup_read, self._wakeup_write):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wakeup_write.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._wakeup_read, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll(GROUP_POLL_MILLISECONDS if self._ended else None):
                if fd == self._control.fileno():
                    hung_up, request = self._accept()
                    if hung_up or request:
                        return request
                elif fd == self._wakeup_read.fileno():
                    self._wakeup_read.recv(4096)
                else:
                    self._kill_kernel_of(fd)
            self._reap()

    def end_kernels(self) -> None:
        """Kill every kernel with its process group and wait for each."""
        for pid in self._channels:
            os.kill(pid, signal.SIGKILL)
        while self._channels:
            self._reap()
            time.sleep(GROUP_POLL_MILLISECONDS / 1000)

    def _accept(self) -> tuple[bool, KernelRequest | None]:
        byte, fds, _, _ = socket.recv_fds(self._control, 1, 3)
        if not byte:
            return True, None
        channel = socket.socket(fileno=fds[0])
        threads = extra_threads()
        if not threads and self._fork(channel):
            return False, KernelRequest(channel, *fds[1:])
        for fd in fds[1:]:
            os.close(fd)
        if threads:
            send(channel, {"refused": f"threads are running: {', '.join(threads)}"})
            channel.close()
        return False, None

    def _fork(self, channel: socket.socket) -> bool:
        """Fork; return whether this is the child."""
        pid = os.fork()
        if pid == 0:
            self._close()
            return True
        self._channels[pid] = channel
        # No event asked for: what the client writes is for the kernel; a hang-up always shows.
        self._poll.register(channel, 0)
        return False

    def _close(self) -> None:
        """Close in a forked child all that belongs to the server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        own = (self._control, self._wakeup_read, self._wakeup_write)
        for end in (*own, *self._channels.values()):
            end.close()
        self._channels.clear()

    def _kill_kernel_of(self, fd: int) -> None:
        self._poll.unregister(fd)
        for pid, channel in self._channels.items():
            if channel.fileno() == fd:
                os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        for pid in self._channels:
            if pid not in self._ended and has_ended(pid):
                self._ended[pid] = EndedLeader(pid)
        for pid in [pid for pid, leader in self._ended.items() if leader.is_alone()]:
            del self._ended[pid]
            _, status = os.waitpid(pid, 0)
            channel = self._channels.pop(pid)
            with contextlib.suppress(KeyError):
                self._poll.unregister(channel)
            send(channel, {"returncode": os.waitstatus_to_exitcode(status)})
            channel.close()


# --- the program -----------------------------------------------------------------------------


def main() -> None:
    """Serve; or, in a forked child, be a kernel and end as an interpreter ends."""
    # The first entry is this file's folder, and its modules are not for the kernels.
    del sys.path[0]
    settings = json.loads(sys.argv[1])
    gc.disable()
    server_pid = os.getpid()
    set_by_imports = preload(settings["preload"])
    gc.collect()
    gc.freeze()
    end_library_threads()
    control = socket.socket(fileno=settings["control"])
    server = Server(control)
    request = None
    try:
        request = server.serve()
    finally:
        if os.getpid() == server_pid:
            server.end_kernels()
            shutil.rmtree(settings["directory"], ignore_errors=True)
    if request is not None:
        become_kernel(request, server_pid, set_by_imports)
    # Handlers registered by libraries are for the kernels that used them, and to take all that was
    # imported apart again takes half a second.
    os._exit(0)


if __name__ == "__main__":
    main()

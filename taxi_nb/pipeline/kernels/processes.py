"""Kernel processes of both kinds, with the interface of `subprocess.Popen`, and their usage."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod

from taxi_nb.pipeline.kernels._process_groups import EndedLeader, has_ended, signal_group
from taxi_nb.tracking.measuring import peak_memory
from taxi_nb.tracking.names import CPU_METRIC, PEAK_METRIC

POLL_SECONDS = 0.005


class KernelProcess(ABC):
    """A process that leads its own group, and has ended when all of the group has.

    `returncode` is ``-N`` if signal N ended it, None while it runs.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        with self._lock:
            if self.returncode is None:
                self.returncode = self._status()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit status, as `subprocess.Popen.wait` does."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"kernel {self.pid}", timeout or 0)
            time.sleep(POLL_SECONDS)
        return status

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    @abstractmethod
    def _status(self) -> int | None:
        """Look for the exit status."""


class SpawnedProcess(KernelProcess):
    """A child of this process that was started in a session of its own."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        """Take over `popen`, which must not be waited for by anybody else."""
        super().__init__(popen.pid)
        self._popen = popen
        self._ended: EndedLeader | None = None

    def _status(self) -> int | None:
        if self._ended is None and has_ended(self.pid):
            self._ended = EndedLeader(self.pid)
        if self._ended is not None and self._ended.is_alone():
            return self._popen.wait()
        return None


class ForkedProcess(KernelProcess):
    """A child of the fork server, which reports over `channel` how it ended."""

    def __init__(self, pid: int, channel: socket.socket, received: bytes = b"") -> None:
        """Watch process `pid`; `received` has been read from the channel before."""
        super().__init__(pid)
        self._channel = channel
        self._received = received

    def _status(self) -> int | None:
        try:
            while data := self._channel.recv(4096):
                self._received += data
        except BlockingIOError:
            return None
        self._channel.close()
        if self._received:
            return int(json.loads(self._received)["returncode"])
        # The server has died, and the kernel with it: end the rest of its group.
        signal_group(self.pid, signal.SIGKILL)
        return -signal.SIGKILL


def usage_of(pid: int) -> dict[str, float]:
    """Return seconds of processor and the peak of resident memory of a kernel's process so far.

    The seconds are those of all threads, and of child processes that have ended. The peak is
    left out where the system does not tell.
    """
    import psutil

    try:
        usage = {CPU_METRIC: sum(psutil.Process(pid).cpu_times()[:4])}
    except psutil.Error:  # It has died.
        return {}
    peak = peak_memory(pid)
    return usage if peak is None else {**usage, PEAK_METRIC: peak}

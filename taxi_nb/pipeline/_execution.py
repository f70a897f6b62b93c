"""An execution while it goes on: its kernel, its cells; and how it ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taxi_nb.pipeline.record import Status, StepError

if TYPE_CHECKING:
    from jupyter_client import AsyncKernelManager

OnCell = Callable[[int, int], None]


@dataclass(frozen=True)
class Execution:
    """How the execution of a notebook ended."""

    status: Status
    seconds: float
    error: StepError | None = None
    # For each code cell that ended its number, from 1, and its seconds.
    cells: tuple[dict[str, float], ...] = ()
    startup_seconds: float | None = None
    # Metrics of the kernel's process.
    usage: Mapping[str, float] = field(default_factory=dict)


class KernelHandle:
    """Lets another thread end the kernel of a running execution."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._manager: AsyncKernelManager | None = None
        self.killed_because: Status | None = None
        # What the kernel used when it was ended for it.
        self.memory: str | None = None

    @property
    def pid(self) -> int | None:
        """The kernel's process, once there is one."""
        with self._lock:
            provisioner = self._manager and self._manager.provisioner
        return getattr(provisioner, "pid", None)

    def attach(self, manager: AsyncKernelManager) -> None:
        """Take charge of a kernel; ends it at once if that was asked for before."""
        with self._lock:
            self._manager = manager
        if self.killed_because:
            self.kill(self.killed_because)

    def kill(self, because: Status) -> None:
        """End the kernel and all processes of its group, now."""
        with self._lock:
            self.killed_because = self.killed_because or because
        if (pid := self.pid) is not None:
            # A kernel leads its own process group; what its cells started belongs to it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(os.getpgid(pid), signal.SIGKILL)


@dataclass
class CellLog:
    """The engine's report is the truth: papermill calls cells completed that never ran."""

    on_cell: OnCell = lambda number, total: None
    timings: list[dict[str, float]] = field(default_factory=list)
    current: int | None = None
    failed: BaseException | None = None
    # A cell ended the notebook on purpose: the cells after it were not executed.
    ended_early: bool = False
    begun: float = field(default_factory=time.perf_counter)
    startup_seconds: float | None = None
    usage: Mapping[str, float] = field(default_factory=dict)

    def kernel_is_ready(self) -> None:
        self.startup_seconds = round(time.perf_counter() - self.begun, 3)

    def start(self, number: int, total: int) -> None:
        self.current = number
        self.on_cell(number, total)

    def finish(self, seconds: float) -> None:
        assert self.current is not None
        self.timings.append({"cell": self.current, "seconds": seconds})

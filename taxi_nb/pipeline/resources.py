"""The memory and processors that steps ask for: which fit together, and a limit that is held."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._execution import KernelHandle
from taxi_nb.pipeline.record import Status
from taxi_nb.pipeline.spec import Step
from taxi_nb.tracking.environment import machine_memory, usable_cores

_POLL_SECONDS = 0.2


class ResourceError(ValueError):
    """A step asks for more than this machine has."""


def usable_memory() -> int:
    """Return the bytes of memory that processes here may use, a container's limit counted."""
    limits = [machine_memory() or sys.maxsize]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int(Path(file).read_text()))
    return min(limits)


def usable_cpus() -> float:
    """Return the processors that processes here may use, a container's limit counted."""
    count = float(usable_cores())
    with suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, int(quota) / int(period))
    return count


def require_resources(steps: Iterable[Step]) -> None:
    """Raise a ResourceError if a step could never start on this machine."""
    for step in steps:
        if step.memory and step.memory > (memory := usable_memory()):
            has = f"this machine has {gigabytes(memory)}"
            raise ResourceError(f"{step.name} asks for {gigabytes(step.memory)} of memory; {has}")
        if step.cpus and step.cpus > (cpus := usable_cpus()):
            raise ResourceError(
                f"{step.name} asks for {step.cpus:g} cpus; this machine has {cpus:g}"
            )


def fitting(ready: Iterable[Step], running: Iterable[Step], most: int) -> list[Step]:
    """Return those of some steps that can start beside others, `most` at most, in their order.

    A step that asks for nothing always fits.
    """
    waiting, busy = list(ready), list(running)
    if not any(step.memory or step.cpus for step in (*waiting, *busy)):
        return waiting[:most]
    memory = usable_memory() - sum(step.memory or 0 for step in busy)
    cpus = usable_cpus() - sum(step.cpus or 0 for step in busy)
    chosen: list[Step] = []
    for step in waiting:
        if len(chosen) == most:
            break
        if (step.memory or 0) <= memory and (step.cpus or 0) <= cpus:
            memory -= step.memory or 0
            cpus -= step.cpus or 0
            chosen.append(step)
    return chosen


class MemoryLimit:
    """Ends a kernel, with what its cells have started, once it uses more than a step may."""

    def __init__(self, handle: KernelHandle, limit: float | None) -> None:
        self._handle = handle
        self._limit = limit
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> MemoryLimit:
        if self._limit:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._limit:
            self._thread.join()

    def _watch(self) -> None:
        assert self._limit is not None
        while not self._done.wait(_POLL_SECONDS):
            used = _used_by(self._handle.pid)
            if used > self._limit:
                self._handle.memory = f"used {gigabytes(used)} of {gigabytes(self._limit)}"
                self._handle.kill(Status.KERNEL_DIED)
                return


def _used_by(pid: int | None) -> float:
    """Return the bytes of a process and its children; pages that several share count in parts."""
    import psutil

    total = 0.0
    with suppress(psutil.Error):
        kernel = psutil.Process(pid) if pid else None
        for process in [kernel, *kernel.children(recursive=True)] if kernel else []:
            with suppress(psutil.Error):
                info: Any = process.memory_full_info()
                total += getattr(info, "pss", info.uss)
    return total


def gigabytes(size: float) -> str:
    """Return a size in GB (10**9 bytes) for people."""
    return f"{size / 1e9:.3g} GB" if size < 1e12 else f"{size / 1e9:,.0f} GB"

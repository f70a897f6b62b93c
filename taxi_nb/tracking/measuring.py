"""The time and the memory that code takes, and the metrics that tell of them."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from taxi_nb.tracking.contents import RunContents
from taxi_nb.tracking.names import CPU_METRIC, PEAK_METRIC, PEAK_TAG, WALL_METRIC

_OF_THE_MACHINE = re.compile(r"(^|_)(micro|milli)?seconds$|^peak_memory_mb$")


def measures_the_machine(metric: str) -> bool:
    """Whether a metric tells of the machine and not of the model: times, and memory.

    No code can make such a number the same again, so nothing compares it.

    >>> [measures_the_machine(name) for name in ("fit_seconds", "latency_milliseconds", "mae")]
    [True, True, False]
    """
    return _OF_THE_MACHINE.search(metric) is not None


@contextmanager
def measured(run_id: str, *, with_memory: bool) -> Iterator[None]:
    """Log to a run what a block takes, blocks within it included, also where the block fails.

    That is seconds on the clock; seconds of processor, of all threads and of child processes
    that have ended; and the peak of memory, with a tag that says whether it is the block's or,
    where the system cannot tell, the process's.
    """
    taken = RunContents()
    started, used = time.perf_counter(), _processor_seconds()
    try:
        with _peak() if with_memory else nullcontext() as peak:
            yield
    finally:
        taken.metrics[WALL_METRIC] = time.perf_counter() - started
        taken.metrics[CPU_METRIC] = _processor_seconds() - used
        if peak and peak.megabytes:
            taken.metrics[PEAK_METRIC] = peak.megabytes
            of_process = "of the process until the block ended"
            taken.tags[PEAK_TAG] = "of the block" if peak.is_reset else of_process
        taken.log(run_id)


def _processor_seconds() -> float:
    return sum(os.times()[:4])


@dataclass(eq=False)
class _Peak:
    """The highest resident memory since it began; 0 where the system does not tell."""

    is_reset: bool
    megabytes: float = 0.0


# Linux keeps one mark of the highest memory for a process and lets it be reset (proc(5),
# clear_refs): blocks within blocks therefore pass on what they saw to those around them.
_open_peaks: list[_Peak] = []


@contextmanager
def _peak() -> Iterator[_Peak]:
    _pass_on_mark()
    peak = _Peak(_reset_mark())
    _open_peaks.append(peak)
    try:
        yield peak
    finally:
        _pass_on_mark()
        _open_peaks.remove(peak)


def _pass_on_mark() -> None:
    mark = peak_memory("self") or _peak_by_resource()
    for peak in _open_peaks:
        peak.megabytes = max(peak.megabytes, mark)


def _reset_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory(process: int | Literal["self"]) -> float | None:
    """Return a process's highest resident memory in MB (10**6 bytes); None where Linux is not.

    Memory shared with others counts, such as libraries that a forked kernel has from its parent.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) * 1024 / 1e6 if line else None


def _peak_by_resource() -> float:
    try:
        import resource
    except ImportError:  # On Windows.
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024  # Bytes there, kilobytes elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

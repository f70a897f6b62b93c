"""What a block of code took: time, processor, memory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from taxi_nb.tracking.names import CPU_METRIC, PEAK_METRIC, PEAK_TAG, WALL_METRIC

_OF_THE_MACHINE = re.compile(r"(^|_)(micro|milli)?seconds$|^peak_memory_mb$")


def measures_the_machine(metric: str) -> bool:
    """Whether a metric tells of the machine and not of the model: times, and memory.

    No code can make such a number the same again, so nothing compares it.

    Examples
    --------
    >>> [measures_the_machine(name) for name in ("fit_seconds", "latency_milliseconds", "mae")]
    [True, True, False]
    """
    return _OF_THE_MACHINE.search(metric) is not None


OF_THE_BLOCK = "of the block"
OF_THE_PROCESS = "of the process until the block ended"


@dataclass
class Measurement:
    """What a block took; `metrics` is filled when it ends.

    Attributes
    ----------
    metrics : dict
        Seconds on the clock; seconds of processor, of all threads and of child processes that
        have ended; and the most memory that was resident at once, in megabytes of 10**6 bytes.
        That counts what the process shares with others, such as libraries that a forked kernel
        has from its parent.
    peak_is : str or None
        Of what the peak is: the block or, where the system cannot tell, the process.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    peak_is: str | None = None

    def log(self, run_id: str) -> None:
        """Log it to a run, at once."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, RunTag

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, 0) for name, value in self.metrics.items()]
        tags = [RunTag(PEAK_TAG, self.peak_is)] if self.peak_is else []
        MlflowClient().log_batch(run_id, metrics, tags=tags)


@contextmanager
def measured(result: Measurement, *, with_memory: bool = True) -> Iterator[None]:
    """Measure a block, blocks within it included."""
    peak = _Peak.begin() if with_memory else None
    started, used = time.perf_counter(), _processor_seconds()
    try:
        yield
    finally:
        result.metrics[WALL_METRIC] = time.perf_counter() - started
        result.metrics[CPU_METRIC] = _processor_seconds() - used
        if peak is not None and (megabytes := peak.end()) is not None:
            result.metrics[PEAK_METRIC] = megabytes
            result.peak_is = OF_THE_BLOCK if peak.is_reset else OF_THE_PROCESS


def _processor_seconds() -> float:
    return sum(os.times()[:4])


class _Peak:
    """The highest resident memory since it began.

    Linux keeps one such mark for a process and lets it be taken back (proc(5), clear_refs);
    blocks within blocks therefore tell those around them what they saw.
    """

    _open: ClassVar[list[_Peak]] = []

    def __init__(self, is_reset: bool) -> None:
        self.is_reset = is_reset
        self.highest: float | None = None

    @classmethod
    def begin(cls) -> _Peak:
        cls._tell_all()
        peak = cls(_take_back_mark())
        cls._open.append(peak)
        return peak

    def end(self) -> float | None:
        self._tell_all()
        self._open.remove(self)
        return self.highest

    @classmethod
    def _tell_all(cls) -> None:
        seen = _high_water_mark()
        for peak in cls._open:
            peak.highest = max(filter(None, (peak.highest, seen)), default=None)


def _take_back_mark() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _high_water_mark() -> float | None:
    """Return the mark in megabytes; None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        return _resource_mark()


def _resource_mark() -> float | None:
    try:
        import resource
    except ImportError:  # On Windows.
        return None
    import sys

    unit = 1 if sys.platform == "darwin" else 1024  # Bytes there, kilobytes elsewhere.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6

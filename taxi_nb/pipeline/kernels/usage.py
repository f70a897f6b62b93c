"""The processor time and the memory that a kernel's process has used so far."""

from __future__ import annotations

from taxi_nb.tracking.measuring import peak_memory
from taxi_nb.tracking.names import CPU_METRIC, PEAK_METRIC


def usage_of(pid: int) -> dict[str, float]:
    """Return seconds of processor and the peak of resident memory, as MLflow gets them.

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

"""What a kernel's process has taken so far."""

from __future__ import annotations

from pathlib import Path


def usage_of(pid: int) -> dict[str, float]:
    """Return seconds of processor and the peak of resident memory, as MLflow gets them.

    The seconds are those of all threads, and of child processes that have ended. The peak is in
    megabytes of 10**6 bytes and counts what a forked kernel shares with its parent, such as
    libraries; it is left out where the system does not tell.
    """
    import psutil

    try:
        times = psutil.Process(pid).cpu_times()
        status = Path(f"/proc/{pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
    except (psutil.Error, OSError):  # It has died.
        return {}
    usage = {"cpu_seconds": sum(times[:4])}
    for line in lines:
        if line.startswith("VmHWM:"):
            usage["peak_memory_mb"] = int(line.split()[1]) * 1024 / 1e6
    return usage

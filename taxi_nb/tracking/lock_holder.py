"""Who holds a lock on a file, for the message to whoever waits for it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path


def lock_holder(lock: Path) -> str:
    """Return which process holds a lock, since when it runs, and how to end it.

    Linux knows; elsewhere, and of a process on another machine, it is "another process".
    """
    with suppress(OSError, ValueError, IndexError):
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # proc_locks(5): number, kind, mode, access, process, file.
            if fields[1] != "->" and fields[5].rpartition(":")[2] == inode:
                return _shown(int(fields[4]))
    return "another process"


def _shown(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        since = datetime.fromtimestamp(process.create_time()).astimezone()
        command = " ".join(process.cmdline())[:100]
    except psutil.Error:
        return f"process {pid}"
    return f"process {pid} ({command}, since {since:%Y-%m-%d %H:%M:%S}; `kill {pid}` ends it)"

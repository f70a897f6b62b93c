"""The ends of processes and of their groups; on the standard library alone, as the fork server."""

from __future__ import annotations

import contextlib
import os
import signal
import time

# How long processes that a kernel leaves in its group may take to end.
GROUP_GRACE_SECONDS = 1.0


class EndedLeader:
    """A process that has ended and not been waited for, whose group has to end too.

    Until it is waited for, its number cannot become that of a stranger's group.
    """

    def __init__(self, pid: int) -> None:
        """Ask the rest of the group to end."""
        self.pid = pid
        self._deadline = time.monotonic() + GROUP_GRACE_SECONDS
        signal_group(pid, signal.SIGTERM)

    def is_alone(self) -> bool:
        """Whether the rest of the group has ended, killed if it would not do so in time.

        The time is for processes that clean up when they lose their parent, such as
        multiprocessing's resource tracker, which removes semaphores.
        """
        if _members(self.pid) and time.monotonic() < self._deadline:
            return False
        signal_group(self.pid, signal.SIGKILL)
        return True


def has_ended(pid: int) -> bool:
    """Whether a child has ended; it is still to be waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def signal_group(pid: int, signum: int) -> None:
    """Send a signal to the processes of a group, if there are any left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signum)


def _members(group: int) -> list[int]:
    """Return the numbers of the running processes in a group; none where there is no /proc."""
    members = []
    with contextlib.suppress(OSError):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
                # The second field is a name in brackets that may hold anything.
                state, _, pgrp = file.read().rpartition(")")[2].split()[:3]
                if int(pgrp) == group and state not in "ZX":
                    members.append(int(pid))
    return members

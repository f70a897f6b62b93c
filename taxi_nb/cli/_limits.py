"""The streams and the limits that a process was given: what is missing is told at once."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from taxi_nb.cli._stopping import FAILURE, say

# A run has about 60 files open at once: stores, kernels' sockets, libraries.
_FILES = 64
# What the libraries of a run reserve; they abort where they are refused it.
_ADDRESS_SPACE = 3 << 30
_KINDS = (OSError, MemoryError)


def open_streams() -> None:
    """Give streams that a shell has closed (`>&-`) to nobody, before a file takes their place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It takes the lowest number that is free.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))  # noqa: SIM115


def lacking() -> str | None:
    """Say which limit of this shell is too narrow to do anything; None if none is."""
    try:
        import resource
    except ImportError:  # Not on Windows, which has no such limits.
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        with suppress(OSError, ValueError):
            wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files != resource.RLIM_INFINITY and files < _FILES:
        return f"only {files} open files are allowed here, and {_FILES} are needed: ulimit -n 1024"
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY and space < _ADDRESS_SPACE:
        return (
            f"only {space / 1e9:.1f} GB of addresses are allowed here (ulimit -v), and "
            f"{_ADDRESS_SPACE / 1e9:.1f} are needed: ulimit -v unlimited"
        )
    return None


@contextmanager
def system_errors_end() -> Iterator[None]:
    """End with one message where the system refuses memory, files or the output."""
    try:
        yield
    except BrokenPipeError:  # A reader that has gone, such as `head`.
        raise SystemExit(FAILURE) from None
    except _KINDS as error:
        with suppress(OSError):
            say(f"taxi-nb cannot go on: {_in_words(error)}")
        raise SystemExit(FAILURE) from None


def _in_words(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is no memory left"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return "its output cannot be written, there is no space left"
    return str(error)

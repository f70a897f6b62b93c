"""Private directories for sockets, with short paths."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

from taxi_nb.held_folder import PREFIX, HeldFolder, remove_abandoned

# The shortest sun_path of the common systems (macOS) with its closing null.
SOCKET_PATH_LIMIT = 104
# After the parent come "/taxi-nb-" and 8 letters, "/" and a kernel's number, "/s-1", null.
LONGEST_TAIL = len(f"/{PREFIX}12345678/1234567/s-1") + 1


class PrivateDirectory:
    """A directory of mode 0700 with short paths, held by a lock for as long as its owner lives."""

    def __init__(self) -> None:
        """Make it; OSError if no folder for temporary files is writable and has a short path."""
        parent = _parent()
        remove_abandoned(parent)
        self._held = HeldFolder(parent=parent)
        self.path = self._held.path
        self._numbers = itertools.count(1)

    def subdirectory(self) -> Path:
        """Make and return a new directory for one kernel."""
        path = self.path / str(next(self._numbers))
        path.mkdir(mode=0o700)
        return path

    def remove(self) -> None:
        """Remove the directory with all that is in it; harmless if it is gone."""
        self._held.remove()


def _parent() -> Path:
    candidates = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"]  # noqa: S108 - only if it is short
    given = [os.path.abspath(c) for c in candidates if c]
    for candidate in given:
        fits = os.name != "posix" or len(os.fsencode(candidate)) + LONGEST_TAIL < SOCKET_PATH_LIMIT
        if fits and os.path.isdir(candidate) and os.access(candidate, os.W_OK | os.X_OK):
            return Path(candidate)
    raise OSError(
        "no directory for the kernels' sockets: it must be writable and its path shorter than "
        f"{SOCKET_PATH_LIMIT - LONGEST_TAIL} bytes; tried {', '.join(given)}. Set XDG_RUNTIME_DIR."
    )

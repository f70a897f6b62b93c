"""Temporary folders that a lock holds while their owner lives; those of killed ones are removed."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

PREFIX = "taxi-nb-"
LOCK = "lock"


class HeldFolder:
    """A folder of mode 0700 in `parent`, or where temporary files go; it ends with its owner.

    `models/carried.py`, which goes without the rest of the project, makes one of the same form.
    """

    def __init__(self, name: str = "", parent: Path | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}", dir=parent))
        self._lock = _hold(self.path)
        self._end = weakref.finalize(self, _remove, self.path, self._lock, os.getpid())

    def remove(self) -> None:
        """Remove the folder with all that is in it; harmless if it is gone."""
        self._end()

    def __enter__(self) -> Path:
        """Return an empty folder in it, for those who take all that is in a folder for theirs."""
        content = self.path / "content"
        content.mkdir()
        return content

    def __exit__(
        self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None
    ) -> None:
        self.remove()


def remove_abandoned(parent: Path | None = None) -> None:
    """Remove the folders of processes that were killed."""
    for path in (parent or Path(tempfile.gettempdir())).glob(f"{PREFIX}*"):
        with suppress(OSError), _own_lock(path) as lock:
            if _lock_now(lock):
                shutil.rmtree(path, ignore_errors=True)


def _remove(path: Path, lock: IO[bytes] | None, owner: int) -> None:
    if os.getpid() == owner:  # And not in a process that was forked from it.
        shutil.rmtree(path, ignore_errors=True)
    if lock is not None:
        lock.close()


def _hold(path: Path) -> IO[bytes] | None:
    if os.name != "posix":
        return None
    # Locked before it has its name: another process sees no lock or a held one.
    unnamed = path / f"{LOCK}~"
    lock = unnamed.open("wb")
    _lock_now(lock)
    unnamed.rename(path / LOCK)
    return lock


def _own_lock(path: Path) -> IO[bytes]:
    if os.name != "posix" or path.lstat().st_uid != os.getuid() or path.is_symlink():
        raise PermissionError(path)
    return (path / LOCK).open("rb")


def _lock_now(lock: IO[bytes]) -> bool:
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

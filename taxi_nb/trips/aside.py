"""Writing files so that nobody ever sees half of one under its final name."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taxi_nb.trips.errors import TripsError

__all__ = ["part_file", "part_files_of", "takes_its_place"]


@contextmanager
def part_file(path: Path) -> Iterator[Path]:
    """
    Give a path beside `path` to write to; whole, it is to be renamed.

    The name is one of its own for each use in each process, so that nobody writes into
    another's file. What is still there at the end is removed.

    Raises
    ------
    TripsError
        If the folder or the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise TripsError(f"{path} cannot be written: {error.strerror or error}") from None


def takes_its_place(part: Path, path: Path) -> bool:
    """
    Give a whole part its final name, unless another process was first.

    A file that is there stays: others may be reading it.

    Returns
    -------
    bool
        Whether it was given.
    """
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:
        # Not every file system has links.
        os.replace(part, path)
    return True


def part_files_of(path: Path) -> Iterator[Path]:
    """Return the part files of `path` that are there now, whoever writes them."""
    return path.parent.glob(f".{path.name}.*.part")

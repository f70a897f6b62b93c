"""One month's file on this machine: its bytes, its digest, and what its footer says."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taxi_nb.trips._what_it_is import kind_of
from taxi_nb.trips.errors import BrokenFileError, one_line

SYNTHETIC_KEY = b"taxi_nb.synthetic"

# Less would not pay for what each part of a file needs for itself.
PART_ROWS = 1 << 19

_MAGIC = b"PAR1"

FileState = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class MonthContent:
    """One month's file on this machine."""

    path: str  # How people know it: its path, or its URL without credentials.
    file: Path  # Where its bytes are.
    state: FileState  # Device, inode, size and times of the file when it was opened.
    # Whatever has to live as long as the file is needed.
    keeper: object = field(default=None, repr=False, compare=False)

    @classmethod
    def now(cls, path: str, file: Path, keeper: object = None) -> MonthContent:
        """Return a file as it is now."""
        return cls(path, file, _state(file), keeper)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.state[2]

    @property
    def sha256(self) -> str:
        """The digest of the whole file, in hexadecimal; taken once for each state of a file."""
        try:
            return _sha256(self.file, self.state)
        except OSError as error:
            raise BrokenFileError(f"{self.path} cannot be read: {error.strerror}") from None

    def check_unchanged(self) -> None:
        """Raise `BrokenFileError` if the file was changed or removed since it was opened."""
        if not self.file.exists() or not self._is_as_opened(_state(self.file)):
            raise BrokenFileError(f"{self.path} changed while it was read; load it again")

    def _is_as_opened(self, state: FileState) -> bool:
        # A link made or removed changes the inode's time, and no byte.
        return state == self.state or (
            state[:-1] == self.state[:-1] and _sha256(self.file, state) == self.sha256
        )

    def starts_as_parquet(self) -> bool:
        """Tell whether the file begins as parquet does, however it goes on."""
        return self._ends()[0] == _MAGIC

    def opened(self) -> pq.ParquetFile:
        """Open it as parquet; raise `BrokenFileError` if it is not whole, saying what is wrong."""
        if self.size == 0:
            raise self.broken("is empty (0 bytes)")
        first, last = self._ends()
        if first != _MAGIC:
            with self.file.open("rb") as opened:
                what = kind_of(opened.read(512))
            raise self.broken(f"is not a parquet file{f' but {what}' if what else ''}")
        if self.size < 12 or last != _MAGIC:
            raise self.broken(f"is cut short: its end is missing after {self.size:,} bytes")
        try:
            return pq.ParquetFile(self.file, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            reason = f"is not a readable parquet file ({one_line(error)})"
            raise self.broken(reason) from None

    def broken(self, what: str) -> BrokenFileError:
        """Return the error that says what is wrong with the file, and what it should be."""
        return BrokenFileError(
            f"{self.path} {what}. It should be a month of trip records as the TLC publishes them, "
            "in parquet"
        )

    def _ends(self) -> tuple[bytes, bytes]:
        with self.file.open("rb") as opened:
            first = opened.read(4)
            opened.seek(-min(4, self.size), os.SEEK_END)
            return first, opened.read(4)

    @property
    def rows(self) -> int:
        """How many rows the file says that it has."""
        return int(self.opened().metadata.num_rows)

    @property
    def is_synthetic(self) -> bool:
        """Whether the file says of itself that its trips were made up."""
        return SYNTHETIC_KEY in (self.opened().schema_arrow.metadata or {})

    def parts(self) -> list[list[int]]:
        """Cut it into row groups, or neighbours of them, each with `PART_ROWS` rows or more."""
        metadata = self.opened().metadata
        parts: list[list[int]] = []
        rows = PART_ROWS
        for group in range(metadata.num_row_groups):
            if rows >= PART_ROWS:
                parts.append([])
                rows = 0
            parts[-1].append(group)
            rows += metadata.row_group(group).num_rows
        return parts


def _state(file: Path) -> FileState:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=1024)
def _sha256(file: Path, state: FileState) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

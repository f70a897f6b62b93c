"""Where a frame of trips came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taxi_nb.plain_data import from_plain
from taxi_nb.trips.errors import TripsError
from taxi_nb.trips.month_file import MonthContent
from taxi_nb.trips.report import CleaningReport, known

if TYPE_CHECKING:
    import pandas as pd

ATTRS_KEY = "taxi_nb.trips"


@dataclass(frozen=True)
class MonthFile:
    """One month's file as it was read.

    Its path, or its URL without credentials; the sha256 of its bytes; its records; its bytes; and
    the digest of its trips, which is None in what was stored before trips had one.
    """

    month: str
    path: str
    sha256: str
    rows: int
    size: int
    trips: str | None = None

    @classmethod
    def of(cls, month: str, content: MonthContent, rows: int, trips: str) -> MonthFile:
        """Describe the file of a month."""
        return cls(month, content.path, content.sha256, rows, content.size, trips)

    def has_trips_of(self, other: MonthFile) -> bool:
        """Tell whether both are known to hold the same trips: as files, or as trips."""
        return self.sha256 == other.sha256 or (self.trips is not None and self.trips == other.trips)


@dataclass(frozen=True)
class Provenance:
    """Where trips came from and what was done to them on the way.

    Attributes
    ----------
    taxi : str
        ``"green"`` or ``"yellow"``.
    months, files : tuple
        In the order they were asked for.
    source : str
        ``"sample"``, ``"tlc"``, a folder, or a URL without credentials.
    synthetic : bool
        Whether any of the trips were made up, as the files themselves say.
    cleaning : CleaningReport
        What cleaning took out.
    drawn : int, optional
        The trips in the frame if it holds a part drawn by chance; None if it holds all.

    Examples
    --------
    >>> from taxi_nb import load_trips, provenance
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> provenance(trips).files[0].rows
    1000
    """

    taxi: str
    months: tuple[str, ...]
    source: str
    synthetic: bool
    files: tuple[MonthFile, ...]
    cleaning: CleaningReport
    drawn: int | None = None

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits: the same for the same trips by the same rules.

        The trips count, in their order, and not the file: another compression, other row groups
        or more columns change nothing. Of what was stored before trips had a digest it is
        `files_digest`.
        """
        if any(file.trips is None for file in self.files):
            return self.files_digest
        return self._digest("trips", [[file.month, file.trips] for file in self.files])

    @property
    def files_digest(self) -> str:
        """Twelve hexadecimal digits: the same for the same files, wherever, and the same rules."""
        return self._digest("files", [[file.month, file.sha256] for file in self.files])

    def _digest(self, kind: str, content: list[list[str | None]]) -> str:
        identity = {
            "taxi": self.taxi,
            kind: content,
            "cleaning": dict(self.cleaning.settings),
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """One line for figures and pages, such as ``green 2021-01, sample (synthetic)``."""
        mark = " (synthetic)" if self.synthetic else ""
        part = f", {self.drawn:,} of {self.cleaning.rows_kept:,} trips" if self.drawn else ""
        return f"{self.taxi} {', '.join(self.months)}, {self.source}{mark}{part}"

    def months_also_in(self, other: Provenance) -> tuple[str, ...]:
        """Return the months whose trips, or some of them, others are made of as well."""
        shared = {file.month for file in self.files if any(map(file.has_trips_of, other.files))}
        if self.taxi == other.taxi and not self.synthetic and not other.synthetic:
            # The same month, published again, is another file with the same trips.
            shared |= set(self.months) & set(other.months)
        return tuple(sorted(shared))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold; `from_dict` reads it."""
        return {
            "taxi": self.taxi,
            "months": list(self.months),
            "source": self.source,
            "synthetic": self.synthetic,
            "digest": self.digest,
            "title": self.title,
            "files": [known(file) for file in self.files],
            "cleaning": self.cleaning.to_dict(),
            "drawn": self.drawn,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """Make the provenance again from what `to_dict` returned."""
        return from_plain(cls, values)


def provenance(trips: pd.DataFrame) -> Provenance:
    """Return where a frame of trips came from.

    Parameters
    ----------
    trips : pandas.DataFrame
        From `load_trips`, or a copy or slice: pandas carries the record in ``trips.attrs``.

    Returns
    -------
    Provenance
        Files with digests, source, cleaning report.

    Raises
    ------
    TripsError
        If the frame carries no record, as after joining it with another one.

    Examples
    --------
    >>> from taxi_nb import load_trips, provenance
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> provenance(trips[trips["duration"] > 30]).title
    'green 2021-01, sample (synthetic)'
    """
    record = trips.attrs.get(ATTRS_KEY)
    if record is None:
        raise TripsError(
            "`trips` must be a frame from `load_trips`, or a copy or slice of one, got: a frame "
            f"without attrs[{ATTRS_KEY!r}]. A merge or concat drops it: ask for the provenance "
            "before, or copy `trips.attrs` over"
        )
    return Provenance.from_dict(record)


def stamp(trips: pd.DataFrame, origin: Provenance) -> None:
    """Leave `origin` in the frame for `provenance` to find."""
    trips.attrs[ATTRS_KEY] = origin.to_dict()


def is_part(trips: pd.DataFrame) -> bool:
    """Tell whether a frame holds trips drawn by chance from months too large for it."""
    return provenance(trips).drawn == len(trips)

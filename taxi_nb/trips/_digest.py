"""A digest of trips themselves: the same for the same trips in the same order, in any file."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from taxi_nb.trips.cleaning import CheckedRecords
from taxi_nb.trips.records import Records

Words = npt.NDArray[np.uint64]

# Odd numbers without a pattern: each column and each place weighs differently.
_PICKUP, _DROPOFF, _ZONES, _DISTANCE = map(
    np.uint64, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93)
)
_PLACE = 0x9FB21C651E98DF27
_MODULUS = 1 << 64
# Fills all bits of a distance, of which round ones have few.
_ODD_MILES = 1.0471975511965976
# Columns this long stay in a processor's cache.
_BLOCK = 1 << 15


def _powers() -> Words:
    powers = np.full(_BLOCK, _PLACE, dtype=np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)[::-1].copy()


_POWERS = _powers()


class TripsDigest:
    """A polynomial in 64 bits whose coefficients are trips, so that parts can be put together.

    How records were cut into batches and row groups makes no difference. Made against accidents:
    two sets of trips share a digest with a chance of about one in 10^18, but somebody who wants
    to can make such sets. The file's sha256 stands beside it for that.
    """

    def __init__(self) -> None:
        self._value = 0
        self._trips = 0
        # Room that is asked for once; new pages cost more than the sums.
        self._words, self._part = np.empty((2, _BLOCK), dtype=np.uint64)
        self._zones = np.empty(_BLOCK, dtype=np.int32)

    def add(self, checked: CheckedRecords) -> None:
        """Add the trips among some records."""
        records, kept = checked
        for start in range(0, len(records), _BLOCK):
            block = slice(start, start + _BLOCK)
            words, trips = self._words_of(records, block), kept[block]
            words = words if trips.all() else words[trips]
            if len(words):
                self._append(int(np.dot(words, _POWERS[-len(words) :])), len(words))

    def join(self, following: TripsDigest) -> None:
        """Add the trips that come after these."""
        self._append(following._value, following._trips)

    def _append(self, value: int, trips: int) -> None:
        self._value = (self._value * pow(_PLACE, trips, _MODULUS) + value) % _MODULUS
        self._trips += trips

    @property
    def text(self) -> str:
        """Sixteen hexadecimal digits."""
        return hashlib.sha256(f"{self._trips} {self._value}".encode()).hexdigest()[:16]

    def _words_of(self, records: Records, block: slice) -> Words:
        """Return a number for each record, of all that makes it a trip."""
        pickup = records.pickup[block].view(np.uint64)
        rows = len(pickup)
        words, part, zones = self._words[:rows], self._part[:rows], self._zones[:rows]
        np.multiply(pickup, _PICKUP, out=words)
        np.multiply(records.dropoff[block].view(np.uint64), _DROPOFF, out=part)
        words += part
        np.multiply(records.pickup_zone[block], np.int32(1 << 15), out=zones)
        zones += records.dropoff_zone[block]
        np.multiply(zones, _ZONES, out=part, dtype=np.uint64, casting="unsafe")
        words += part
        miles = part.view(np.float64)
        np.multiply(records.distance[block], _ODD_MILES, out=miles)
        miles += 0.0  # Zero has two forms.
        part *= _DISTANCE
        words += part
        # Sums alone would not tell when two trips exchange what adds up to the same.
        np.right_shift(words, np.uint64(29), out=part)
        words ^= part
        return words

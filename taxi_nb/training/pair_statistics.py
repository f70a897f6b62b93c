"""Sums by pair of zones: from them a linear model is fitted to any number of trips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from taxi_nb.models.group_statistics import Floats, GroupStatistics, quotient
from taxi_nb.models.zones import PAIR_BASE
from taxi_nb.trips.batches import TripBatches, reopen
from taxi_nb.trips.cleaning import CheckedRecords
from taxi_nb.trips.origin import is_part, provenance

if TYPE_CHECKING:
    import pandas as pd

STATISTICS_COLUMNS = ("PULocationID", "DOLocationID", "trip_distance", "duration")
"""The columns that statistics are taken of."""

# Of the TLC's map, and 0.
_ZONES = 266
# So many trips are worked on at once: few enough for the processor's cache.
_CHUNK = 1 << 15

_EVERY_PAIR = (np.arange(_ZONES)[:, None] * PAIR_BASE + np.arange(_ZONES)).ravel()
# Where trips that do not count are counted.
_NO_PAIR = len(_EVERY_PAIR)

# A remainder that is smaller than this share of the sum it is taken from is rounding.
_ROUNDING = 1e-13

Positions = npt.NDArray[np.intp]


def pair_statistics(batches: Iterable[Any]) -> GroupStatistics:
    """Take the statistics of trips, in memory that does not grow with their number.

    Batches of `iter_trips` are read by all cores; any frames of trips will do, or mappings of
    arrays, with the columns `STATISTICS_COLUMNS`. Neither the number of cores nor how trips are
    cut changes the result.

    Returns
    -------
    GroupStatistics
        x is the distance in miles, y the duration in minutes; the groups are the pairs that
        occur, ``PU * 1000 + DO``, ascending.

    Raises
    ------
    ValueError
        If a zone is not on the map.

    Examples
    --------
    >>> from taxi_nb import iter_trips
    >>> statistics = pair_statistics(iter_trips("green", ["2021-01"], "sample", sample_rows=1_000))
    >>> int(statistics.n.sum())
    971
    """
    if isinstance(batches, TripBatches):
        return reduce(add, batches.in_parts(of_records)).present()
    sums = _Sums()
    for position, x, y in _chunks(batches):
        sums.add(position, x, y, np.empty(0, np.intp))
    return sums.statistics().present()


def pair_seen(training: pd.DataFrame, trips: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell of each trip whether any training trip goes from the same zone to the same zone.

    Of months too large for a frame all training trips count, not only those drawn for it.

    Parameters
    ----------
    training, trips : DataFrame
        As `load_trips` returned them.

    Returns
    -------
    ndarray of bool, shape (n_trips,)

    Examples
    --------
    >>> from taxi_nb import load_trips, pair_seen
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> bool(pair_seen(trips, trips).all()), bool(pair_seen(trips.head(1), trips).all())
    (True, False)
    """
    all_of_it = reopen(provenance(training)) if is_part(training) else [training]
    groups = pair_statistics(all_of_it).groups
    pairs = trips["PULocationID"] * PAIR_BASE + trips["DOLocationID"]
    return np.isin(pairs.to_numpy(np.int64), groups)


class _Sums:
    """Sums over trips around a centre, by pair, from which their statistics follow.

    Each pass over the trips costs more than what is computed in it: there is one.
    """

    def __init__(self) -> None:
        self._centre: Floats | None = None
        self._n, self._x, self._y = np.zeros((3, _NO_PAIR + 1))
        self._squares = np.zeros((2, 2))
        self._room = np.empty((2, _CHUNK))

    def add(self, position: Positions, x: Floats, y: Floats, left_out: Positions) -> None:
        """Add trips; `position` is changed where they are left out."""
        if len(left_out) == len(position):
            return
        if self._centre is None:
            self._centre = _centre(x, y, left_out)
        around = self._room[:, : len(x)]
        for values, centre, out in zip((x, y), self._centre, around, strict=True):
            np.subtract(values, centre, out=out)
        position[left_out] = _NO_PAIR
        around[:, left_out] = 0.0
        # In place, and quicker than `bincount`, which makes an array for all pairs each time.
        np.add.at(self._n, position, 1.0)
        np.add.at(self._x, position, around[0])
        np.add.at(self._y, position, around[1])
        # Not `@`: for so few numbers BLAS would wake its threads.
        self._squares += np.einsum("in,jn->ij", around, around)

    def statistics(self) -> GroupStatistics:
        if self._centre is None:
            return GroupStatistics.nothing(_EVERY_PAIR)
        n = self._n[:_NO_PAIR]
        means = np.stack([quotient(values[:_NO_PAIR], n) for values in (self._x, self._y)])
        within = self._squares - np.einsum("in,jn,n->ij", means, means, n)
        scale = np.sqrt(np.outer(self._squares.diagonal(), self._squares.diagonal()))
        within[np.abs(within) <= _ROUNDING * scale] = 0.0
        mean_x, mean_y = np.where(n > 0, means + self._centre[:, None], 0.0)
        xx, xy, yy = within[0, 0], within[0, 1], within[1, 1]
        return GroupStatistics(_EVERY_PAIR, n, mean_x, mean_y, float(xx), float(xy), float(yy))


def _centre(x: Floats, y: Floats, left_out: Positions) -> Floats:
    """Return a point that most trips are near, whatever distances some of them claim."""
    return np.array([np.median(np.delete(values, left_out)) for values in (x, y)])


def of_records(batches: Iterator[CheckedRecords]) -> GroupStatistics:
    """Take the statistics of the trips in batches of one part, by all pairs that there are."""
    sums = _Sums()
    for records, kept in batches:
        position = np.multiply(records.pickup_zone, _ZONES, dtype=np.intp)
        position += records.dropoff_zone
        sums.add(position, records.distance, records.duration, np.flatnonzero(~kept))
    return sums.statistics()


def _chunks(batches: Iterable[Any]) -> Iterator[tuple[Positions, Floats, Floats]]:
    """Cut trips anew into chunks of one length, each written over the one before."""
    position, x, y = np.empty(_CHUNK, np.intp), np.empty(_CHUNK), np.empty(_CHUNK)
    filled = 0
    for batch in batches:
        pick_up, drop_off, distance, duration = (
            np.asarray(batch[column]) for column in STATISTICS_COLUMNS
        )
        for zones in (pick_up, drop_off):
            if zones.size and (zones.min() < 0 or zones.max() >= _ZONES):
                found = f"{zones.min()} to {zones.max()}"
                raise ValueError(f"zones must be from 0 to {_ZONES - 1}, got: {found}")
        done = 0
        while done < len(duration):
            take = min(_CHUNK - filled, len(duration) - done)
            new, old = slice(filled, filled + take), slice(done, done + take)
            np.multiply(pick_up[old], _ZONES, out=position[new])
            position[new] += drop_off[old]
            x[new], y[new] = distance[old], duration[old]
            filled, done = filled + take, done + take
            if filled == _CHUNK:
                yield position, x, y
                filled = 0
    if filled:
        yield position[:filled], x[:filled], y[:filled]

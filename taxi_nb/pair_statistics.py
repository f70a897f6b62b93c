"""The statistics of pairs of zones: all that a linear model has to know of any number of trips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from taxi_nb.group_statistics import Floats, GroupStatistics

__all__ = ["PAIR_BASE", "STATISTICS_COLUMNS", "pair_statistics"]

PAIR_BASE = 1000
"""Zone ids have three digits, so a pair of them is one integer: ``PU * 1000 + DO``."""

STATISTICS_COLUMNS = ("PULocationID", "DOLocationID", "trip_distance", "duration")
"""The columns that statistics are taken of."""

# Of the TLC's map, and 0.
_ZONES = 266
# So many trips are worked on at once: many for each pair, few enough for the processor's cache.
_CHUNK = 1 << 18

_EVERY_PAIR = (np.arange(_ZONES)[:, None] * PAIR_BASE + np.arange(_ZONES)).ravel()


def pair_statistics(batches: Iterable[Any]) -> GroupStatistics:
    """
    Take the statistics of trips, in memory that does not grow with their number.

    The result does not depend on how the trips are cut into batches.

    Parameters
    ----------
    batches : iterable
        Of frames of trips, as `iter_trips` gives them, or of mappings of arrays with the
        columns `STATISTICS_COLUMNS`.

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
    >>> from taxi_nb.trips import iter_trips
    >>> statistics = pair_statistics(iter_trips("green", ["2021-01"], "sample", sample_rows=1_000))
    >>> int(statistics.n.sum())
    971
    """
    nothing = np.zeros(len(_EVERY_PAIR))
    total = GroupStatistics(_EVERY_PAIR, *[nothing] * 6)
    # New memory for each chunk would cost more than the sums themselves.
    room = np.empty((3, _CHUNK))
    for position, x, y in _chunks(batches):
        total = total + GroupStatistics.of(_EVERY_PAIR, position, x, y, room=room)
    return total.present()


def _chunks(batches: Iterable[Any]) -> Iterator[tuple[npt.NDArray[np.intp], Floats, Floats]]:
    """Cut trips anew into chunks of one length, each written over the one before."""
    position, x, y = np.empty(_CHUNK, np.intp), np.empty(_CHUNK), np.empty(_CHUNK)
    filled = 0
    for batch in batches:
        pick_up, drop_off, distance, duration = (
            np.asarray(batch[column]) for column in STATISTICS_COLUMNS
        )
        _check_zones(pick_up, drop_off)
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


def _check_zones(*columns: npt.NDArray[Any]) -> None:
    for zones in columns:
        if zones.size and (zones.min() < 0 or zones.max() >= _ZONES):
            raise ValueError(
                f"zones must be from 0 to {_ZONES - 1}, got: {zones.min()} to {zones.max()}"
            )

"""Means by zone, pair and hour, shrunk to coarser means where trips are few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from ._calendar_time import hour_of_week_part
from ._zone_map import Floats, Ints
from .zones import zone_table

# Zone numbers are 1 to 265; 0 stands for any other.
ZONES = 266
_BOROUGHS = 10
_HOURS_OF_WEEK_PARTS = 48


@dataclass(frozen=True)
class _Level:
    """One kind of group, and what the mean of a group with no trips is."""

    size: int  # Groups are numbered from 0 and below this.
    prior: tuple[str, ...]  # The prior is the sum of these levels, less those of `less`.
    less: tuple[str, ...] = ()
    strength: float = 20.0  # As many trips as the prior counts for.


_PLACES: Mapping[str, _Level] = {
    "boroughs": _Level(_BOROUGHS**2, ("overall",)),
    "pickup": _Level(ZONES, ("overall",)),
    "dropoff": _Level(ZONES, ("overall",)),
    "pickup_to_borough": _Level(ZONES * _BOROUGHS, ("boroughs",)),
    "borough_to_dropoff": _Level(_BOROUGHS * ZONES, ("boroughs",)),
    "pair": _Level(
        ZONES**2, ("pickup_to_borough", "borough_to_dropoff"), ("boroughs",), strength=5.0
    ),
}
_HOURS: Mapping[str, _Level] = {
    "hour": _Level(_HOURS_OF_WEEK_PARTS, ("overall",)),
    "pickup_hour": _Level(ZONES * _HOURS_OF_WEEK_PARTS, ("pickup", "hour"), ("overall",)),
    "dropoff_hour": _Level(ZONES * _HOURS_OF_WEEK_PARTS, ("dropoff", "hour"), ("overall",)),
    "boroughs_hour": _Level(
        _BOROUGHS**2 * _HOURS_OF_WEEK_PARTS, ("boroughs", "hour"), ("overall",)
    ),
}


def trip_groups(trips: pd.DataFrame) -> dict[str, Ints]:
    """Number the groups that each trip belongs to: a level's name -> its groups' numbers."""
    pick_up, drop_off = zone_numbers(trips["PULocationID"]), zone_numbers(trips["DOLocationID"])
    borough = borough_codes()
    start, end = borough[pick_up], borough[drop_off]
    hour = hour_of_week_part(trips["pickup_datetime"])
    boroughs = start * _BOROUGHS + end
    return {
        "boroughs": boroughs,
        "pickup": pick_up,
        "dropoff": drop_off,
        "pickup_to_borough": pick_up * _BOROUGHS + end,
        "borough_to_dropoff": start * ZONES + drop_off,
        "pair": pick_up * ZONES + drop_off,
        "hour": hour,
        "pickup_hour": pick_up * _HOURS_OF_WEEK_PARTS + hour,
        "dropoff_hour": drop_off * _HOURS_OF_WEEK_PARTS + hour,
        "boroughs_hour": boroughs * _HOURS_OF_WEEK_PARTS + hour,
    }


def zone_numbers(zones: pd.Series) -> Ints:
    """Return zones as numbers from 1 to 265, and 0 for whatever is none."""
    numbers = zones.to_numpy(np.int64)
    return np.where((numbers > 0) & (numbers < ZONES), numbers, 0)


@cache
def borough_codes() -> Ints:
    """Return each zone number's borough as a small number, shape (266,)."""
    names = zone_table()["borough"].reindex(range(ZONES), fill_value="Unknown")
    codes = pd.factorize(names, sort=True)[0].astype(np.int64)
    codes.setflags(write=False)
    return codes


class ZoneStatistics(BaseEstimator):  # type: ignore[misc]
    """Shrunken means of one quantity by zones, pairs and, if asked, hours.

    A group's mean is drawn to its prior as if the prior were so many trips more
    (additive smoothing, Micci-Barreca, SIGKDD Explorations 3(1), 2001). The prior
    is made of coarser means: pair, then zone and borough, then boroughs, then all.
    With `by_hour`, hours, and hours of zones, are groups too.

    `overall_` is the mean of all trips; `effects_` has for each level an array of shape
    (n_groups,), of all that groups add to their priors.
    """

    def __init__(self, by_hour: bool = False) -> None:
        self.by_hour = by_hour

    def fit(self, groups: Mapping[str, Ints], values: Floats) -> Self:
        """Learn the means of values, of which NaN do not count, by groups of `trip_groups`."""
        counted = np.isfinite(values)
        values = values[counted]
        self.overall_ = float(values.mean()) if len(values) else 0.0
        self.effects_: dict[str, Floats] = {}
        means = {"overall": np.full(len(values), self.overall_)}
        for name, level in self._levels().items():
            prior = _prior(level, means)
            numbers = groups[name][counted]
            sums = np.bincount(numbers, values - prior, minlength=level.size)
            counts = np.bincount(numbers, minlength=level.size)
            # Zero for a group that training has not seen: its mean is the prior.
            self.effects_[name] = sums / (counts + level.strength)
            means[name] = prior + self.effects_[name][numbers]
        return self

    def means(self, groups: Mapping[str, Ints]) -> dict[str, Floats]:
        """Return each trip's means, a level's name to an array of shape (n_trips,)."""
        means = {"overall": np.full(len(groups["pair"]), self.overall_)}
        for name, level in self._levels().items():
            means[name] = _prior(level, means) + self.effects_[name][groups[name]]
        del means["overall"]
        return means

    def _levels(self) -> Mapping[str, _Level]:
        return {**_PLACES, **_HOURS} if self.by_hour else _PLACES


def _prior(level: _Level, means: Mapping[str, Floats]) -> Floats:
    added = np.sum([means[name] for name in level.prior], axis=0)
    return np.asarray(added - sum(means[name] for name in level.less))

"""How much slower than usual the city is at a moment, by the trips that have ended by then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator

from ._zone_map import Floats, Ints

# What is averaged: trips of these groups that ended within so many hours, drawn to "as usual" as
# if so many trips more had been usual. Chosen on the last days of January 2021.
_WINDOWS = (("city", 1, 20.0), ("city", 24, 20.0), ("boroughs", 3, 10.0), ("boroughs", 24, 10.0))
_LONGEST_HOURS = max(hours for _, hours, _ in _WINDOWS)
_HOUR = 3_600_000_000  # Microseconds, in which times are counted.
# A trip counts for no more than e times slower or faster than usual: meters are left running.
_MOST = 1.0
_RIDGE = 50.0


class Slowdown(BaseEstimator):  # type: ignore[misc]
    """The factor, as its logarithm, by which trips take longer than usual right now.

    Lateness is the logarithm of a trip's minutes over what is usual for it, a linear model of its
    `known` numbers. The lateness of a trip is told, by ridge regression, from the mean lateness of
    trips that *ended* before it began: within the last hour and day in the whole city, and within
    three hours and a day between the same boroughs. Nothing of a trip that has not ended is read.
    Without such trips it is zero: as usual.

    `ended_` are the trips that are told from: when they ended (microseconds since 1970, ascending),
    how late, and their groups. After `fit` these are the last day's of the training trips.
    """

    def fit(self, known: Floats, trips: pd.DataFrame, boroughs: Ints, minutes: Floats) -> Self:
        """Learn from trips: their known numbers, (n_trips, n), pairs of boroughs and minutes."""
        known = _with_constant(known)
        self.usual_ = np.linalg.lstsq(known, np.log(np.maximum(minutes, 1 / 60)), rcond=None)[0]
        ends = microseconds(trips["pickup_datetime"]) + (minutes * _HOUR / 60).astype(np.int64)
        late = self._lateness(known, minutes)
        self.ended_ = _by_end(ends, late, boroughs)
        means, _ = self._means(trips, boroughs)
        gram = means.T @ means + _RIDGE * np.eye(len(_WINDOWS))
        self.effects_ = np.linalg.solve(gram, means.T @ late)
        last = int(self.ended_["end"][-1]) - _LONGEST_HOURS * _HOUR
        self.ended_ = _chosen(self.ended_, self.ended_["end"] > last)
        return self

    def told(self, known: Floats, trips: pd.DataFrame, boroughs: Ints) -> Self:
        """Return a copy that knows trips with their drop-offs, in place of others of their time."""
        pickups, ends = (microseconds(trips[f"{end}_datetime"]) for end in ("pickup", "dropoff"))
        minutes = (ends - pickups) / (_HOUR / 60)
        late = self._lateness(_with_constant(known), minutes)
        news = _by_end(ends, late, boroughs)
        before = _chosen(self.ended_, self.ended_["end"] < ends.min())
        copy = type(self)()
        copy.usual_, copy.effects_ = self.usual_, self.effects_
        # Those before ended first: together they are in their order.
        copy.ended_ = {name: np.concatenate([before[name], news[name]]) for name in news}
        return copy

    def log_factors(
        self, trips: pd.DataFrame, boroughs: Ints
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return each trip's factor as a logarithm, and whether any trip ended the day before."""
        means, known = self._means(trips, boroughs)
        return means @ self.effects_, known

    def _lateness(self, known: Floats, minutes: Floats) -> Floats:
        late = np.log(np.maximum(minutes, 1 / 60)) - known @ self.usual_
        return np.asarray(late.clip(-_MOST, _MOST))

    def _means(self, trips: pd.DataFrame, boroughs: Ints) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return the shrunken means of the windows, shape (n_trips, 4), and who has any trip."""
        now = microseconds(trips["pickup_datetime"])
        groups = {"city": np.zeros(len(now), np.int64), "boroughs": boroughs}
        of_ended = {"city": np.zeros(len(self.ended_["end"]), np.int64), **self.ended_}
        columns, most = [], np.zeros(len(now), np.int64)
        for group, hours, strength in _WINDOWS:
            sums, counts = _sums_before(
                groups[group], now, of_ended[group], self.ended_["end"], self.ended_["late"], hours
            )
            columns.append(sums / (counts + strength))
            most = np.maximum(most, counts)
        return np.column_stack(columns), most > 0


def _sums_before(
    groups: Ints, now: Ints, of_ended: Ints, ends: Ints, late: Floats, hours: int
) -> tuple[Floats, Ints]:
    """Sum the lateness of each group's trips that ended by now, within so many hours; count."""
    sums, counts = np.zeros(len(now)), np.zeros(len(now), np.int64)
    for group in np.unique(groups):
        here, there = groups == group, of_ended == group
        when, running = ends[there], np.concatenate([[0.0], np.cumsum(late[there])])
        upto = np.searchsorted(when, now[here], "right")
        since = np.searchsorted(when, now[here] - hours * _HOUR, "right")
        sums[here], counts[here] = running[upto] - running[since], upto - since
    return sums, counts


def _by_end(ends: Ints, late: Floats, boroughs: Ints) -> dict[str, npt.NDArray[Any]]:
    order = np.argsort(ends, kind="stable")
    return {"end": ends[order], "late": late[order], "boroughs": boroughs[order]}


def _chosen(
    ended: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[Any]]:
    return {name: values[rows] for name, values in ended.items()}


def microseconds(stamps: pd.Series) -> Ints:
    """Return times as microseconds since 1970."""
    return stamps.to_numpy("datetime64[us]").astype(np.int64)


def _with_constant(known: Floats) -> Floats:
    return np.column_stack([np.ones(len(known)), known])

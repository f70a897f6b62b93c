"""Features for trees, of all that is known when a passenger gets in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import KFold
from sklearn.utils.validation import check_is_fitted

from ._calendar_time import is_day_off, time_of_day
from ._zone_map import Floats, Ints, zone_positions
from ._zone_statistics import ZONES, ZoneStatistics, borough_codes, trip_groups, zone_numbers
from .features import TripTransformer, require_columns
from .specs import GROUPS, KNOWN_AT_PICKUP

# No taxi drives farther within the hour that the cleaning allows; less than a tenth
# of a mile in over a minute is a meter that did not count.
_PLAUSIBLE_MILES = (0.1, 60.0)
# Zone numbers, which are their own codes.
_ZONE = pd.CategoricalDtype(pd.RangeIndex(ZONES))


class TripFeatures(TripTransformer):
    """Clock, zones, map and out-of-fold statistics of zones and pairs.

    ``fit_transform`` and ``fit().transform()`` differ on purpose, as in scikit-learn's
    ``TargetEncoder``. The statistics of a training trip come from the folds that it is not in, so
    that its own duration is no part of its features; other trips get those of all training trips.
    So do training trips that are predicted afterwards, and errors on them flatter the model.
    Implausible distances are replaced by what is usual between the two zones.

    The `groups` of features are some of `GROUPS`:

    - ``distance``: the trip's own, cleaned, and whether it was plausible;
    - ``time``: hour in quarters, weekday, day off;
    - ``zones``: pick-up and drop-off as categories, their boroughs;
    - ``map``: where the zones lie, worked out from distances;
    - ``distances``, ``durations``, ``paces``: means by zone, pair and, for paces, hour, shrunk to
      coarser means, and what follows from them.

    `random_state` assigns trips to `folds`. `positions_`, shape (266, 2), is where each zone lies,
    in miles; `statistics_` are of log miles, of minutes, and of log minutes a mile.
    """

    _FITTED_BY = "statistics_"
    _LEARNS_FROM = (*KNOWN_AT_PICKUP, "trip_distance")

    def __init__(
        self, groups: Sequence[str] = GROUPS, folds: int = 10, random_state: int = 0
    ) -> None:
        self.groups = groups
        self.folds = folds
        self.random_state = random_state

    def fit(self, trips: pd.DataFrame, y: Any) -> Self:
        """Learn map and statistics from training trips and their minutes."""
        self._learn(trips, self._minutes(y, trips))
        return self

    def fit_transform(self, trips: pd.DataFrame, y: Any = None) -> pd.DataFrame:
        """Learn as `fit` does and return the training trips' out-of-fold features."""
        minutes = self._minutes(y, trips)
        groups = self._learn(trips, minutes)
        values = _quantities(trips, minutes)
        means: dict[str, dict[str, Floats]] = {name: {} for name in self.statistics_}
        for learnt_from, kept_out in self._folds(len(trips)):
            there = {name: numbers[kept_out] for name, numbers in groups.items()}
            rest = {name: numbers[learnt_from] for name, numbers in groups.items()}
            for quantity, statistics in self.statistics_.items():
                fold = ZoneStatistics(statistics.by_hour).fit(rest, values[quantity][learnt_from])
                for level, mean in fold.means(there).items():
                    column = means[quantity].setdefault(level, np.empty(len(trips)))
                    column[kept_out] = mean
        return self._frame(trips, means)

    def transform(self, trips: pd.DataFrame) -> pd.DataFrame:
        """Make the features of trips that were not trained on: floats, and zones as categoricals.

        No column of `trips` is read beyond `KNOWN_AT_PICKUP` and, in the group ``distance``,
        ``trip_distance``.
        """
        check_is_fitted(self, self._FITTED_BY)
        require_columns(trips, self._columns())
        groups = trip_groups(trips)
        means = {name: statistics.means(groups) for name, statistics in self.statistics_.items()}
        return self._frame(trips, means)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Names of the features."""
        trip = {name: [1] for name in self._LEARNS_FROM} | {"pickup_datetime": pd.Timestamp(0)}
        return np.array(self.transform(pd.DataFrame(trip)).columns, dtype=object)

    def _learn(self, trips: pd.DataFrame, minutes: Floats) -> dict[str, Ints]:
        unknown = sorted(set(self.groups) - set(GROUPS))
        if unknown:
            raise ValueError(f"`groups` must be among {list(GROUPS)}, got: {unknown}")
        groups = trip_groups(trips)
        values = _quantities(trips, minutes)
        usual = np.isfinite(values["distances"])
        start, end = groups["pickup"][usual], groups["dropoff"][usual]
        self.positions_ = zone_positions(start, end, np.exp(values["distances"][usual]), ZONES)
        # Distances are always learnt: they stand in for implausible ones.
        self.statistics_ = {
            name: ZoneStatistics(by_hour=name == "paces").fit(groups, values[name])
            for name in ("distances", "durations", "paces")
            if name in self.groups or name == "distances"
        }
        return groups

    def _minutes(self, y: Any, trips: pd.DataFrame) -> Floats:
        require_columns(trips, self._LEARNS_FROM)
        if y is None:
            # In scikit-learn's words.
            raise ValueError(
                "`y` must hold the minutes of the training trips, got: None "
                "(requires y to be passed, but the target y is None)"
            )
        minutes = np.asarray(y, dtype=np.float64)
        if minutes.shape != (len(trips),):
            raise ValueError(
                f"`y` must have one entry a trip, {len(trips)}, got: "
                f"{len(minutes) if minutes.ndim == 1 else f'an array of shape {minutes.shape}'}"
            )
        if not np.isfinite(minutes).all():
            raise ValueError("`y` must hold a number for each trip; NaN or infinity is among them")
        return minutes

    def _folds(self, size: int) -> list[tuple[Ints, Ints]]:
        if size < 2:
            raise ValueError(f"`trips` must be 2 or more to learn from, got: {size}")
        folds = KFold(min(self.folds, size), shuffle=True, random_state=self.random_state)
        return list(folds.split(np.empty(size)))

    def _columns(self) -> tuple[str, ...]:
        return (*KNOWN_AT_PICKUP, *(["trip_distance"] if "distance" in self.groups else []))

    def _frame(
        self, trips: pd.DataFrame, means: Mapping[str, Mapping[str, Floats]]
    ) -> pd.DataFrame:
        usual = means["distances"]["pair"]
        miles = self._miles(trips, np.exp(usual))
        makers: Mapping[str, Callable[[], dict[str, Any]]] = {
            "distance": lambda: _distance(trips, miles),
            "time": lambda: _time(trips["pickup_datetime"]),
            "zones": lambda: _zones(trips),
            "map": lambda: self._map(trips, miles),
            "distances": lambda: (
                _named("log_miles", means["distances"])
                | {"longer_than_usual": np.log(miles) - usual}
            ),
            "durations": lambda: (
                _named("minutes", means["durations"])
                # Longer ways are driven faster, hence the exponent.
                | {"minutes_if_usual": means["durations"]["pair"] * (miles / np.exp(usual)) ** 0.7}
            ),
            "paces": lambda: (
                _named("log_pace", means["paces"])
                | {f"minutes_at_pace_{k}": miles * np.exp(v) for k, v in means["paces"].items()}
            ),
        }
        features: dict[str, Any] = {}
        for group in GROUPS:
            if group in self.groups:
                features |= makers[group]()
        columns = {
            name: values if isinstance(values, pd.Categorical) else np.asarray(values, np.float32)
            for name, values in features.items()
        }
        return pd.DataFrame(columns, index=trips.index)

    def _miles(self, trips: pd.DataFrame, usual: Floats) -> Floats:
        if "distance" not in self.groups:
            return usual
        miles = trips["trip_distance"].to_numpy(np.float64)
        return np.where(_plausible(miles), miles, usual)

    def _map(self, trips: pd.DataFrame, miles: Floats) -> dict[str, Floats]:
        start = self.positions_[zone_numbers(trips["PULocationID"])]
        end = self.positions_[zone_numbers(trips["DOLocationID"])]
        way = end - start
        beeline = np.hypot(*way.T)
        return {
            "pickup_x": start[:, 0],
            "pickup_y": start[:, 1],
            "dropoff_x": end[:, 0],
            "dropoff_y": end[:, 1],
            "middle_x": (start[:, 0] + end[:, 0]) / 2,
            "middle_y": (start[:, 1] + end[:, 1]) / 2,
            "direction": np.arctan2(way[:, 1], way[:, 0]),
            "beeline": beeline,
            "detour": miles / (beeline + 0.5),
        }


def _plausible(miles: Floats) -> npt.NDArray[np.bool_]:
    low, high = _PLAUSIBLE_MILES
    return np.asarray((miles > low) & (miles < high))


def _quantities(trips: pd.DataFrame, minutes: Floats) -> dict[str, Floats]:
    """Return what statistics are made of, NaN where an implausible value spoils it."""
    miles = trips["trip_distance"].to_numpy(np.float64)
    log_miles = np.log(np.where(_plausible(miles), miles, np.nan))
    paces = np.log(np.where(minutes > 0, minutes, np.nan)) - log_miles
    return {"distances": log_miles, "durations": minutes, "paces": paces}


def _distance(trips: pd.DataFrame, miles: Floats) -> dict[str, Any]:
    recorded = trips["trip_distance"].to_numpy(np.float64)
    return {"miles": miles, "miles_plausible": _plausible(recorded).astype(np.float32)}


def _time(pickup: pd.Series) -> dict[str, Any]:
    return {
        "time_of_day": time_of_day(pickup),
        "weekday": pickup.dt.day_of_week.to_numpy(),
        "day_off": is_day_off(pickup).astype(np.float32),
    }


def _zones(trips: pd.DataFrame) -> dict[str, Any]:
    columns = {"pickup": "PULocationID", "dropoff": "DOLocationID"}
    numbers = {end: zone_numbers(trips[column]) for end, column in columns.items()}
    borough = borough_codes()
    return {
        **{f"{end}_zone": pd.Categorical.from_codes(n, dtype=_ZONE) for end, n in numbers.items()},
        **{f"{end}_borough": borough[n] for end, n in numbers.items()},
        "same_zone": (numbers["pickup"] == numbers["dropoff"]).astype(np.float32),
    }


def _named(prefix: str, means: Mapping[str, Floats]) -> dict[str, Floats]:
    return {f"{prefix}_{level}": mean for level, mean in means.items()}

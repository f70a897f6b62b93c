"""Features for trees, of all that is known when a passenger gets in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._calendar_time import is_day_off, time_of_day
from ._slowdown import Slowdown, microseconds
from ._zone_map import Floats, Ints, are_drawn, drawn_zones, zone_positions
from ._zone_statistics import ZONES, ZoneStatistics, borough_codes, trip_groups, zone_numbers
from .features import TripTransformer, require_columns
from .specs import GROUPS, KNOWN_AT_PICKUP, LIVE, MODELS, SLOWDOWN, WEIGHT

# No taxi drives farther within the hour that the cleaning allows; less than a tenth
# of a mile in over a minute is a meter that did not count.
_PLAUSIBLE_MILES = (0.1, 60.0)
# The axes of Manhattan's streets, whose avenues point 29 degrees east of north.
_TILT = np.radians(29)
_STREETS = np.array([[np.cos(_TILT), np.sin(_TILT)], [-np.sin(_TILT), np.cos(_TILT)]])
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
    - ``map``: where the zones lie and how large they are, as the TLC draws them; where driven
      distances are not those between these zones, a map is worked out from the distances;
    - ``distances``, ``durations``, ``paces``: means by zone, pair and, for paces, hour, shrunk to
      coarser means, and what follows from them;
    - ``live``: how much slower the city is than usual, by the trips that have ended: see
      `Slowdown`. It is no feature for trees, but the logarithm of a factor.

    A training trip's ``weight``, which is none for trees either, is halved for each `half_life`
    days that it lies before the last one.

    `random_state` assigns trips to `folds`. `positions_`, shape (266, 2), is where each zone lies,
    in miles, and `drawn_` whether that is as the TLC draws them; `statistics_` are of log miles, of
    minutes, and of log minutes a mile.
    """

    _FITTED_BY = "statistics_"
    _LEARNS_FROM = (*KNOWN_AT_PICKUP, "trip_distance")

    def __init__(
        self,
        groups: Sequence[str] = GROUPS,
        folds: int = 10,
        random_state: int = 0,
        half_life: float = 30.0,
    ) -> None:
        self.groups = groups
        self.folds = folds
        self.random_state = random_state
        self.half_life = half_life

    def fit(self, trips: pd.DataFrame, y: Any) -> Self:
        """Learn map and statistics from training trips and their minutes."""
        if LIVE in self.groups:
            # How late trips are is told by what is usual without them.
            self.fit_transform(trips, y)
        else:
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
        if LIVE in self.groups:
            known = self._known(trips, means)
            self.slowdown_ = Slowdown().fit(known, trips, groups["boroughs"], minutes)
            slowdown, _ = self.slowdown_.log_factors(trips, groups["boroughs"])
            return self._frame(trips, means, slowdown)
        return self._frame(trips, means)

    def with_recent(self, recent: pd.DataFrame) -> Self:
        """Return a copy that knows recent trips, with their ``dropoff_datetime``; see `live`."""
        check_is_fitted(self, self._FITTED_BY)
        told = copy(self)
        groups = trip_groups(recent)
        known = self._known(recent, self._means(groups))
        told.slowdown_ = self.slowdown_.told(known, recent, groups["boroughs"])
        return told

    def transform(self, trips: pd.DataFrame) -> pd.DataFrame:
        """Make the features of trips that were not trained on: floats, and zones as categoricals.

        No column of `trips` is read beyond `KNOWN_AT_PICKUP` and, in the group ``distance``,
        ``trip_distance``.
        """
        check_is_fitted(self, self._FITTED_BY)
        require_columns(trips, self._columns())
        groups = trip_groups(trips)
        slowdown = None
        if LIVE in self.groups:
            slowdown, any_ended = self.slowdown_.log_factors(trips, groups["boroughs"])
            if not any_ended.all():
                warnings.warn(
                    f"of {int((~any_ended).sum()):,} of {len(trips):,} trips no recent ones are "
                    "known, that ended within a day before them: they are predicted as where the "
                    "city is as usual. Give such trips with `with_recent(model, trips)`",
                    stacklevel=2,
                )
        return self._frame(trips, self._means(groups), slowdown)

    def columns_of_groups(self) -> dict[str, list[str]]:
        """Return the names of each group's features for trees."""
        trip = self._one_trip()
        made = self._made(trip, self._means(trip_groups(trip)))
        return {group: list(columns) for group, columns in made.items()}

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Names of the features."""
        check_is_fitted(self, self._FITTED_BY)
        trip = self._one_trip()
        columns = self._frame(trip, self._means(trip_groups(trip)), np.zeros(1)).columns
        return np.array(columns, dtype=object)

    def _one_trip(self) -> pd.DataFrame:
        trip = {name: [1] for name in self._LEARNS_FROM} | {"pickup_datetime": pd.Timestamp(0)}
        return pd.DataFrame(trip)

    def _learn(self, trips: pd.DataFrame, minutes: Floats) -> dict[str, Ints]:
        every = (*GROUPS, LIVE)
        unknown = sorted(set(self.groups) - set(every))
        if unknown:
            raise ValueError(f"`groups` must be among {list(every)}, got: {unknown}")
        # A number: skops would have to be told that a time stamp is safe to load.
        self.last_ = int(microseconds(trips["pickup_datetime"]).max())
        groups = trip_groups(trips)
        values = _quantities(trips, minutes)
        usual = np.isfinite(values["distances"])
        start, end = groups["pickup"][usual], groups["dropoff"][usual]
        miles = np.exp(values["distances"][usual])
        self.drawn_ = are_drawn(start, end, miles, ZONES)
        self.positions_ = (
            drawn_zones(ZONES)[0] if self.drawn_ else zone_positions(start, end, miles, ZONES)
        )
        # Distances are always learnt: they stand in for implausible ones.
        learnt = {"distances", *self.groups, *(["paces"] if LIVE in self.groups else [])}
        self.statistics_ = {
            name: ZoneStatistics(by_hour=name == "paces").fit(groups, values[name])
            for name in ("distances", "durations", "paces")
            if name in learnt
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

    def _means(self, groups: Mapping[str, Ints]) -> dict[str, dict[str, Floats]]:
        return {name: statistics.means(groups) for name, statistics in self.statistics_.items()}

    def _known(self, trips: pd.DataFrame, means: Mapping[str, Mapping[str, Floats]]) -> Floats:
        """Return what says how long a trip usually takes, logarithms, a row each."""
        usual = means["distances"]["pair"]
        miles = np.log(self._miles(trips, np.exp(usual)))
        levels = ("pair", "pickup_hour", "dropoff_hour", "boroughs_hour", "hour")
        return np.column_stack([miles, usual, *(means["paces"][level] for level in levels)])

    def _frame(
        self,
        trips: pd.DataFrame,
        means: Mapping[str, Mapping[str, Floats]],
        slowdown: Floats | None = None,
    ) -> pd.DataFrame:
        features: dict[str, Any] = {}
        for columns in self._made(trips, means).values():
            features |= columns
        age = (self.last_ - microseconds(trips["pickup_datetime"])) / 86_400_000_000
        features[WEIGHT] = 0.5 ** (age.clip(min=0) / self.half_life)
        if LIVE in self.groups:
            features[SLOWDOWN] = slowdown
        columns = {
            name: values if isinstance(values, pd.Categorical) else np.asarray(values, np.float32)
            for name, values in features.items()
        }
        return pd.DataFrame(columns, index=trips.index)

    def _made(
        self, trips: pd.DataFrame, means: Mapping[str, Mapping[str, Floats]]
    ) -> dict[str, dict[str, Any]]:
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
        return {group: makers[group]() for group in GROUPS if group in self.groups}

    def _miles(self, trips: pd.DataFrame, usual: Floats) -> Floats:
        if "distance" not in self.groups:
            return usual
        miles = trips["trip_distance"].to_numpy(np.float64)
        return np.where(_plausible(miles), miles, usual)

    def _map(self, trips: pd.DataFrame, miles: Floats) -> dict[str, Floats]:
        pick_up, drop_off = (zone_numbers(trips[end]) for end in ("PULocationID", "DOLocationID"))
        start, end = self.positions_[pick_up], self.positions_[drop_off]
        way = end - start
        beeline = np.hypot(*way.T)
        _, areas, steps = drawn_zones(ZONES)
        if not self.drawn_:
            areas, steps = np.full_like(areas, np.nan), np.full_like(steps, np.nan)
        # Two points in squares of these areas are so far apart, as a root mean square.
        spread = np.nan_to_num(areas[pick_up] + areas[drop_off]) / 6
        between = np.sqrt(beeline**2 + spread)
        along = way @ _STREETS
        return {
            "pickup_x": start[:, 0],
            "pickup_y": start[:, 1],
            "dropoff_x": end[:, 0],
            "dropoff_y": end[:, 1],
            "middle_x": (start[:, 0] + end[:, 0]) / 2,
            "middle_y": (start[:, 1] + end[:, 1]) / 2,
            "way_x": way[:, 0],
            "way_y": way[:, 1],
            "direction": np.arctan2(way[:, 1], way[:, 0]),
            "beeline": beeline,
            "between": between,
            "by_streets": np.abs(along).sum(axis=1),
            "pickup_area": areas[pick_up],
            "dropoff_area": areas[drop_off],
            "zones_on_the_way": steps[pick_up, drop_off],
            "detour": miles / (between + 0.3),
        }


def with_recent(model: Pipeline, recent: pd.DataFrame) -> Pipeline:
    """Return a ``-live`` model that knows recent trips, and how slow the city is by them.

    A trip is predicted from those of them that ended before its pick-up, never from others: the
    frame may hold later ones, such as the whole month that is predicted. Without them a model
    knows the last day of its training trips; where none ended within a day before a trip, it
    predicts as where the city is as usual, and warns.

    Parameters
    ----------
    model : sklearn.pipeline.Pipeline
        Fitted or loaded; it stays as it is.
    recent : DataFrame
        Trips with ``pickup_datetime``, ``dropoff_datetime``, both zones and ``trip_distance``.

    Returns
    -------
    sklearn.pipeline.Pipeline
        It predicts minutes from raw trips.

    Raises
    ------
    ValueError
        If the model is not a ``-live`` one, or a column is missing or has nulls.

    Examples
    --------
    >>> from taxi_nb import load_trips, make_model, with_recent
    >>> trips = load_trips("green", ["2021-01"], "sample", sample_rows=1_000)
    >>> model = make_model("xgboost-rich-live", {"n_estimators": 5})
    >>> told = with_recent(model.fit(trips, trips["duration"]), trips)
    >>> told.predict(trips).shape == (len(trips),)
    True
    """
    features: Any = getattr(model, "named_steps", {}).get("features")
    if LIVE not in getattr(features, "groups", ()):
        live = [name for name, spec in MODELS.items() if LIVE in spec.groups]
        raise ValueError(f"`model` must be one that reads recent trips: one of {live}")
    columns = [*TripFeatures._LEARNS_FROM, "dropoff_datetime"]
    require_columns(recent, columns)
    for column in columns:
        if column != "trip_distance" and recent[column].isna().any():
            raise ValueError(f"`recent` must have no null {column}; drop such rows first")
    told = features.with_recent(recent)
    return Pipeline([("features", told), *model.steps[1:]])


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

"""The models by name: estimator, default parameters, features, and what a logged one needs.

Nothing here needs scikit-learn, so that a pipeline file's names are checked at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# The raw columns that a model reads.
TRIP_COLUMNS = ("PULocationID", "DOLocationID", "trip_distance")
# Those that the rich features are made from, besides ``trip_distance``.
KNOWN_AT_PICKUP = ("pickup_datetime", "PULocationID", "DOLocationID")
# The groups of rich features, as `TripFeatures` describes them.
GROUPS = ("distance", "time", "zones", "map", "distances", "durations", "paces")
# One more: how slow the city is just now, by the trips that have ended.
LIVE = "live"
# The columns beside the features for trees: how much a training trip counts, and a factor's log.
WEIGHT, SLOWDOWN = "weight", "slowdown"


@dataclass(frozen=True)
class ModelSpec:
    """A kind of model; its classes are named with their module, this package's with a dot."""

    summary: str  # One line for tables.
    estimator: str  # The class of the scikit-learn estimator.
    defaults: Mapping[str, Any] = field(default_factory=dict)  # Unless told otherwise.
    seeded: bool = False  # Whether the estimator takes a ``random_state``.
    # The feature groups that it learns from, see `TripFeatures`; without any it learns from the
    # pair of zones and the distance.
    groups: tuple[str, ...] = ()
    reads: tuple[str, ...] = TRIP_COLUMNS  # The raw columns that a prediction is made from.
    # The name of the model that learns the same from months too large for memory; None where only
    # one that has all trips before it can learn.
    in_batches: str | None = None
    # Packages that it needs where it is loaded, beyond those that all models need.
    requires: tuple[str, ...] = ()
    # The classes that skops has to be told are safe to load, beyond estimator and features where
    # those are of this package.
    trusted: tuple[str, ...] = ()

    @property
    def features(self) -> str:
        """The class that makes the model matrix of raw trips."""
        return ".trip_features.TripFeatures" if self.groups else ".features.PairAndDistance"

    @property
    def features_summary(self) -> str:
        """The features in words, for MLflow."""
        return ", ".join(self.groups) or "PU_DO one-hot, trip_distance"


_STATISTICS = ".group_statistics.GroupStatistics"
_XGBOOST_TYPES = ("xgboost.core.Booster", "xgboost.sklearn.XGBRegressor")
_XGBOOST: Mapping[str, Any] = {
    "seeded": True,
    "requires": ("xgboost-cpu",),
}
_RICH: Mapping[str, Any] = {
    **_XGBOOST,
    "estimator": ".boosting.TripBoosting",
    # Chosen on eleven and on eight days of January 2021, predicted from the days before them.
    "defaults": {
        "n_estimators": 500,
        "learning_rate": 0.025,
        "max_depth": 10,
        "min_child_weight": 30.0,
        "subsample": 0.8,
        "colsample_bytree": 0.5,
        # Fewer than 256 cost less time and lose nothing: see docs/models.md.
        "max_bin": 32,
        "reg_lambda": 10.0,
        "enable_categorical": True,
    },
    "trusted": ("._zone_statistics.ZoneStatistics", "._slowdown.Slowdown", *_XGBOOST_TYPES),
}

MODELS: Mapping[str, ModelSpec] = {
    "linear": ModelSpec(
        "least squares, solved exactly",
        ".linear.ExactLinearRegression",
        in_batches="linear",
        trusted=(_STATISTICS,),
    ),
    "linear-lsqr": ModelSpec(
        "scikit-learn's LinearRegression as it comes, not converged",
        ".linear.SingleThreadedLinearRegression",
    ),
    "ridge": ModelSpec(
        "scikit-learn's Ridge as it comes, not converged",
        ".linear.SingleThreadedRidge",
        {"alpha": 1.0},
        in_batches="ridge-exact",
    ),
    "ridge-exact": ModelSpec(
        "ridge regression, solved exactly",
        ".linear.GroupRidge",
        {"alpha": 1.0},
        in_batches="ridge-exact",
        trusted=(_STATISTICS,),
    ),
    "lasso": ModelSpec(
        "scikit-learn's Lasso as it comes",
        "sklearn.linear_model.Lasso",
        {"alpha": 0.01},
        in_batches="lasso-exact",
    ),
    "lasso-exact": ModelSpec(
        "lasso, solved exactly",
        ".linear.GroupLasso",
        {"alpha": 0.01},
        in_batches="lasso-exact",
        trusted=(_STATISTICS,),
    ),
    "random_forest": ModelSpec(
        "random forest",
        "sklearn.ensemble.RandomForestRegressor",
        {"n_estimators": 30, "max_depth": 20, "min_samples_leaf": 5, "max_features": 0.3},
        seeded=True,
        trusted=("sklearn.tree._tree.Tree",),
    ),
    "xgboost": ModelSpec(
        "gradient-boosted trees",
        "xgboost.sklearn.XGBRegressor",
        **_XGBOOST,
        defaults={
            "n_estimators": 200,
            "learning_rate": 0.2,
            "max_depth": 10,
            "min_child_weight": 2.0,
        },
        in_batches="xgboost",
        trusted=_XGBOOST_TYPES,
    ),
    "xgboost-rich": ModelSpec(
        "gradient-boosted trees on clock, zones, map and out-of-fold statistics",
        **_RICH,
        groups=GROUPS,
        reads=(*KNOWN_AT_PICKUP, "trip_distance"),
    ),
    "xgboost-rich-live": ModelSpec(
        "the same, times how slow the city is just now by the trips that have ended",
        **_RICH,
        groups=(*GROUPS, LIVE),
        reads=(*KNOWN_AT_PICKUP, "trip_distance"),
    ),
    # Before a trip nobody knows how far it will go.
    "xgboost-before": ModelSpec(
        "the same without the trip's own distance, as one knows it before the trip",
        **_RICH,
        groups=tuple(group for group in GROUPS if group != "distance"),
        reads=KNOWN_AT_PICKUP,
    ),
}
"""Name -> `ModelSpec`. A new model is one more entry."""

TUNABLE = ("xgboost-rich", "xgboost-before", "xgboost")
"""The models that `tune` can search: one family with the same parameters."""

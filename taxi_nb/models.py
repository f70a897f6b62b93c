"""Estimators by name, each with its default parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.pipeline import Pipeline

from taxi_nb.features import TRIP_COLUMNS, PairAndDistance
from taxi_nb.trip_features import GROUPS, KNOWN_AT_PICKUP, TripFeatures


def _pair_and_distance(seed: int) -> PairAndDistance:
    return PairAndDistance()


def _trip_features(seed: int) -> TripFeatures:
    return TripFeatures(random_state=seed)


def _features_before_the_trip(seed: int) -> TripFeatures:
    return TripFeatures([group for group in GROUPS if group != "distance"], random_state=seed)


@dataclass(frozen=True)
class ModelSpec:
    """A kind of model.

    Attributes
    ----------
    summary : str
        One line for tables.
    build : callable
        Makes the scikit-learn estimator from keyword parameters.
    defaults : mapping
        The parameters that it is built with unless told otherwise.
    seeded : bool
        Whether the estimator takes a ``random_state``.
    trusted_types : tuple of str
        What skops has to be told is safe to load, beyond what it knows.
    features : callable
        Makes the transformer of raw trips from the seed.
    reads : tuple of str
        The raw columns that a prediction is made from.
    features_summary : str
        What the features are, for MLflow.
    in_batches : str, optional
        The name of the model that learns the same from months too large for memory; None
        where only one that has all trips before it can learn.
    """

    summary: str
    build: Callable[..., Any]
    defaults: Mapping[str, Any]
    seeded: bool = False
    trusted_types: tuple[str, ...] = ()
    in_batches: str | None = None
    features: Callable[[int], Any] = _pair_and_distance
    reads: tuple[str, ...] = TRIP_COLUMNS
    features_summary: str = "PU_DO one-hot, trip_distance"


def _linear(**params: Any) -> Any:
    from taxi_nb.linear import ExactLinearRegression

    return ExactLinearRegression(**params)


def _linear_lsqr(**params: Any) -> Any:
    from taxi_nb.linear import SingleThreadedLinearRegression

    return SingleThreadedLinearRegression(**params)


def _ridge_exact(**params: Any) -> Any:
    from taxi_nb.linear import GroupRidge

    return GroupRidge(**params)


def _lasso_exact(**params: Any) -> Any:
    from taxi_nb.linear import GroupLasso

    return GroupLasso(**params)


def _ridge(**params: Any) -> Any:
    from taxi_nb.linear import SingleThreadedRidge

    return SingleThreadedRidge(**params)


def _lasso(**params: Any) -> Any:
    from sklearn.linear_model import Lasso

    return Lasso(**params)


def _random_forest(**params: Any) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(**params)


def _xgboost(**params: Any) -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(**params)


_XGBOOST_TYPES = ("xgboost.core.Booster", "xgboost.sklearn.XGBRegressor")
_TRIP_FEATURES_TYPES = (
    "taxi_nb.trip_features.TripFeatures",
    "taxi_nb.zone_statistics.ZoneStatistics",
    *_XGBOOST_TYPES,
)
# Chosen on the last three weeks of January 2021, each predicted from the days before it.
_RICH_DEFAULTS: Mapping[str, Any] = {
    "n_estimators": 600,
    "learning_rate": 0.02,
    "max_depth": 9,
    "min_child_weight": 20.0,
    "subsample": 0.8,
    "colsample_bytree": 0.35,
    "enable_categorical": True,
}
_STATISTICS = "taxi_nb.group_statistics.GroupStatistics"

MODELS: Mapping[str, ModelSpec] = {
    "linear": ModelSpec(
        "least squares, solved exactly",
        _linear,
        {},
        trusted_types=("taxi_nb.linear.ExactLinearRegression", _STATISTICS),
        in_batches="linear",
    ),
    "linear-lsqr": ModelSpec(
        "scikit-learn's LinearRegression as it comes, not converged",
        _linear_lsqr,
        {},
        trusted_types=("taxi_nb.linear.SingleThreadedLinearRegression",),
    ),
    "ridge": ModelSpec(
        "scikit-learn's Ridge as it comes, not converged",
        _ridge,
        {"alpha": 1.0},
        trusted_types=("taxi_nb.linear.SingleThreadedRidge",),
        in_batches="ridge-exact",
    ),
    "ridge-exact": ModelSpec(
        "ridge regression, solved exactly",
        _ridge_exact,
        {"alpha": 1.0},
        trusted_types=("taxi_nb.linear.GroupRidge", _STATISTICS),
        in_batches="ridge-exact",
    ),
    "lasso": ModelSpec(
        "scikit-learn's Lasso as it comes", _lasso, {"alpha": 0.01}, in_batches="lasso-exact"
    ),
    "lasso-exact": ModelSpec(
        "lasso, solved exactly",
        _lasso_exact,
        {"alpha": 0.01},
        trusted_types=("taxi_nb.linear.GroupLasso", _STATISTICS),
        in_batches="lasso-exact",
    ),
    "random_forest": ModelSpec(
        "random forest",
        _random_forest,
        {"n_estimators": 30, "max_depth": 20, "min_samples_leaf": 5, "max_features": 0.3},
        seeded=True,
        trusted_types=("sklearn.tree._tree.Tree",),
    ),
    "xgboost": ModelSpec(
        "gradient-boosted trees",
        _xgboost,
        {"n_estimators": 200, "learning_rate": 0.2, "max_depth": 10, "min_child_weight": 2.0},
        seeded=True,
        trusted_types=_XGBOOST_TYPES,
        in_batches="xgboost",
    ),
    "xgboost-rich": ModelSpec(
        "gradient-boosted trees on clock, zones, map and out-of-fold statistics",
        _xgboost,
        _RICH_DEFAULTS,
        seeded=True,
        trusted_types=_TRIP_FEATURES_TYPES,
        features=_trip_features,
        reads=(*KNOWN_AT_PICKUP, "trip_distance"),
        features_summary=", ".join(GROUPS),
    ),
    # Before a trip nobody knows how far it will go.
    "xgboost-before": ModelSpec(
        "the same without the trip's own distance, as one knows it before the trip",
        _xgboost,
        _RICH_DEFAULTS,
        seeded=True,
        trusted_types=_TRIP_FEATURES_TYPES,
        features=_features_before_the_trip,
        reads=KNOWN_AT_PICKUP,
        features_summary=", ".join(group for group in GROUPS if group != "distance"),
    ),
}
"""Name -> `ModelSpec`. A new model is one more entry."""


def make_model(name: str, params: Mapping[str, Any] | None = None, *, seed: int = 42) -> Pipeline:
    """Build the scikit-learn Pipeline from raw trip columns to minutes.

    Parameters
    ----------
    name : str
        A key of `MODELS`.
    params : mapping, optional
        Estimator parameters that replace or add to the defaults.
    seed : int
        ``random_state`` of the models and features that draw random numbers.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Not fitted; steps ``features`` and ``model``.

    Raises
    ------
    ValueError
        If there is no such model or it has no such parameter.
    """
    spec = _spec(name)
    seeding = {"random_state": seed} if spec.seeded else {}
    estimator = spec.build(**seeding)
    chosen = {**spec.defaults, **(params or {})}
    unknown = sorted(set(chosen) - set(estimator.get_params()))
    if unknown:
        raise ValueError(
            f"`params` of model {name!r} must be among {sorted(estimator.get_params())}, "
            f"got: {unknown}"
        )
    estimator.set_params(**chosen)
    return Pipeline([("features", spec.features(seed)), ("model", estimator)])


def _spec(name: str) -> ModelSpec:
    if name not in MODELS:
        raise ValueError(f"`model` must be one of {sorted(MODELS)}, got: {name!r}")
    return MODELS[name]

"""The models by name: estimator, default parameters, features, and what a logged one needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sklearn.pipeline import Pipeline

from .carried import carried_name, sources
from .features import TRIP_COLUMNS
from .trip_features import GROUPS, KNOWN_AT_PICKUP

# Read now, with the code that is imported now: a model carries what made it.
sources()


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
    "estimator": "xgboost.sklearn.XGBRegressor",
    "seeded": True,
    "requires": ("xgboost-cpu",),
}
_RICH: Mapping[str, Any] = {
    **_XGBOOST,
    # Chosen on the last three weeks of January 2021, each predicted from the days before it.
    "defaults": {
        "n_estimators": 600,
        "learning_rate": 0.02,
        "max_depth": 9,
        "min_child_weight": 20.0,
        "subsample": 0.8,
        "colsample_bytree": 0.35,
        "enable_categorical": True,
    },
    "trusted": ("._zone_statistics.ZoneStatistics", *_XGBOOST_TYPES),
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
    # Before a trip nobody knows how far it will go.
    "xgboost-before": ModelSpec(
        "the same without the trip's own distance, as one knows it before the trip",
        **_RICH,
        groups=tuple(group for group in GROUPS if group != "distance"),
        reads=KNOWN_AT_PICKUP,
    ),
}
"""Name -> `ModelSpec`. A new model is one more entry."""


@dataclass(frozen=True)
class ModelChoice:
    """A model with chosen parameters; a `ValueError` if there is no such model or parameter."""

    name: str  # A key of `MODELS`.
    params: Mapping[str, Any] = field(default_factory=dict)  # Beside and above the defaults.
    seed: int = 42  # ``random_state`` of models and features that draw random numbers.

    def __post_init__(self) -> None:
        if self.name not in MODELS:
            raise ValueError(f"`model` must be one of {sorted(MODELS)}, got: {self.name!r}")
        known = self._defaults_of_class()
        unknown = sorted(set(self.params) - set(known))
        if unknown:
            raise ValueError(
                f"`params` of model {self.name!r} must be among {sorted(known)}, got: {unknown}"
            )

    @property
    def spec(self) -> ModelSpec:
        """The kind of model."""
        return MODELS[self.name]

    @property
    def estimator_params(self) -> dict[str, Any]:
        """The parameters that differ from the library's own."""
        seeding = {"random_state": self.seed} if self.spec.seeded else {}
        return {**seeding, **self.spec.defaults, **self.params}

    def pipeline(self) -> Pipeline:
        """Build the scikit-learn Pipeline from raw trip columns to minutes, not fitted."""
        return Pipeline([("features", self.features()), ("model", self.estimator())])

    def features(self) -> Any:
        """Build the transformer from raw trip columns to a model matrix, not fitted."""
        groups = {"groups": self.spec.groups, "random_state": self.seed}
        return _class(self.spec.features)(**(groups if self.spec.groups else {}))

    def estimator(self) -> Any:
        """Build the estimator that learns from the model matrix, not fitted."""
        return _class(self.spec.estimator)(**self.estimator_params)

    def in_batches(self) -> ModelChoice:
        """Return the model that learns the same from months too large for memory.

        A `ValueError` says that there is none, or that it lacks a parameter that was chosen.
        """
        name = self.spec.in_batches
        if name is None:
            raise ValueError(f"model {self.name!r} cannot learn in batches")
        if name == self.name:
            return self
        shared, usual = MODELS[name].defaults, self._defaults_of_class()
        lost = [
            key for key, value in self.params.items() if key not in shared and value != usual[key]
        ]
        if lost:
            raise ValueError(
                f"in batches {self.name!r} is solved as {name!r}, which has no parameter {lost}; "
                f"its parameters are {sorted(shared)}"
            )
        chosen = {key: value for key, value in self.params.items() if key in shared}
        return ModelChoice(name, {**self.spec.defaults, **chosen}, self.seed)

    def trusted_types(self) -> list[str]:
        """Return what skops has to be told is safe, as a logged model names it."""
        specs = [self.spec, *([MODELS[self.spec.in_batches]] if self.spec.in_batches else [])]
        own = [
            name for one in specs for name in (one.features, one.estimator) if name.startswith(".")
        ]
        named = dict.fromkeys([*own, *(name for one in specs for name in one.trusted)])
        return [f"{carried_name()}{name}" if name.startswith(".") else name for name in named]

    def _defaults_of_class(self) -> dict[str, Any]:
        return dict(_class(self.spec.estimator)().get_params())


def _class(name: str) -> Any:
    module, _, found = name.rpartition(".")
    return getattr(import_module(module, __package__), found)


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

    Examples
    --------
    >>> from taxi_nb import make_model
    >>> make_model("ridge", {"alpha": 2.0}).named_steps["model"].alpha
    2.0
    """
    return ModelChoice(name, params or {}, seed).pipeline()

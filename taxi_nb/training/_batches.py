"""Fitting and judging models on months that do not fit into memory, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.pipeline import Pipeline

from taxi_nb.evaluation.errors import ErrorSums
from taxi_nb.models.choice import ModelChoice
from taxi_nb.models.features import PairAndDistance
from taxi_nb.models.specs import MODELS
from taxi_nb.tracking.held_folder import HeldFolder
from taxi_nb.training.pair_statistics import of_records, pair_statistics
from taxi_nb.trips.batches import TripBatches, frames, reopen, scheduler_of
from taxi_nb.trips.cleaning import CheckedRecords
from taxi_nb.trips.origin import is_part, provenance

if TYPE_CHECKING:
    import pandas as pd

# XGBoost keeps each batch as a page on disk: few large pages are read faster than many small.
_PAGE_ROWS = 1 << 20


def require_learns_in_batches(choice: ModelChoice, training: pd.DataFrame) -> None:
    """Refuse, naming those that can, a model that cannot learn in batches where it has to."""
    if not is_part(training) or choice.spec.in_batches:
        return
    origin = provenance(training)
    able = [name for name, spec in MODELS.items() if spec.in_batches]
    raise ValueError(
        f"model {choice.name!r} cannot learn in batches, and `training` holds only "
        f"{origin.drawn:,} of the {origin.cleaning.rows_kept:,} trips of its months. Raise "
        "`max_trips` of load_trips if they fit into memory, take fewer months, or choose one of "
        f"{able}"
    )


def fit_in_batches(choice: ModelChoice, training: pd.DataFrame) -> tuple[Pipeline, str]:
    """Fit a model to all trips that a frame stands for, reading them from their files.

    The pipeline is of the same form as one that learned in memory; the text says how it learned.
    `ValueError` if the model cannot learn in batches, or not with these parameters.
    """
    require_learns_in_batches(choice, training)
    chosen = choice.in_batches()
    batches = reopen(provenance(training), _PAGE_ROWS, scheduler_of(training))
    regressor, learned = chosen.estimator(), f"in batches, as {chosen.name}"
    if chosen.name == "xgboost" and batches.scheduler is not None:
        features, shares = _boosted_on_workers(regressor, batches, batches.scheduler)
        learned += f", in {shares} shares on workers"
        return Pipeline([("features", features), ("model", regressor)]), learned
    statistics = pair_statistics(batches)
    features = PairAndDistance.of_pairs(statistics.groups)
    if chosen.name == "xgboost":
        _take(regressor, _boosted(regressor, features, batches))
    else:
        regressor.fit_statistics(statistics)
    return Pipeline([("features", features), ("model", regressor)]), learned


def _boosted_on_workers(
    regressor: Any, batches: TripBatches, scheduler: str
) -> tuple[PairAndDistance, int]:
    from taxi_nb.training._boosting_on_workers import Settings, boosted_on_workers

    parts, seen = [], np.empty(0, np.int64)
    for part, found in batches.on_workers(scheduler, lambda _: of_records):
        parts.append((part, int(found.n.sum())))
        seen = np.union1d(seen, found.groups[found.n > 0])
    features = PairAndDistance.of_pairs(seen)
    params, rounds = regressor.get_xgb_params(), regressor.get_num_boosting_rounds()
    settings = Settings(features, params, rounds, regressor.max_bin)
    model, shares = boosted_on_workers(scheduler, parts, settings)
    _take(regressor, model)
    return features, shares


def _boosted(regressor: Any, features: PairAndDistance, batches: TripBatches) -> bytearray:
    import xgboost

    class Pages(xgboost.DataIter):
        """The model matrix, a page for each batch."""

        def __init__(self, folder: str) -> None:
            self._frames = iter(batches)
            super().__init__(cache_prefix=f"{folder}/page")

        def next(self, input_data: Callable[..., Any]) -> bool:
            trips = next(self._frames, None)
            if trips is not None:
                input_data(data=features.transform(trips), label=trips["duration"])
            return trips is not None

        def reset(self) -> None:
            self._frames = iter(batches)

    with HeldFolder("xgboost-") as folder:
        matrix = xgboost.ExtMemQuantileDMatrix(Pages(str(folder)), max_bin=regressor.max_bin)
        rounds = regressor.get_num_boosting_rounds()
        booster = xgboost.train(regressor.get_xgb_params(), matrix, rounds)
        del matrix
    return booster.save_raw()


def _take(regressor: Any, model: bytearray) -> None:
    params = regressor.get_params()
    regressor.load_model(model)
    # Loading writes what training found out among the parameters that somebody chose.
    regressor.set_params(**params)


def metrics_in_batches(estimator: Pipeline, trips: pd.DataFrame) -> dict[str, float]:
    """Measure predictions for all trips that a frame stands for, as `regression_metrics` does."""
    batches = reopen(provenance(trips), scheduler=scheduler_of(trips))
    sums = ErrorSums()
    for part in batches.in_parts(partial(_errors, estimator=estimator)):
        sums.join(part)
    return {"rmse": sums.rmse, "mae": sums.mae, "r2": sums.r2}


def _errors(batches: Iterator[CheckedRecords], estimator: Pipeline) -> ErrorSums:
    sums = ErrorSums()
    for trips in frames(batches):
        sums.add(estimator.predict(trips), trips["duration"].to_numpy())
    return sums

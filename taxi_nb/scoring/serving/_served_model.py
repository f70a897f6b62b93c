"""A model that answers requests, and what its answers are told with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from taxi_nb.evaluation.clock import hours_of
from taxi_nb.evaluation.drift import PICKUP, REFERENCE_FILE, DriftReference
from taxi_nb.evaluation.intervals import INTERVALS_FILE, ConformalIntervals
from taxi_nb.scoring.scored_model import ModelError, kept_with, load_predictor, predicted_minutes
from taxi_nb.tracking.model_address import ModelAddress
from taxi_nb.tracking.names import COMMIT_TAG
from taxi_nb.tracking.run_tree import find_run

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Minutes = npt.NDArray[np.float64]
# Fewer trips get one thread: it is as quick for them, and leaves the other cores to answer.
MANY_TRIPS = 200


@dataclass(frozen=True)
class Predictions:
    """Minutes, and the ends of their intervals where the model and the trips have what they need.

    An end may be infinite: it is not known how far up the truth may be.
    """

    minutes: Minutes
    lower: Minutes | None = None
    upper: Minutes | None = None

    def part(self, rows: slice) -> Predictions:
        """Return those of some trips."""
        ends = (None if end is None else end[rows] for end in (self.lower, self.upper))
        return Predictions(self.minutes[rows], *ends)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A version of a registered model, loaded."""

    name: str
    version: str
    run_id: str
    commit: str  # Of its training run; empty if that is not known.
    columns: tuple[str, ...]
    # Gives minutes for a table of typed columns.
    predictor: Any
    intervals: ConformalIntervals | None
    # What it has to expect; None of models that were logged without.
    reference: DriftReference | None
    # Of the libraries that the model has loaded.
    _threads: ThreadpoolController = field(default_factory=ThreadpoolController)

    @property
    def address(self) -> str:
        """Its address in MLflow."""
        return str(ModelAddress(self.name, version=self.version))

    def predict(self, trips: pd.DataFrame) -> Predictions:
        """Predict minutes; `ModelError` if the model does not give a number for each trip."""
        threads = 1 if len(trips) < MANY_TRIPS else None
        with self._threads.limit(limits=threads, user_api="openmp"):
            minutes = predicted_minutes(self.predictor, trips[list(self.columns)], self.address)
        if self.intervals is None:
            return Predictions(minutes)
        minutes = self.intervals.within_range(minutes)
        if PICKUP not in trips:  # Their width goes by the hour.
            return Predictions(minutes)
        lower, upper = self.intervals.bounds(minutes, hours_of(trips[PICKUP].to_numpy()))
        return Predictions(minutes, lower, upper)


def load_served(client: MlflowClient, found: ModelVersion) -> ServedModel:
    """Load a version and try it on its own input example.

    `RegistryError` or `ModelError` if it cannot be had, is not what was registered, or does not
    predict.
    """
    predictor, columns = load_predictor(found)
    run = find_run(client, str(found.run_id)) if found.run_id else None
    intervals = kept_with(client, run, INTERVALS_FILE) if run else None
    reference = kept_with(client, run, REFERENCE_FILE) if run else None
    commit = run.data.tags.get(COMMIT_TAG) if run else None
    commit = commit or found.tags.get("lineage.commit", "").partition(" ")[0]
    example = predictor.input_example
    served = ServedModel(
        name=found.name,
        version=str(found.version),
        run_id=str(found.run_id or ""),
        commit=commit,
        columns=columns,
        predictor=_quick(predictor),
        intervals=ConformalIntervals.from_dict(intervals, predictor) if intervals else None,
        reference=DriftReference.from_dict(reference) if reference else None,
    )
    if example is not None:
        minutes = served.predict(example).minutes
        by_mlflow = predicted_minutes(predictor, example, served.address)
        if served.intervals:
            by_mlflow = served.intervals.within_range(by_mlflow)
        if not np.array_equal(minutes, by_mlflow):
            raise ModelError(f"the model {served.address} gives other minutes than through MLflow")
    return served


def _quick(predictor: Any) -> Any:
    """Return what predicts without MLflow's checks of types, where there is such.

    A request's columns have been checked and have the signature's types, and these checks take
    most of the time of a single trip.
    """
    from sklearn.base import BaseEstimator

    try:
        raw = predictor.get_raw_model()
    except NotImplementedError:
        return predictor
    return raw if isinstance(raw, BaseEstimator) else predictor

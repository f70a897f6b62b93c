"""The way that courses teach: everything row by row, in Python objects.

Written for comparison, from the description of that way: read with pandas, duration by
`apply`, filter, ids to strings, `to_dict`, `DictVectorizer`, `LinearRegression`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.metrics import root_mean_squared_error

ZONES = ["PULocationID", "DOLocationID"]

REAL_RMSE = 7.758715
"""Its validation error on the green months 2021-01 (training) and 2021-02, in minutes."""


class Features(NamedTuple):
    """A model matrix, its target in minutes, and what made it."""

    matrix: Any
    minutes: np.ndarray[Any, np.dtype[np.float64]]
    vectorizer: DictVectorizer


def load(path: str, prefix: str) -> pd.DataFrame:
    """Read a month's trips of 1 to 60 minutes."""
    trips = pd.read_parquet(path)
    elapsed = trips[f"{prefix}_dropoff_datetime"] - trips[f"{prefix}_pickup_datetime"]
    trips["duration"] = elapsed.apply(lambda passed: passed.total_seconds() / 60)
    trips = trips[(trips.duration >= 1) & (trips.duration <= 60)]
    # Months of the sample have a few nulls, which LinearRegression refuses.
    trips = trips.dropna(subset=[*ZONES, "trip_distance"]).copy()
    trips[ZONES] = trips[ZONES].astype(str)
    return trips


def features(trips: pd.DataFrame, vectorizer: DictVectorizer | None = None) -> Features:
    """Make the one-hot matrix of pair and distance."""
    trips["PU_DO"] = trips["PULocationID"] + "_" + trips["DOLocationID"]
    records = trips[["PU_DO", "trip_distance"]].to_dict(orient="records")
    minutes = trips["duration"].to_numpy()
    if vectorizer is None:
        vectorizer = DictVectorizer()
        return Features(vectorizer.fit_transform(records), minutes, vectorizer)
    return Features(vectorizer.transform(records), minutes, vectorizer)


def load_and_features(path: str, prefix: str) -> Features:
    """Read a month and make its matrix."""
    return features(load(path, prefix))


def validation_rmse(training: str, validation: str, prefix: str) -> float:
    """Fit on one month, score on another; minutes."""
    known = load_and_features(training, prefix)
    model = LinearRegression().fit(known.matrix, known.minutes)
    new = features(load(validation, prefix), known.vectorizer)
    return float(root_mean_squared_error(new.minutes, model.predict(new.matrix)))

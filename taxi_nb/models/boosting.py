"""Gradient-boosted trees on the features of trips, and what stands beside the trees."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from xgboost import DMatrix, XGBRegressor

from .specs import SLOWDOWN, WEIGHT


class TripBoosting(XGBRegressor):
    """XGBoost's regressor of what `TripFeatures` makes.

    Two of its columns are not for the trees: ``weight``, how much a training trip counts, and
    ``slowdown``, the logarithm of a factor by which the trees' minutes are multiplied.
    """

    def fit(self, X: pd.DataFrame, y: npt.ArrayLike, **options: Any) -> Self:
        """Grow the trees of training trips' features and minutes."""
        trees, weights = for_trees(X)
        super().fit(trees, y, **{"sample_weight": weights, **options})
        return self

    def predict(self, X: pd.DataFrame, **options: Any) -> npt.NDArray[np.float32]:
        """Return minutes, shape (n_trips,)."""
        minutes = super().predict(for_trees(X)[0], **options)
        return minutes * np.exp(X[SLOWDOWN].to_numpy()) if SLOWDOWN in X else minutes

    def contributions(self, X: pd.DataFrame) -> pd.DataFrame:
        """Return by how many minutes each column moves each prediction, and where it starts.

        A row a trip; it sums to the prediction. A column's are its Shapley values in the trees
        (TreeSHAP: Lundberg and others, Nature Machine Intelligence 2, 2020), ``start`` is the mean
        prediction of training trips, and ``slowdown`` what the factor adds.
        """
        trees, _ = for_trees(X)
        matrix = DMatrix(trees, enable_categorical=True)
        parts = self.get_booster().predict(matrix, pred_contribs=True).astype(np.float64)
        found = pd.DataFrame(parts, columns=[*trees.columns, "start"], index=X.index)
        if SLOWDOWN in X:
            factors = np.exp(X[SLOWDOWN].to_numpy(np.float64))
            found[SLOWDOWN] = parts.sum(axis=1) * (factors - 1)
        return found


def for_trees(features: Any) -> tuple[Any, npt.NDArray[np.float32] | None]:
    """Return the columns that trees learn from, and the weights of the trips if there are any."""
    if not isinstance(features, pd.DataFrame):  # Pair and distance, of another model.
        return features, None
    weights = features[WEIGHT].to_numpy() if WEIGHT in features else None
    return features.drop(columns=[WEIGHT, SLOWDOWN], errors="ignore"), weights

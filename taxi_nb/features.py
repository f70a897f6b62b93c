"""From raw trip columns to the model matrix."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

TRIP_COLUMNS = ("PULocationID", "DOLocationID", "trip_distance")
"""The raw columns that a model reads."""

# Zone ids have three digits, so a pair of them is one integer.
_PAIR_BASE = 1000


class PairAndDistance(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """One-hot pair of pick-up and drop-off zone, and the distance as it is.

    The columns are those that a course's ``DictVectorizer`` makes of
    ``{"PU_DO": "43_151", "trip_distance": 2.6}``, made from arrays.

    Attributes
    ----------
    pairs_ : ndarray of int64, shape (n_pairs,)
        The pairs seen in training, ``PU * 1000 + DO``, ascending. A pair that
        training has not seen gets a row of zeros before its distance.
    """

    def fit(self, trips: pd.DataFrame, y: Any = None) -> Self:
        """Learn which pairs there are.

        Parameters
        ----------
        trips : DataFrame, shape (n_trips, >= 3)
            Has the columns `TRIP_COLUMNS`.
        y : ignored
        """
        self.pairs_ = np.unique(_pair_codes(trips))
        return self

    def transform(self, trips: pd.DataFrame) -> csr_matrix:
        """Make the model matrix.

        Returns
        -------
        csr_matrix of float64, shape (n_trips, n_pairs + 1)
            With 32-bit indices: scikit-learn's coordinate descent refuses 64.
        """
        check_is_fitted(self)
        codes = _pair_codes(trips)
        columns = np.searchsorted(self.pairs_, codes).clip(max=len(self.pairs_) - 1)
        known = self.pairs_[columns] == codes
        n_trips, n_pairs = len(codes), len(self.pairs_)
        # Two entries a row, of which the first is dropped where the pair is unknown.
        keep = np.column_stack([known, np.ones(n_trips, bool)]).ravel()
        indices = np.column_stack([columns, np.full(n_trips, n_pairs)]).ravel()[keep]
        distance = trips["trip_distance"].to_numpy(np.float64)
        data = np.column_stack([np.ones(n_trips), distance]).ravel()[keep]
        indptr = np.concatenate([[0], np.cumsum(1 + known)])
        return csr_matrix(
            (data, indices.astype(np.int32), indptr.astype(np.int32)),
            shape=(n_trips, n_pairs + 1),
        )

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Names of the matrix' columns, ``PU_DO=43_151`` … and ``trip_distance``."""
        check_is_fitted(self)
        pairs = [f"PU_DO={code // _PAIR_BASE}_{code % _PAIR_BASE}" for code in self.pairs_]
        return np.array([*pairs, "trip_distance"], dtype=object)


def _pair_codes(trips: pd.DataFrame) -> npt.NDArray[np.int64]:
    missing = [column for column in TRIP_COLUMNS if column not in trips.columns]
    if missing:
        raise ValueError(
            f"`trips` must have the columns {list(TRIP_COLUMNS)}; missing: {missing}, "
            f"got: {list(trips.columns)}"
        )
    pick_up = trips["PULocationID"].to_numpy(np.int64)
    drop_off = trips["DOLocationID"].to_numpy(np.int64)
    return pick_up * _PAIR_BASE + drop_off

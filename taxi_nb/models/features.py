"""From raw trip columns to the model matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .specs import TRIP_COLUMNS
from .zones import PAIR_BASE


class TripTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of frames of trips, by the names of their columns.

    What other columns a frame has, and in which order, makes no difference. So what scikit-learn
    calls the features seen in `fit` are the columns that are read then.
    """

    _FITTED_BY: str  # The attribute that `fit` sets.
    _LEARNS_FROM: tuple[str, ...]  # The columns that `fit` reads.

    @property
    def feature_names_in_(self) -> npt.NDArray[np.object_]:
        """The columns that `fit` read; there once it has."""
        check_is_fitted(self, self._FITTED_BY)
        return np.array(self._LEARNS_FROM, dtype=object)

    @property
    def n_features_in_(self) -> int:
        """How many columns `fit` read."""
        return len(self.feature_names_in_)


class PairAndDistance(TripTransformer):
    """One-hot pair of pick-up and drop-off zone, and the distance as it is.

    The columns are those that a course's ``DictVectorizer`` makes of
    ``{"PU_DO": "43_151", "trip_distance": 2.6}``, made from arrays. `pairs_` are the pairs seen
    in training, ``PU * 1000 + DO``, ascending. Any other gets zeros before its distance.
    """

    _FITTED_BY = "pairs_"
    _LEARNS_FROM = TRIP_COLUMNS

    @classmethod
    def of_pairs(cls, pairs: npt.NDArray[np.int64]) -> Self:
        """Make the transformer as if fitted to trips of these pairs, ascending."""
        features = cls()
        features.pairs_ = np.asarray(pairs, dtype=np.int64)
        return features

    def fit(self, trips: pd.DataFrame, y: Any = None) -> Self:
        """Learn which pairs there are in the columns `TRIP_COLUMNS`; `y` is ignored."""
        codes = _pair_codes(trips)
        if codes.min() < 0:
            raise ValueError(
                f"zones to learn from must be from 0 to {PAIR_BASE - 1}; some of `trips` are not"
            )
        present = np.zeros(PAIR_BASE**2, dtype=np.bool_)
        present[codes] = True
        self.pairs_ = np.flatnonzero(present)
        return self

    def transform(self, trips: pd.DataFrame) -> csr_matrix:
        """Make the model matrix, shape (n_trips, n_pairs + 1).

        Its indices have 32 bits: scikit-learn's coordinate descent refuses 64.
        """
        check_is_fitted(self, self._FITTED_BY)
        n_trips, n_pairs = len(trips), len(self.pairs_)
        column_of = np.full(PAIR_BASE**2 + 1, -1, dtype=np.int32)
        column_of[self.pairs_] = np.arange(n_pairs)
        # Two entries a row, of which the first is dropped where the pair is unknown.
        indices = np.empty((n_trips, 2), dtype=np.int32)
        indices[:, 0] = column_of[_pair_codes(trips)]
        indices[:, 1] = n_pairs
        data = np.ones((n_trips, 2))
        data[:, 1] = trips["trip_distance"]
        known = indices[:, 0] >= 0
        shape = (n_trips, n_pairs + 1)
        if known.all():
            indptr = np.arange(0, 2 * n_trips + 1, 2, dtype=np.int32)
            return csr_matrix((data.ravel(), indices.ravel(), indptr), shape)
        keep = indices.ravel() >= 0
        indptr = np.zeros(n_trips + 1, dtype=np.int32)
        np.cumsum(1 + known, out=indptr[1:])
        return csr_matrix((data.ravel()[keep], indices.ravel()[keep], indptr), shape)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Names of the matrix' columns, ``PU_DO=43_151`` … and ``trip_distance``."""
        check_is_fitted(self, self._FITTED_BY)
        pairs = [f"PU_DO={code // PAIR_BASE}_{code % PAIR_BASE}" for code in self.pairs_]
        return np.array([*pairs, "trip_distance"], dtype=object)


def require_columns(trips: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise a `ValueError` unless trips are a frame with rows that has some columns once."""
    if not isinstance(trips, pd.DataFrame):
        shape = getattr(trips, "shape", None)
        got = f"a {type(trips).__name__}" + (f" of shape {shape}" if shape is not None else "")
        raise ValueError(
            f"`trips` must be a DataFrame with the columns {list(columns)}, got: {got}"
        )
    missing = [column for column in columns if column not in trips.columns]
    if missing:
        raise ValueError(
            f"`trips` must have the columns {list(columns)}; missing: {missing}, "
            f"got: {list(trips.columns)}"
        )
    if twice := [column for column in columns if list(trips.columns).count(column) > 1]:
        raise ValueError(f"`trips` must have each column once; more than once: {twice}")
    if not len(trips):
        raise ValueError("`trips` must have one row or more, got: a frame without any (0 samples)")


def _pair_codes(trips: pd.DataFrame) -> npt.NDArray[np.int64]:
    require_columns(trips, TRIP_COLUMNS)
    pick_up, drop_off = (_zones(trips[name]) for name in ("PULocationID", "DOLocationID"))
    codes = pick_up * PAIR_BASE + drop_off
    outside = (pick_up < 0) | (pick_up >= PAIR_BASE) | (drop_off < 0) | (drop_off >= PAIR_BASE)
    if outside.any():
        # Taken for a pair of other zones otherwise; -1 is none.
        codes[outside] = -1
    return codes


def _zones(column: pd.Series) -> npt.NDArray[np.int64]:
    if column.hasnans:
        raise ValueError(f"`trips` must have no null {column.name}; drop such rows first")
    return column.to_numpy(np.int64)

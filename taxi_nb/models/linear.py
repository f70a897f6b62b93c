"""Linear models of one-hot groups and one number, as scikit-learn's estimators.

`ExactLinearRegression`, `GroupRidge` and `GroupLasso` minimise what scikit-learn's
`LinearRegression`, `Ridge` and `Lasso` do, the intercept not penalised, and are solved
exactly from the rows' statistics.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from .group_solutions import Solution, distinct_rows, solve_lasso, solve_ridge
from .group_statistics import Floats, GroupStatistics


class _GroupRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The part that the three models share.

    The rows of X are either

    - sparse, as `PairAndDistance` makes them: a one-hot column for each group, and x last; or
    - dense: x is the last column, and the columns before it together name the group.

    `groups_` are the columns of the sparse matrix, or what the dense columns held, of shape
    (n_groups, n_features - 1). `coef_` has the effect of each group, then the slope; a group that
    training has not seen has no effect. `statistics_` is all that is kept of the rows.
    """

    def fit(self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Fit the model to rows, sparse or dense."""
        return self._fit_statistics(self._statistics(X, y, sample_weight, reset=True))

    def partial_fit(
        self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Learn from more rows; the result is that of one fit on all rows so far.

        Sparse rows have the same columns each time; dense ones may bring new groups.
        """
        first = not hasattr(self, "statistics_")
        more = self._statistics(X, y, sample_weight, reset=first)
        return self._fit_statistics(more if first else self.statistics_ + more)

    def fit_statistics(self, statistics: GroupStatistics) -> Self:
        """Fit the model to rows of which only the statistics are left.

        With groups of one dimension `predict` takes sparse rows with one column for each, in their
        order; of two, dense ones.
        """
        self.n_features_in_ = statistics.groups.shape[-1] + 1
        return self._fit_statistics(statistics)

    def predict(self, X: Any) -> Floats:
        """Predict from rows like those of `fit`."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, accept_sparse="csr")
        if issparse(X):
            return np.asarray(X @ self.coef_ + self.intercept_)
        effects = self._solution().effects_of(X[:, :-1])
        return np.asarray(self.intercept_ + effects + self.coef_[-1] * X[:, -1])

    def rmse(self, statistics: GroupStatistics) -> float:
        """Return the root mean squared error on rows, in groups of the same names."""
        check_is_fitted(self)
        return self._solution().rmse(statistics)

    def _solution(self) -> Solution:
        return Solution(self.intercept_, float(self.coef_[-1]), self.groups_, self.coef_[:-1])

    def _statistics(
        self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None, *, reset: bool
    ) -> GroupStatistics:
        X, y = validate_data(
            self, X, y, reset=reset, dtype=np.float64, accept_sparse="csr", y_numeric=True
        )
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        groups, position, x = _one_hot_parts(X) if issparse(X) else _dense_parts(X)
        return GroupStatistics.of(groups, position, x, np.asarray(y, np.float64), weights)

    def _fit_statistics(self, statistics: GroupStatistics) -> Self:
        there = statistics.n > 0
        if not there.any():
            raise ValueError("there must be a row with a weight above 0 to fit a model to")
        solution = self._solve(statistics.present())
        self.statistics_ = statistics
        self.groups_ = statistics.groups
        self.intercept_ = solution.intercept
        self.coef_ = np.zeros(len(statistics.groups) + 1)
        self.coef_[:-1][there] = solution.effects
        self.coef_[-1] = solution.slope
        return self

    def _solve(self, statistics: GroupStatistics) -> Solution:
        raise NotImplementedError


class ExactLinearRegression(_GroupRegressor):
    """Least squares of the smallest norm: where `LinearRegression` with tolerance 0 arrives."""

    def _solve(self, statistics: GroupStatistics) -> Solution:
        return solve_ridge(statistics, 0.0)


class _PenalisedRegressor(_GroupRegressor):
    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def path(self, alphas: Iterable[float]) -> list[Self]:
        """Return models fitted to the same rows with other penalties, one for each alpha."""
        check_is_fitted(self)
        models = []
        for alpha in alphas:
            model = type(self)(alpha=alpha)
            model.n_features_in_ = self.n_features_in_
            models.append(model._fit_statistics(self.statistics_))
        return models

    def _checked_alpha(self) -> float:
        if not np.isfinite(self.alpha) or self.alpha < 0:
            raise ValueError(f"`alpha` must be a number of at least 0, got: {self.alpha!r}")
        return float(self.alpha)


class GroupRidge(_PenalisedRegressor):
    """Ridge regression, exactly; the objective of `sklearn.linear_model.Ridge`.

    `alpha` is the penalty on the squared coefficients; the intercept has none.

    Examples
    --------
    >>> from taxi_nb import iter_trips, pair_statistics
    >>> statistics = pair_statistics(iter_trips("green", ["2021-01"], "sample", sample_rows=1_000))
    >>> ridge = GroupRidge().fit_statistics(statistics)
    >>> len(ridge.path([0.1, 1, 10]))
    3
    """

    def _solve(self, statistics: GroupStatistics) -> Solution:
        return solve_ridge(statistics, self._checked_alpha())


class GroupLasso(_PenalisedRegressor):
    """The lasso, exactly; the objective of `sklearn.linear_model.Lasso`.

    Not to be taken for the group lasso of Yuan & Lin: the penalty `alpha` is on the absolute
    value of each coefficient; the intercept has none.
    """

    def _solve(self, statistics: GroupStatistics) -> Solution:
        return solve_lasso(statistics, self._checked_alpha())


class SingleThreadedLinearRegression(LinearRegression):  # type: ignore[misc]
    """scikit-learn's `LinearRegression`, fitted with one BLAS thread.

    On a sparse matrix it is LSQR, many short vector operations: on them several threads lose
    more time waiting for each other than they gain.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit as `LinearRegression` does; the number of threads is put back afterwards."""
        with threadpool_limits(limits=1, user_api="blas"):
            super().fit(X, y, sample_weight)
        return self


class SingleThreadedRidge(Ridge):  # type: ignore[misc]
    """scikit-learn's `Ridge`, fitted with one BLAS thread.

    On a sparse matrix it is conjugate gradients that stop early: their last digits would
    tell how many threads shared each sum.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit as `Ridge` does; the number of threads is put back afterwards."""
        with threadpool_limits(limits=1, user_api="blas"):
            super().fit(X, y, sample_weight)
        return self


def _one_hot_parts(X: csr_matrix) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Take a matrix of one-hot groups and a last column apart: groups, positions, x."""
    n_rows, n_columns = X.shape
    row = np.repeat(np.arange(n_rows), np.diff(X.indptr))
    last = X.indices == n_columns - 1
    x = np.zeros(n_rows)
    x[row[last]] = X.data[last]
    hot = ~last & (X.data != 0)
    position = np.full(n_rows, -1, dtype=np.intp)
    position[row[hot]] = X.indices[hot]
    if not (X.data[hot] == 1).all() or np.count_nonzero(hot) != n_rows or (position < 0).any():
        raise ValueError(
            "a sparse `X` must have exactly one 1 in the columns before its last, in each row; "
            "give other data as dense columns that name a row's group, and x last"
        )
    return np.arange(n_columns - 1), position, x


def _dense_parts(X: Floats) -> tuple[Floats, npt.NDArray[np.intp], Floats]:
    keys = X[:, :-1]
    first, position = distinct_rows(keys)
    return keys[first], position, X[:, -1]

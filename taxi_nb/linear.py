"""Linear models of one-hot groups and one number, solved exactly from group statistics.

`ExactLinearRegression`, `GroupRidge` and `GroupLasso` minimise what scikit-learn's
`LinearRegression`, `Ridge` and `Lasso` do, the intercept not penalised. Their matrix has one
column for each group and one for a number x, so that for a given intercept and slope the best
effect of a group follows from the group's statistics alone. Two unknowns remain, whatever the
number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from taxi_nb.group_statistics import Floats, GroupStatistics

# Less variation of x than this, relative to its size, is rounding.
_ROUNDING = 1e-12
_GAIN = 1e-21
_MAX_NEWTON_STEPS = 200


class Solution(NamedTuple):
    """What a row gets: the intercept, its group's effect, and the slope for each unit of x."""

    intercept: float
    slope: float
    effects: Floats


def solve_ridge(statistics: GroupStatistics, alpha: float) -> Solution:
    """
    Solve ridge regression; least squares of the smallest norm for ``alpha=0``.

    The best effect of a group shrinks its mean residual by ``n / (n + alpha)``. What is left
    is a regression of two unknowns with the weights ``n * alpha / (n + alpha)``. As alpha
    goes to 0 the weights become equal and their part in the slope vanishes.

    Parameters
    ----------
    statistics : GroupStatistics
        Of groups that have rows.
    alpha : float
        The penalty, not negative.
    """
    n, x, y = statistics.n, statistics.mean_x, statistics.mean_y
    xx, xy = float(statistics.xx.sum()), float(statistics.xy.sum())
    weights = n / (n + alpha)
    centre_x, centre_y = np.average(x, weights=weights), np.average(y, weights=weights)
    dx, dy = x - centre_x, y - centre_y
    penalty = alpha
    if alpha == 0 and xx <= _ROUNDING**2 * _dot(n, x**2):
        # x does not vary within groups: only the norm tells its slope from their effects.
        xx, xy, penalty = 0.0, 0.0, 1.0
    slope = (xy + penalty * _dot(weights, dx * dy)) / (
        xx + penalty * _dot(weights, dx**2) + penalty
    )
    intercept = centre_y - slope * centre_x
    return Solution(float(intercept), float(slope), weights * (y - intercept - slope * x))


def solve_lasso(
    statistics: GroupStatistics, alpha: float, start: Solution | None = None
) -> Solution:
    """
    Solve the lasso, ``squared error / (2 n) + alpha * (|slope| + sum |effects|)``.

    The best effect of a group is its mean residual, moved towards 0 by ``alpha * total / n``
    at most. What is left is a Huber loss of these residuals, convex and piecewise quadratic
    in two unknowns; Newton's method ends on the piece that holds the minimum.

    Parameters
    ----------
    statistics : GroupStatistics
        Of groups that have rows.
    alpha : float
        The penalty, not negative.
    start : Solution, optional
        Of a similar alpha.
    """
    if alpha == 0:
        return solve_ridge(statistics, 0.0)
    problem = _LassoProblem(statistics, alpha)
    flat = problem.minimum(np.zeros(2), sign=0)
    pull = problem.slope_gradient(flat)
    if abs(pull) <= problem.penalty:
        return problem.solution(flat)
    begin = flat if start is None else problem.unknowns(start)
    return problem.solution(problem.minimum(begin, sign=-int(np.sign(pull))))


class _LassoProblem:
    """The lasso's cost as a function of the intercept at the mean x, and of the slope."""

    def __init__(self, statistics: GroupStatistics, alpha: float) -> None:
        self.n, self.y = statistics.n, statistics.mean_y
        self.xx, self.xy = float(statistics.xx.sum()), float(statistics.xy.sum())
        self.centre = float(np.average(statistics.mean_x, weights=self.n))
        self.x = statistics.mean_x - self.centre
        self.penalty = alpha * float(self.n.sum())

    def minimum(self, at: Floats, sign: int) -> Floats:
        """Return where the cost is least with a slope of this sign; of 0 for sign 0."""
        value = self._cost(at, sign)
        for _ in range(_MAX_NEWTON_STEPS):
            step, gain = self._newton_step(at, sign)
            # The gain is the square of what is left to go: this leaves ten digits.
            if gain <= _GAIN * abs(value):
                break
            before = value
            at, value = self._down(at, step, value, sign)
            if value >= before:
                break
        return at

    def slope_gradient(self, at: Floats) -> float:
        return float(self.xx * at[1] - self.xy - _dot(self._pulls(self._residuals(at)), self.x))

    def solution(self, at: Floats) -> Solution:
        residuals = self._residuals(at)
        limit = self.penalty / self.n
        effects = np.sign(residuals) * np.maximum(np.abs(residuals) - limit, 0.0)
        return Solution(float(at[0] - at[1] * self.centre), float(at[1]), effects)

    def unknowns(self, solution: Solution) -> Floats:
        return np.array([solution.intercept + solution.slope * self.centre, solution.slope])

    def _residuals(self, at: Floats) -> Floats:
        return np.asarray(self.y - at[0] - at[1] * self.x)

    def _pulls(self, residuals: Floats) -> Floats:
        return np.clip(self.n * residuals, -self.penalty, self.penalty)

    def _cost(self, at: Floats, sign: int) -> float:
        residuals = self._residuals(at)
        pulls = self._pulls(residuals)
        huber = _dot(pulls, residuals) - (pulls**2 / self.n).sum() / 2
        return float(huber + at[1] * (self.xx * at[1] / 2 - self.xy + sign * self.penalty))

    def _newton_step(self, at: Floats, sign: int) -> tuple[Floats, float]:
        residuals = self._residuals(at)
        pulls = self._pulls(residuals)
        gradient = np.array([-pulls.sum(), self.slope_gradient(at) + sign * self.penalty])
        curved = self.n * (np.abs(self.n * residuals) <= self.penalty)
        # A little of the curvature of all groups: where none is curved, the cost is a plane.
        weights = curved + 1e-9 * self.n
        cross = _dot(weights, self.x)
        hessian = np.array([[weights.sum(), cross], [cross, _dot(weights, self.x**2) + self.xx]])
        if sign == 0:
            step = np.array([-gradient[0] / hessian[0, 0], 0.0])
        else:
            step = -np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        return step, -_dot(gradient, step)

    def _down(self, at: Floats, step: Floats, value: float, sign: int) -> tuple[Floats, float]:
        for _ in range(60):
            reached = self._cost(at + step, sign)
            if reached <= value:
                break
            step = step / 2
        return at + step, reached


class _GroupRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What the three models share.

    The rows of X are either

    - sparse, as `PairAndDistance` makes them: a one-hot column for each group, and x last; or
    - dense: x is the last column, and the columns before it together name the group.

    Attributes
    ----------
    groups_ : ndarray, shape (n_groups,) or (n_groups, n_features - 1)
        The groups: columns of the sparse matrix, or what the dense columns held.
    coef_ : ndarray of float64, shape (n_groups + 1,)
        The effect of each group, then the slope. A row of a group that training has not
        seen gets no effect.
    intercept_ : float
    statistics_ : GroupStatistics
        All that is kept of the rows.
    """

    def fit(self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : sparse matrix or array-like, shape (n_rows, n_features)
        y : array-like, shape (n_rows,)
        sample_weight : array-like, shape (n_rows,), optional
        """
        return self._fit_statistics(self._statistics(X, y, sample_weight, reset=True))

    def partial_fit(
        self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Learn from more rows; the result is that of one fit on all rows so far.

        Parameters
        ----------
        X : sparse matrix or array-like, shape (n_rows, n_features)
            Sparse rows have the same columns each time; dense ones may bring new groups.
        y : array-like, shape (n_rows,)
        sample_weight : array-like, shape (n_rows,), optional
        """
        first = not hasattr(self, "statistics_")
        more = self._statistics(X, y, sample_weight, reset=first)
        return self._fit_statistics(more if first else self.statistics_ + more)

    def fit_statistics(self, statistics: GroupStatistics) -> Self:
        """Fit the model to rows of which only the statistics are left.

        Parameters
        ----------
        statistics : GroupStatistics
            With groups of one dimension `predict` takes sparse rows with one column for
            each, in their order; of two, dense ones.
        """
        shape = statistics.groups.shape
        self.n_features_in_ = shape[-1] + 1
        return self._fit_statistics(statistics)

    def predict(self, X: Any) -> Floats:
        """Predict from rows like those of `fit`.

        Returns
        -------
        ndarray of float64, shape (n_rows,)
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, accept_sparse="csr")
        if issparse(X):
            return np.asarray(X @ self.coef_ + self.intercept_)
        position = _positions(self.groups_, X[:, :-1])
        effects = np.append(self.coef_[:-1], 0.0)[position]
        return np.asarray(self.intercept_ + effects + self.coef_[-1] * X[:, -1])

    def rmse(self, statistics: GroupStatistics) -> float:
        """Return the root of the mean squared error on rows of which statistics are left.

        Parameters
        ----------
        statistics : GroupStatistics
            Their groups are named as those that the model was fitted to.
        """
        check_is_fitted(self)
        position = _positions(self.groups_, statistics.groups)
        effects = np.append(self.coef_[:-1], 0.0)[position]
        error = statistics.squared_error(self.intercept_, float(self.coef_[-1]), effects)
        return float(np.sqrt(error / statistics.n.sum()))

    def _statistics(
        self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None, *, reset: bool
    ) -> GroupStatistics:
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            dtype=np.float64,
            accept_sparse="csr",
            y_numeric=True,
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
        intercept, slope, effects = self._solve(statistics.present())
        self.statistics_ = statistics
        self.groups_ = statistics.groups
        self.intercept_ = intercept
        self.coef_ = np.zeros(len(statistics.groups) + 1)
        self.coef_[:-1][there] = effects
        self.coef_[-1] = slope
        return self

    def _solve(self, statistics: GroupStatistics) -> Solution:
        raise NotImplementedError


class ExactLinearRegression(_GroupRegressor):
    """Ordinary least squares, exactly: of all solutions the one of the smallest norm.

    It is where `sklearn.linear_model.LinearRegression` arrives on the same sparse matrix when
    its tolerance is 0.
    """

    def _solve(self, statistics: GroupStatistics) -> Solution:
        return solve_ridge(statistics, 0.0)


class _PenalisedRegressor(_GroupRegressor):
    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def path(self, alphas: Iterable[float]) -> list[Self]:
        """Return models fitted to the same rows with other penalties.

        Parameters
        ----------
        alphas : iterable of float
            Not negative.

        Returns
        -------
        list
            One fitted model for each alpha, in their order.
        """
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

    Parameters
    ----------
    alpha : float
        The penalty on the squared coefficients; the intercept has none.
    """

    def _solve(self, statistics: GroupStatistics) -> Solution:
        return solve_ridge(statistics, self._checked_alpha())


class GroupLasso(_PenalisedRegressor):
    """The lasso, exactly; the objective of `sklearn.linear_model.Lasso`.

    Not to be taken for the group lasso of Yuan & Lin: the penalty is on each coefficient.

    Parameters
    ----------
    alpha : float
        The penalty on the absolute coefficients; the intercept has none.
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


def _dot(a: Floats, b: Floats) -> float:
    # Not `a @ b`: BLAS wakes its threads for so few numbers, and waits for them.
    return float(np.sum(a * b))


def _one_hot_parts(
    X: csr_matrix,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
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
    first, position = _distinct_rows(keys)
    return keys[first], position, X[:, -1]


def _distinct_rows(keys: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where each distinct row first is, ascending, and each row's number among them."""
    number = np.zeros(len(keys), dtype=np.intp)
    for column in keys.T:
        # Column after column: numpy sorts whole rows many times slower.
        values, code = np.unique(column, return_inverse=True)
        _, number = np.unique(number * len(values) + code, return_inverse=True)
    first = np.zeros(number.max() + 1, dtype=np.intp)
    first[number[::-1]] = np.arange(len(keys))[::-1]
    return first, number


def _positions(groups: npt.NDArray[Any], keys: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return each row's position among the groups; -1 for a row of none of them."""
    both = np.concatenate([groups.reshape(len(groups), -1), keys.reshape(len(keys), -1)])
    first, number = _distinct_rows(both)
    place = np.where(first < len(groups), first, -1)
    return np.asarray(place[number[len(groups) :]])

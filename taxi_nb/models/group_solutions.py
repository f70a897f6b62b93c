"""Least squares, ridge and lasso, solved exactly from group statistics.

The matrix has a one-hot column for each group and one for a number x, so that for a given
intercept and slope the best effect of a group follows from the group's statistics alone. Two
unknowns remain, whatever the number of rows. Needs numpy and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .group_statistics import Floats, GroupStatistics

# Less variation of x than this, relative to its size, is rounding.
_ROUNDING = 1e-12
_GAIN = 1e-21
_MAX_NEWTON_STEPS = 200


@dataclass(frozen=True)
class Solution:
    """A linear model of groups and x."""

    intercept: float
    slope: float
    groups: npt.NDArray[Any]  # Ascending; a row of no group gets no effect.
    effects: Floats

    def effects_of(self, groups: npt.NDArray[Any]) -> Floats:
        """Return the effect of each of `groups`, which are named as those of the solution."""
        return np.asarray(np.append(self.effects, 0.0)[positions(self.groups, groups)])

    def rmse(self, statistics: GroupStatistics) -> float:
        """Return the root of the mean squared error on rows of which statistics are left."""
        effects = self.effects_of(statistics.groups)
        within = statistics.yy - 2 * self.slope * statistics.xy + self.slope**2 * statistics.xx
        error = statistics.mean_y - self.intercept - effects - self.slope * statistics.mean_x
        total = within + _dot(statistics.n, error**2)
        return float(np.sqrt(total / statistics.n.sum()))


def solve_ridge(statistics: GroupStatistics, alpha: float) -> Solution:
    """Solve ridge regression; least squares of the smallest norm for ``alpha=0``.

    The best effect of a group shrinks its mean residual by ``n / (n + alpha)``. What is left is
    a regression of two unknowns with the weights ``n * alpha / (n + alpha)``. As alpha goes to 0
    they become equal and their part in the slope vanishes. The groups must all have rows.
    """
    n, x, y = statistics.n, statistics.mean_x, statistics.mean_y
    xx, xy = statistics.xx, statistics.xy
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
    effects = weights * (y - intercept - slope * x)
    return Solution(float(intercept), float(slope), statistics.groups, effects)


def solve_lasso(
    statistics: GroupStatistics, alpha: float, start: Solution | None = None
) -> Solution:
    """Solve the lasso, ``squared error / (2 n) + alpha * (|slope| + sum |effects|)``.

    The best effect of a group is its mean residual, moved towards 0 by ``alpha * total / n``
    at most. What is left is a Huber loss of these residuals, convex and piecewise quadratic in
    two unknowns; Newton's method ends on the piece that holds the minimum. The groups must all
    have rows; a solution of a similar alpha is a good start.
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
        self.groups, self.n, self.y = statistics.groups, statistics.n, statistics.mean_y
        self.xx, self.xy = statistics.xx, statistics.xy
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
        intercept = float(at[0] - at[1] * self.centre)
        return Solution(intercept, float(at[1]), self.groups, effects)

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


def _dot(a: Floats, b: Floats) -> float:
    # Not `a @ b`: BLAS wakes its threads for so few numbers, and waits for them.
    return float(np.sum(a * b))


def distinct_rows(keys: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where each distinct row first is, ascending, and each row's number among them."""
    number = np.zeros(len(keys), dtype=np.intp)
    for column in keys.T:
        # Column after column: numpy sorts whole rows many times slower.
        values, code = np.unique(column, return_inverse=True)
        _, number = np.unique(number * len(values) + code, return_inverse=True)
    first = np.zeros(number.max() + 1, dtype=np.intp)
    first[number[::-1]] = np.arange(len(keys))[::-1]
    return first, number


def positions(groups: npt.NDArray[Any], keys: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return each row's position among the groups; -1 for a row of none of them."""
    both = np.concatenate([groups.reshape(len(groups), -1), keys.reshape(len(keys), -1)])
    first, number = distinct_rows(both)
    place = np.where(first < len(groups), first, -1)
    return np.asarray(place[number[len(groups) :]])

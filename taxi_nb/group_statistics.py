"""What least squares has to know of groups of (x, y): six numbers a group, which add up.

A linear model of one-hot groups and one number x needs no rows once it has, for each group,
the count, the means and the centred sums of squares and products. Statistics of two sets of
rows merge into those of their union (Chan, Golub & LeVeque, "Updating formulae and a pairwise
algorithm for computing sample variances", 1979), so that files can be read one after the other
in any number, and models solved from what is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupStatistics:
    """
    Statistics of rows (group, x, y).

    Attributes
    ----------
    groups : ndarray, shape (n_groups,) or (n_groups, n_keys)
        What each group is called, ascending, each once.
    n : ndarray of float64, shape (n_groups,)
        Rows, or the sum of their weights; 0 for a group without any.
    mean_x, mean_y : ndarray of float64, shape (n_groups,)
        Means within the group; 0 for a group without rows.
    xx, xy, yy : ndarray of float64, shape (n_groups,)
        Sums of squares and products of the distances from these means.
    """

    groups: npt.NDArray[Any]
    n: Floats
    mean_x: Floats
    mean_y: Floats
    xx: Floats
    xy: Floats
    yy: Floats

    @classmethod
    def of(
        cls,
        groups: npt.NDArray[Any],
        position: npt.NDArray[np.intp],
        x: Floats,
        y: Floats,
        weights: Floats | None = None,
        room: Floats | None = None,
    ) -> GroupStatistics:
        """
        Take the statistics of some rows.

        Parameters
        ----------
        groups : ndarray, shape (n_groups,) or (n_groups, n_keys)
            The groups that there are.
        position : ndarray of intp, shape (n_rows,)
            The row's group, as a position in `groups`.
        x, y : ndarray of float64, shape (n_rows,)
            Finite numbers.
        weights : ndarray of float64, shape (n_rows,), optional
            Not negative; 1 without it.
        room : ndarray of float64, shape (3, n_rows or more), optional
            Memory to work in, for many calls one after the other.
        """
        size = len(groups)

        def add_up(values: Floats | None) -> Floats:
            if weights is not None:
                values = weights if values is None else weights * values
            return np.bincount(position, values, size).astype(np.float64, copy=False)

        n = add_up(None)
        mean_x, mean_y = (_quotient(add_up(values), n) for values in (x, y))
        # Twice over the rows: sums of plain squares would lose all digits to large distances.
        dx, dy, product = np.empty((3, len(x))) if room is None else room[:, : len(x)]
        # `clip` lets numpy write in place; no position is outside.
        np.subtract(x, mean_x.take(position, out=dx, mode="clip"), out=dx)
        np.subtract(y, mean_y.take(position, out=dy, mode="clip"), out=dy)
        xx = add_up(np.multiply(dx, dx, out=product))
        xy = add_up(np.multiply(dx, dy, out=product))
        yy = add_up(np.multiply(dy, dy, out=product))
        return cls(groups, n, mean_x, mean_y, xx, xy, yy)

    def __add__(self, other: GroupStatistics) -> GroupStatistics:
        """Return the statistics of both sets of rows together."""
        if self.groups is not other.groups and not np.array_equal(self.groups, other.groups):
            both = np.concatenate([self.groups, other.groups])
            groups, where = np.unique(both, axis=0, return_inverse=True)
            here, there = np.split(where.ravel(), [len(self.groups)])
            return self.placed(groups, here) + other.placed(groups, there)
        n = self.n + other.n
        share = _quotient(other.n, n)
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        between = self.n * share
        return GroupStatistics(
            self.groups,
            n,
            self.mean_x + dx * share,
            self.mean_y + dy * share,
            self.xx + other.xx + dx * dx * between,
            self.xy + other.xy + dx * dy * between,
            self.yy + other.yy + dy * dy * between,
        )

    def placed(self, groups: npt.NDArray[Any], position: npt.NDArray[np.intp]) -> GroupStatistics:
        """Return the same statistics among more groups, each at its new position."""

        def place(values: Floats) -> Floats:
            wider = np.zeros(len(groups))
            wider[position] = values
            return wider

        return GroupStatistics(groups, *map(place, self._numbers()))

    def present(self) -> GroupStatistics:
        """Return the statistics of those groups that have rows."""
        there = self.n > 0
        return GroupStatistics(self.groups[there], *(values[there] for values in self._numbers()))

    def _numbers(self) -> tuple[Floats, ...]:
        return self.n, self.mean_x, self.mean_y, self.xx, self.xy, self.yy


def _quotient(dividend: Floats, divisor: Floats) -> Floats:
    """Divide, with 0 where there is nothing to divide by."""
    return np.divide(dividend, divisor, out=np.zeros_like(divisor), where=divisor > 0)

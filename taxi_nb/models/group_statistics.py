"""Sufficient statistics of least squares on groups of (x, y): three a group, and three of all.

A linear model of one-hot groups and one number x needs no rows once it has, for each group,
the count and the means, and for all groups together the sums of squares and products of the
distances from these means. Statistics of two sets of rows merge into those of their union
(Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979), so that files can be read one after the other in any number, and models
solved from what is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupStatistics:
    """Statistics of rows (group, x, y)."""

    # Shape (n_groups,) or (n_groups, n_keys): what each group is called, ascending, each once.
    groups: npt.NDArray[Any]
    n: Floats  # Shape (n_groups,): rows, or the sum of their weights; 0 for a group without any.
    mean_x: Floats  # Shape (n_groups,): means within the group; 0 for a group without rows.
    mean_y: Floats
    # Sums over all rows of squares and products of the distances from their group's means.
    xx: float
    xy: float
    yy: float

    @classmethod
    def of(
        cls,
        groups: npt.NDArray[Any],
        position: npt.NDArray[np.intp],
        x: Floats,
        y: Floats,
        weights: Floats | None = None,
    ) -> GroupStatistics:
        """Take the statistics of rows, each in the group at its `position`, with finite x and y.

        Weights are not negative; 1 without them.
        """
        size = len(groups)

        def add_up(values: Floats | None) -> Floats:
            if weights is not None:
                values = weights if values is None else weights * values
            return np.bincount(position, values, size).astype(np.float64, copy=False)

        n = add_up(None)
        mean_x, mean_y = (quotient(add_up(values), n) for values in (x, y))
        # Twice over the rows: sums of plain squares would lose all digits to large distances.
        dx, dy = x - mean_x[position], y - mean_y[position]
        counted = 1.0 if weights is None else weights
        xx, xy, yy = (float(np.sum(counted * a * b)) for a, b in ((dx, dx), (dx, dy), (dy, dy)))
        return cls(groups, n, mean_x, mean_y, xx, xy, yy)

    @classmethod
    def nothing(cls, groups: npt.NDArray[Any]) -> GroupStatistics:
        """Return the statistics of no rows."""
        zeros = np.zeros(len(groups))
        return cls(groups, zeros, zeros, zeros, 0.0, 0.0, 0.0)

    def __add__(self, other: GroupStatistics) -> GroupStatistics:
        """Return the statistics of both sets of rows together."""
        if self.groups is not other.groups and not np.array_equal(self.groups, other.groups):
            both = np.concatenate([self.groups, other.groups])
            groups, where = np.unique(both, axis=0, return_inverse=True)
            here, there = np.split(where.ravel(), [len(self.groups)])
            return self.placed(groups, here) + other.placed(groups, there)
        n = self.n + other.n
        share = quotient(other.n, n)
        dx, dy = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        between = self.n * share
        return GroupStatistics(
            self.groups,
            n,
            self.mean_x + dx * share,
            self.mean_y + dy * share,
            self.xx + other.xx + float(np.sum(dx * dx * between)),
            self.xy + other.xy + float(np.sum(dx * dy * between)),
            self.yy + other.yy + float(np.sum(dy * dy * between)),
        )

    def placed(self, groups: npt.NDArray[Any], position: npt.NDArray[np.intp]) -> GroupStatistics:
        """Return the same statistics among more groups, each at its new position."""

        def place(values: Floats) -> Floats:
            wider = np.zeros(len(groups))
            wider[position] = values
            return wider

        return self._with_groups(groups, place)

    def present(self) -> GroupStatistics:
        """Return the statistics of those groups that have rows."""
        there = self.n > 0
        return self._with_groups(self.groups[there], lambda values: values[there])

    def _with_groups(
        self, groups: npt.NDArray[Any], placed: Callable[[Floats], Floats]
    ) -> GroupStatistics:
        n, mean_x, mean_y = map(placed, (self.n, self.mean_x, self.mean_y))
        return GroupStatistics(groups, n, mean_x, mean_y, self.xx, self.xy, self.yy)


def quotient(dividend: Floats, divisor: Floats) -> Floats:
    """Divide, with 0 where there is nothing to divide by."""
    return np.divide(dividend, divisor, out=np.zeros_like(divisor), where=divisor > 0)

"""How sure a mean over trips is, when the trips of a day go together.

Snow, a strike or a holiday moves all trips of a day, so that trips are no independent draws, and
an error that takes them for such is too small. Here days are drawn, each with all its trips: the
mean is a ratio of sums over days (Cochran, *Sampling Techniques*, 3rd edition, Wiley 1977,
section 9A.1), and Student's t with one degree of freedom less than there are days says how far
chance goes (Cameron and Miller, "A Practitioner's Guide to Cluster-Robust Inference", Journal of
Human Resources 50(2), 2015). What lasts longer than a day is not in this error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

MIN_DAYS = 7
"""Fewer days have not seen every weekday; nothing is promoted on their word."""

BY_CHANCE = 0.025
"""How often chance alone may be taken for a change, in one direction: one time in forty."""

Values = npt.NDArray[np.float64]


def days_of(stamps: Any) -> npt.NDArray[Any]:
    """Return the day of each time stamp, as ``datetime64[D]``."""
    return np.asarray(stamps).astype("datetime64[D]")


def with_error(mean: float, error: float | None, sign: str = "") -> str:
    """Return a mean as text, with its error where that is known."""
    return f"{mean:{sign}.3f}" + (f" ± {error:.3f}" if error is not None else "")


@dataclass(frozen=True)
class DayMean:
    """A mean, or what follows from means, with its standard error over days as blocks.

    >>> days = np.repeat(np.arange(8), 100)
    >>> late = np.where(days == 7, 10.0, 0.0)  # One day of snow.
    >>> found = DayMean.of(late, days)
    >>> found.mean, found.days, round(found.error, 2), round(found.reach(), 2)
    (1.25, 8, 1.25, 2.96)
    """

    mean: float
    error: float  # Of the mean, in its unit; infinite where there is but one day.
    days: int

    @classmethod
    def of(cls, values: npt.ArrayLike, days: npt.ArrayLike) -> Self:
        """Take the mean of values, given the day that each belongs to."""
        _, day = np.unique(np.asarray(days), return_inverse=True)
        weights = np.asarray(values, np.float64)
        return cls.of_sums(np.bincount(day), np.bincount(day, weights))

    @classmethod
    def of_sums(cls, counts: npt.ArrayLike, sums: npt.ArrayLike) -> Self:
        """Take the mean from the number of values on each day, and their sum."""
        n, total = np.asarray(counts, np.float64), np.asarray(sums, np.float64)
        days = len(n)
        mean = float(total.sum() / n.sum()) if n.sum() else math.nan
        if days < 2 or not math.isfinite(mean):
            return cls(mean, math.inf, days)
        scatter = float(np.sum((total - mean * n) ** 2)) * days / (days - 1)
        return cls(mean, scatter**0.5 / float(n.sum()), days)

    def shown(self, sign: str = "") -> str:
        """Return it as text, with its error where there are days to tell it from.

        >>> DayMean(-1.25, 0.5, 8).shown("+"), DayMean(1.25, math.inf, 1).shown()
        ('-1.250 ± 0.500', '1.250')
        """
        return with_error(self.mean, self.error if self.days > 1 else None, sign)

    def reach(self, comparisons: int = 1) -> float:
        """How far chance goes from the mean in one direction, but for `BY_CHANCE` of the times.

        Where several were compared and the most striking one is looked at, the share is divided
        among them (Bonferroni), so that it holds for all together.
        """
        from scipy.special import stdtrit

        if self.days < 2:
            return math.inf
        return float(stdtrit(self.days - 1, 1 - BY_CHANCE / comparisons)) * self.error


def rmse_of_days(errors: npt.ArrayLike, days: npt.ArrayLike) -> DayMean:
    """Return the RMSE of errors, given the day that each belongs to (delta method).

    Examples
    --------
    >>> found = rmse_of_days([3.0, -3.0, 5.0, -5.0], [1, 1, 2, 2])
    >>> round(found.mean, 3), round(found.error, 3)
    (4.123, 0.97)
    """
    return root(DayMean.of(np.asarray(errors, np.float64) ** 2, days))


def root(squared: DayMean) -> DayMean:
    """Return the root of a mean of squares."""
    found = squared.mean**0.5
    return DayMean(found, squared.error / (2 * found) if found else 0.0, squared.days)


def rmse_gain(before: npt.ArrayLike, after: npt.ArrayLike, days: npt.ArrayLike) -> DayMean:
    """Return by how much an RMSE is lower than one before, compared trip by trip.

    `before` and `after` are squared errors of the same trips, `days` the day of each.

    Examples
    --------
    >>> rmse_gain([25.0, 25.0], [16.0, 16.0], [1, 2])
    DayMean(mean=1.0, error=0.0, days=2)
    """
    first, second = (np.asarray(side, np.float64) for side in (before, after))
    roots = [float(side.mean() ** 0.5) for side in (first, second)]
    # A root changes by the change of the square over twice the root (delta method).
    slopes = [1 / (2 * found) if found else 0.0 for found in roots]
    found = DayMean.of(first * slopes[0] - second * slopes[1], days)
    return DayMean(roots[0] - roots[1], found.error, found.days)

"""Distributions as counts in fixed bins, and an index of how far apart two of them are.

Counts add up, so that a month of any size is compared batch by batch, and they are small, so
that a model keeps those of its training trips. They are kept by day: trips of a day go together,
and a month is compared with what its own weekdays let expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation.clock import weekdays_of

_BINS = 10
# A value rarer than this among the training trips shares a bin with all others as rare.
_COMMON = 0.01
# One in a thousand months that did not change is above the index that chance explains.
_BY_CHANCE = 0.001

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def population_stability_index(expected: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Measure how far apart two distributions are, given as counts in the same bins.

    The sum over bins of ``(q - p) * ln(q / p)``, p and q being their shares: the divergence of
    Jeffreys (1946), in credit scoring the population stability index. There less than 0.1 is
    little change, more than 0.25 a large one (Siddiqi, *Credit Risk Scorecards*, Wiley 2006).
    Half a trip is added to each bin, so that an empty one is no infinity.

    >>> round(population_stability_index([50, 50], [70, 30]), 3)
    0.166
    """
    return float(np.sum(index_by_bin(expected, found)))


def index_by_bin(expected: npt.ArrayLike, found: npt.ArrayLike) -> Floats:
    """Return what each bin adds to the `population_stability_index`."""
    counts = [np.asarray(side, np.float64) for side in (expected, found)]
    if counts[0].shape != counts[1].shape:
        sizes = " and ".join(str(len(side)) for side in counts)
        raise ValueError(f"`expected` and `found` must have the same bins, got {sizes} of them")
    p, q = ((side + 0.5) / (side.sum() + len(side) / 2) for side in counts)
    return np.asarray((q - p) * np.log(q / p))


def index_by_chance(bins: int, expected: int, found: int) -> float:
    """Return the index that two samples of one distribution stay below, 999 times of 1,000.

    Without change the index, divided by ``1 / expected + 1 / found``, follows a chi-squared
    distribution with ``bins - 1`` degrees of freedom, if the samples are large and trips
    independent (Yurdakul, *Statistical Properties of Population Stability Index*, PhD thesis,
    Western Michigan University 2018).
    """
    from scipy.special import chdtri

    if not (expected and found):
        return float("inf")
    return float(chdtri(max(bins - 1, 1), _BY_CHANCE)) * (1 / expected + 1 / found)


def index_by_chance_of_days(expected: Distribution, found: Distribution) -> float:
    """Return the index that two months stay below, 999 times of 1,000, if days are drawn.

    Near zero the index is a quadratic form of the shares' differences, so that without change it
    follows a sum of chi-squared variables weighted by the eigenvalues of the shares' covariance.
    That is estimated with days as blocks, and the sum replaced by the F distribution with its mean
    and variance (Rao and Scott, "On Chi-Squared Tests for Multiway Contingency Tables with Cell
    Proportions Estimated from Survey Data", Annals of Statistics 12(1), 1984; Thomas and Rao,
    JASA 82, 1987). It is never less than what chance explains of independent trips. Where the
    days of `expected` are not known, they are taken to scatter as those of `found`.
    """
    from scipy.special import fdtri

    independent = index_by_chance(len(expected.counts), expected.trips, found.trips)
    mine, freedom = found.share_covariance
    if freedom < 1 or not expected.trips:
        return float("inf")
    theirs = mine * found.trips / expected.trips
    if expected.days:
        theirs, others = expected.share_covariance
        freedom = min(freedom, others)
    if freedom < 1:
        return float("inf")
    smooth = expected.counts + 0.5
    scale = (smooth / smooth.sum()) ** -0.5
    covariance = scale[:, None] * (mine + theirs) * scale
    total, squares = float(covariance.trace()), float((covariance**2).sum())
    if not squares:
        return independent
    effective = total**2 / squares
    return max(independent, total * float(fdtri(effective, freedom * effective, 1 - _BY_CHANCE)))


@dataclass(frozen=True)
class Distribution:
    """Counts in bins.

    >>> lengths = Distribution.of_numbers(np.array([0.0] * 80 + [1.0, 2.0] * 10))
    >>> dict(zip(lengths.labels, lengths.counts.tolist(), strict=True))
    {'up to 0': 80, '0 to 1': 10, 'over 1': 10}
    """

    counts: Counts  # One more than there are edges or values.
    # Of numbers: the inner borders of the bins, ascending. A value on a border belongs to the bin
    # below it; the outermost bins have no end.
    edges: tuple[float, ...] = ()
    # Of categories: the value of each bin but the last, which has all others.
    values: tuple[int, ...] = ()
    # The counts of each day, by the number of days since 1970; none where they are not known.
    days: Mapping[int, Counts] = field(default_factory=dict)

    @classmethod
    def of_numbers(cls, sample: npt.NDArray[Any], stamps: npt.NDArray[Any] | None = None) -> Self:
        """Put numbers into bins of which each has about a tenth of them."""
        inner = np.quantile(sample, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
        return cls(np.zeros(1, np.int64), edges=tuple(np.unique(inner).tolist())).of(sample, stamps)

    @classmethod
    def of_categories(
        cls, sample: npt.NDArray[Any], stamps: npt.NDArray[Any] | None = None
    ) -> Self:
        """Give the ten most common values, and all that one in a hundred has, a bin each."""
        seen = np.bincount(sample)
        enough = min(_COMMON * len(sample), np.sort(seen)[-_BINS:][0])
        common = np.flatnonzero(seen >= max(enough, 1))
        return cls(np.zeros(1, np.int64), values=tuple(common.tolist())).of(sample, stamps)

    def of(self, sample: npt.NDArray[Any], stamps: npt.NDArray[Any] | None = None) -> Self:
        """Count a sample in the same bins; by day, where the time of each is given."""
        bins, bin_ = len(self.edges or self.values) + 1, self._bin(sample)
        if stamps is None or not len(sample):
            return replace(self, counts=np.bincount(bin_, minlength=bins), days={})
        day = stamps.astype("datetime64[D]").view(np.int64)
        first, last = int(day.min()), int(day.max())
        # Clean trips are of their month; a stray clock must not ask for a table of centuries.
        length = (last - first + 1) * bins
        if length > max(1 << 20, 4 * len(sample)):
            known, day = np.unique(day, return_inverse=True)
        else:
            known, day = np.arange(first, last + 1), day - first
        table = np.bincount(day * bins + bin_, minlength=len(known) * bins).reshape(-1, bins)
        days = {int(one): row for one, row in zip(known, table, strict=True) if row.any()}
        return replace(self, counts=table.sum(axis=0), days=days)

    def _bin(self, sample: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        if not self.values:
            return np.searchsorted(self.edges, sample)
        bin_of = np.full(self.values[-1] + 2, len(self.values))
        bin_of[list(self.values)] = np.arange(len(self.values))
        return bin_of[np.clip(sample, -1, len(bin_of) - 1)]

    def __add__(self, other: Distribution) -> Self:
        """Add what was counted in the same bins."""
        days = dict(self.days)
        for day, counts in other.days.items():
            days[day] = days[day] + counts if day in days else counts
        return replace(self, counts=self.counts + other.counts, days=days)

    @cached_property
    def _table(self) -> tuple[Counts, Counts]:
        """The counts of each day of the months, from the first to the last with trips, and its
        weekday; days between without trips have none.
        """
        day = np.array(sorted(self.days), np.int64)
        months = day.view("datetime64[D]").astype("datetime64[M]")
        spans = [day[months == month] for month in np.unique(months)]
        every = np.concatenate([np.arange(one[0], one[-1] + 1) for one in spans])
        empty = np.zeros_like(self.counts)
        table = np.stack([self.days.get(int(one), empty) for one in every])
        return table, weekdays_of(every.view("datetime64[D]"))

    def in_the_calendar_of(self, month: Distribution) -> Self:
        """Return what these days let expect of a month that has other weekdays, as many trips.

        Each weekday's trips are those of its mean day. Where days are not known, or a weekday is
        missing here, it is this distribution.
        """
        if not (self.days and month.days):
            return self
        (table, weekday), (_, weekdays_then) = self._table, month._table
        here, then = (np.bincount(found, minlength=7) for found in (weekday, weekdays_then))
        if np.any((here == 0) & (then > 0)):
            return self
        weights = (then / np.maximum(here, 1))[weekday]
        expected = weights @ table
        if not expected.sum():
            return self
        return replace(self, counts=np.rint(expected * (self.trips / expected.sum())).astype(int))

    @cached_property
    def share_covariance(self) -> tuple[Floats, int]:
        """The covariance of the shares with days as blocks, and its degrees of freedom.

        Days are drawn within their weekday where each is there twice (Cochran, *Sampling
        Techniques*, 3rd edition, Wiley 1977, section 6.11), so that the calendar is no chance.
        """
        bins = len(self.counts)
        if len(self.days) < 2:
            return np.zeros((bins, bins)), 0
        table, weekday = self._table
        of_day = (table - table.sum(axis=1, keepdims=True) * self.shares) / self.trips
        there = np.bincount(weekday, minlength=7)
        if there[there > 0].min() < 2:
            weekday, there = np.zeros_like(weekday), np.array([len(table)])
        means = (
            np.stack([np.bincount(weekday, column, len(there)) for column in of_day.T], axis=1)
            / np.maximum(there, 1)[:, None]
        )
        left = (of_day - means[weekday]) * ((there / np.maximum(there - 1, 1))[weekday] ** 0.5)[
            :, None
        ]
        return left.T @ left, len(table) - int(np.count_nonzero(there))

    @property
    def trips(self) -> int:
        """How many were counted."""
        return int(self.counts.sum())

    @property
    def shares(self) -> Floats:
        """The share of each bin; 0 where nothing was counted."""
        return np.asarray(self.counts / max(self.trips, 1))

    @property
    def labels(self) -> list[str]:
        """The range or value of each bin, for tables and figures."""
        if self.values:
            return [*map(str, self.values), "other"]
        if not self.edges:
            return ["all"]
        texts = [f"{edge:.3g}" for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(texts)]
        return [f"up to {texts[0]}", *between, f"over {texts[-1]}"]

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold; `from_dict` reads it."""
        bins = {"values": list(self.values)} if self.values else {"edges": list(self.edges)}
        found = {"counts": self.counts.tolist(), "shares": np.round(self.shares, 6).tolist()}
        days = {str(np.datetime64(day, "D")): self.days[day].tolist() for day in sorted(self.days)}
        return {**bins, **found, **({"days": days} if days else {})}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Make the distribution again from what `to_dict` returned."""
        edges, values = (tuple(kept.get(name, ())) for name in ("edges", "values"))
        days = {
            int(np.datetime64(day, "D").astype(np.int64)): np.array(counts, np.int64)
            for day, counts in kept.get("days", {}).items()  # Older models have none.
        }
        return cls(np.array(kept["counts"], np.int64), edges, values, days)

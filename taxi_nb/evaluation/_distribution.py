"""Distributions as counts in fixed bins, and an index of how far apart two of them are.

Counts add up, so that a month of any size is compared batch by batch, and they are small, so
that a model keeps those of its training trips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

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
    distribution with ``bins - 1`` degrees of freedom, if the samples are large (Yurdakul,
    *Statistical Properties of Population Stability Index*, PhD thesis, Western Michigan
    University 2018).
    """
    from scipy.special import chdtri

    if not (expected and found):
        return float("inf")
    return float(chdtri(max(bins - 1, 1), _BY_CHANCE)) * (1 / expected + 1 / found)


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

    @classmethod
    def of_numbers(cls, sample: npt.NDArray[Any]) -> Self:
        """Put numbers into bins of which each has about a tenth of them."""
        inner = np.quantile(sample, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
        return cls(np.zeros(1, np.int64), edges=tuple(np.unique(inner).tolist())).of(sample)

    @classmethod
    def of_categories(cls, sample: npt.NDArray[Any]) -> Self:
        """Give the ten most common values, and all that one in a hundred has, a bin each."""
        seen = np.bincount(sample)
        enough = min(_COMMON * len(sample), np.sort(seen)[-_BINS:][0])
        common = np.flatnonzero(seen >= max(enough, 1))
        return cls(np.zeros(1, np.int64), values=tuple(common.tolist())).of(sample)

    def of(self, sample: npt.NDArray[Any]) -> Self:
        """Count a sample in the same bins."""
        bins = len(self.edges or self.values) + 1
        return replace(self, counts=np.bincount(self._bin(sample), minlength=bins))

    def _bin(self, sample: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        if not self.values:
            return np.searchsorted(self.edges, sample)
        bin_of = np.full(self.values[-1] + 2, len(self.values))
        bin_of[list(self.values)] = np.arange(len(self.values))
        return bin_of[np.clip(sample, -1, len(bin_of) - 1)]

    def __add__(self, other: Distribution) -> Self:
        """Add what was counted in the same bins."""
        return replace(self, counts=self.counts + other.counts)

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
        return {**bins, "counts": self.counts.tolist(), "shares": np.round(self.shares, 6).tolist()}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Make the distribution again from what `to_dict` returned."""
        edges, values = (tuple(kept.get(name, ())) for name in ("edges", "values"))
        return cls(np.array(kept["counts"], np.int64), edges, values)

"""Errors of predictions from sums that add up over batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation.day_blocks import DayMean, root

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class ErrorSums:
    """Sums over trips from which their errors follow, in minutes.

    >>> sums = ErrorSums()
    >>> sums.add(np.array([12.0, 9.0]), np.array([10.0, 10.0]))
    >>> sums.add(np.array([33.0]), np.array([30.0]))
    >>> sums.trips, sums.mae, round(sums.rmse, 3)
    (3, 2.0, 2.16)
    """

    trips: int = 0
    _error: float = 0.0
    _absolute: float = 0.0
    _squared: float = 0.0
    _mean: float = 0.0
    _scatter: float = 0.0

    def add(self, predicted: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> None:
        """Add a batch of trips."""
        if not len(actual):
            return
        error = predicted - actual
        self.join(
            ErrorSums(
                len(actual),
                float(error.sum()),
                float(np.abs(error).sum()),
                float((error**2).sum()),
                float(actual.mean()),
                float(((actual - actual.mean()) ** 2).sum()),
            )
        )

    def join(self, following: ErrorSums) -> None:
        """Add the sums of the trips that follow."""
        if not following.trips:
            return
        self._error += following._error
        self._absolute += following._absolute
        self._squared += following._squared
        # The mean of what was added so far moves (Chan and others, 1979).
        total = self.trips + following.trips
        ahead = following._mean - self._mean
        self._scatter += following._scatter
        self._scatter += ahead**2 * self.trips * following.trips / total
        self._mean += ahead * following.trips / total
        self.trips = total

    @property
    def rmse(self) -> float:
        """The root of the mean squared error, in minutes."""
        return float(np.sqrt(self._squared / self.trips))

    @property
    def mae(self) -> float:
        """The mean absolute error, in minutes."""
        return self._absolute / self.trips

    @property
    def bias(self) -> float:
        """The mean of predicted minus actual, in minutes."""
        return self._error / self.trips

    @property
    def mean_duration(self) -> float:
        """The mean of the actual minutes."""
        return self._mean

    @property
    def r2(self) -> float:
        """The share of the durations' variance that is explained."""
        return 1 - self._squared / self._scatter


@dataclass(frozen=True)
class MonthError:
    """The errors of the predictions of a month."""

    rmse: float  # Minutes; the bias is the mean of predicted minus actual.
    mae: float
    bias: float
    coverage: float | None  # The share of trips inside their intervals; None for a model without.
    mean_duration: float  # Minutes that the trips took.
    at_training: Mapping[str, float]  # ``rmse`` and ``mae`` of the model's validation.
    by_day: pd.DataFrame  # ``trips`` (a count), ``rmse``, ``mae`` and ``bias`` (minutes).

    @cached_property
    def bias_over_days(self) -> DayMean:
        """The bias with its error over days."""
        trips = self.by_day["trips"]
        return DayMean.of_sums(trips, trips * self.by_day["bias"])

    @cached_property
    def rmse_over_days(self) -> DayMean:
        """The RMSE with its error over days."""
        trips = self.by_day["trips"]
        return root(DayMean.of_sums(trips, trips * self.by_day["rmse"] ** 2))

    @property
    def rmse_increase(self) -> float:
        """Minutes by which the RMSE is above that of the model's validation."""
        return self.rmse - self.at_training["rmse"]

"""Counts and sums over the batches of a month, from which its drift and error follow."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation.day_blocks import days_of
from taxi_nb.evaluation.drift import COLUMNS, PICKUP, PREDICTIONS, Drift, counted
from taxi_nb.evaluation.errors import ErrorSums, MonthError
from taxi_nb.scoring._month_records import PredictableBatch
from taxi_nb.scoring.scored_model import ScoredModel

Floats = npt.NDArray[np.float64]
Bounds = tuple[Floats, Floats]


class Tally:
    """Counts and sums of a month's batches; `predicted` counts unclean records, too."""

    def __init__(self, model: ScoredModel) -> None:
        self._model = model
        reference = model.reference
        self._features = {name: reference.features[name] for name in model.features}
        self._expected = {**self._features, PREDICTIONS: reference.predictions}
        self._found = counted(self._expected, ())
        self._errors = ErrorSums()
        self._days: defaultdict[Any, ErrorSums] = defaultdict(ErrorSums)
        self._covered = 0
        self.predicted = 0

    def add(
        self, batch: PredictableBatch, minutes: Floats, bounds: Bounds | None, *, with_errors: bool
    ) -> None:
        """Add a batch and its predictions; their errors where durations are known."""
        self.predicted += len(batch)
        clean, predicted = batch.clean_columns(), minutes[batch.is_clean]
        found = counted(self._features, [{name: clean[name] for name in COLUMNS}])
        found[PREDICTIONS] = self._model.reference.predictions.of(predicted, clean[PICKUP])
        self._found = {name: self._found[name] + more for name, more in found.items()}
        if not with_errors:
            return
        actual = batch.duration[batch.is_clean]
        self._errors.add(predicted, actual)
        days = days_of(clean[PICKUP])
        for day in np.unique(days):
            self._days[day].add(predicted[days == day], actual[days == day])
        if bounds:
            inside = (bounds[0] <= batch.duration) & (batch.duration <= bounds[1])
            self._covered += int(np.count_nonzero(inside & batch.is_clean))

    def drift(self) -> tuple[Drift, ...]:
        """Return how far each distribution is from the one to expect."""
        expected = self._expected.items()
        return tuple(Drift.between(name, usual, self._found[name]) for name, usual in expected)

    def error(self) -> MonthError:
        """Return how wrong the predictions were."""
        import pandas as pd

        names = ["trips", "rmse", "mae", "bias"]
        rows = {
            pd.Timestamp(day): [getattr(sums, name) for name in names]
            for day, sums in sorted(self._days.items())
        }
        by_day = pd.DataFrame.from_dict(rows, orient="index", columns=names).rename_axis("day")
        return MonthError(
            rmse=self._errors.rmse,
            mae=self._errors.mae,
            bias=self._errors.bias,
            coverage=self._covered / self._errors.trips if self._model.intervals else None,
            mean_duration=self._errors.mean_duration,
            at_training=self._model.errors,
            by_day=by_day,
        )

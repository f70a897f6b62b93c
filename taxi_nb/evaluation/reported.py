"""The error to report of a model that was chosen, with how far it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation.day_blocks import DayMean, days_of, rmse_of_days
from taxi_nb.evaluation.metrics import regression_metrics
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ReportedError:
    """How wrong a model is, on which trips, and whether these trips chose it.

    The best of several is best by luck as well: on the trips that chose it, its error is too small
    (Cawley and Talbot, "On Over-fitting in Model Selection", JMLR 11, 2010).

    Attributes
    ----------
    on : str
        The title of the trips.
    metrics : dict
        ``rmse`` and ``mae`` in minutes, ``r2`` without a unit.
    rmse : DayMean
        Minutes, with the standard error over days.
    candidates : int or None
        Of how many models these trips chose it; None where they chose nothing.

    Examples
    --------
    >>> from taxi_nb import load_trips
    >>> trips = load_trips("green", ["2021-02"], "sample", sample_rows=1_000)
    >>> chosen = ReportedError.of(trips, trips["duration"] + 3, candidates=9)
    >>> print(chosen)
    RMSE 3.000 ± 0.000 minutes over 28 days of green 2021-02, sample (synthetic); these trips \
chose it among 9 models, so that the number is optimistic
    """

    on: str
    metrics: dict[str, float]
    rmse: DayMean
    candidates: int | None = None

    @classmethod
    def of(cls, trips: pd.DataFrame, predicted: npt.ArrayLike, candidates: int) -> Self:
        """Measure on the trips that chose the model among `candidates`."""
        return cls._of(trips, predicted, candidates)

    @classmethod
    def on_test(
        cls, test: pd.DataFrame, estimator: Any, *, chosen_by: Sequence[pd.DataFrame]
    ) -> Self:
        """Measure on trips that are used once, after the choice.

        `ValueError` if they are among those that taught or chose, or there are none of them.
        """
        for trips in chosen_by:
            if shared := provenance(test).months_also_in(provenance(trips)):
                raise ValueError(
                    "`test_months` must be months that taught and chose nothing, and these are "
                    f"among those to learn from or to choose by: {', '.join(shared)}"
                )
        return cls._of(test, estimator.predict(test), None)

    @classmethod
    def _of(cls, trips: pd.DataFrame, predicted: npt.ArrayLike, candidates: int | None) -> Self:
        actual = trips["duration"].to_numpy(np.float64)
        error = np.asarray(predicted, np.float64) - actual
        return cls(
            provenance(trips).title,
            regression_metrics(actual, predicted),
            rmse_of_days(error, days_of(trips["pickup_datetime"])),
            candidates,
        )

    @property
    def logged(self) -> dict[str, float]:
        """The metrics as a run has them: those of test trips as ``test_rmse`` and so on."""
        known = {"rmse_day_error": self.rmse.error} if self.rmse.days > 1 else {}
        if self.candidates is not None:
            return {f"selection_{name}": value for name, value in known.items()}
        return {f"test_{name}": value for name, value in {**self.metrics, **known}.items()}

    def __str__(self) -> str:
        days = f"{self.rmse.days} day{'s' if self.rmse.days > 1 else ''}"
        says = f"RMSE {self.rmse.shown()} minutes over {days} of {self.on}"
        if self.candidates is None:
            return f"{says}; these trips taught and chose nothing"
        if self.candidates == 1:
            return f"{says}; it was the only model, so that they chose nothing"
        return (
            f"{says}; these trips chose it among {self.candidates} models, so that the number is "
            "optimistic"
        )

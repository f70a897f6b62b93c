"""Whether tuning helped, told by trips that the search did not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from taxi_nb.evaluation.day_blocks import DayMean
from taxi_nb.evaluation.metrics import gain_over
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TunedAgainstDefault:
    """The best other setting of a search and the default, both refitted, on the same trips.

    Attributes
    ----------
    on : str
        The title of the trips.
    trial : int
        Which trial the other setting is of.
    default_rmse, tuned_rmse : float
        Minutes.
    gain : DayMean
        By how many minutes the tuned RMSE is lower, with its error over days.
    """

    on: str
    trial: int
    default_rmse: float
    tuned_rmse: float
    gain: DayMean

    @classmethod
    def of(cls, trips: pd.DataFrame, trial: int, *, default: Any, tuned: Any) -> Self:
        """Let both fitted models predict the trips."""
        actual = trips["duration"].to_numpy(np.float64)
        before, after = default.predict(trips), tuned.predict(trips)
        gain = gain_over(trips, before, after)
        rmse = float(np.mean((before - actual) ** 2) ** 0.5)
        return cls(provenance(trips).title, trial, rmse, rmse - gain.mean, gain)

    @property
    def metrics(self) -> dict[str, float]:
        """Its numbers as a run has them, in minutes."""
        known = {"tuning_gain_error": self.gain.error} if self.gain.days > 1 else {}
        both = {"default_rmse": self.default_rmse, "tuned_rmse": self.tuned_rmse}
        return {**both, "tuning_gain": self.gain.mean, **known}

    @property
    def verdict(self) -> str:
        """Whether tuning helped, in few words."""
        if self.gain.days < 2:
            return "One day cannot tell whether tuning helped"
        if abs(self.gain.mean) <= self.gain.reach():
            return "Tuning did not help: what it changed is no more than chance explains"
        return "Tuning helped" if self.gain.mean > 0 else "Tuning did not help, it did harm"

    def __str__(self) -> str:
        chance = f", where chance explains {self.gain.reach():.3f}" if self.gain.days > 1 else ""
        return (
            f"{self.verdict}. On {self.on}, which the search did not see, the default setting is "
            f"wrong by {self.default_rmse:.3f} minutes (RMSE), and trial {self.trial}, the best "
            f"other one, by {self.tuned_rmse:.3f}: a gain of {self.gain.shown('+')} over "
            f"{self.gain.days} day{'s' if self.gain.days > 1 else ''}{chance}"
        )

"""The result of scoring a month, and the verdict: keep the model, or train it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from taxi_nb.evaluation.drift import LARGE, Drift
from taxi_nb.evaluation.errors import MonthError
from taxi_nb.scoring.scored_model import ScoredModel
from taxi_nb.trips.arguments import require
from taxi_nb.trips.origin import Provenance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The limits beyond which a model is to be trained again.

    Parameters
    ----------
    max_psi : float
        The largest population stability index of a feature or of the predictions.
    max_rmse_increase : float
        Minutes by which the RMSE may be above that of the model's validation.

    Raises
    ------
    ValueError
        If one is not a number of 0 or more.

    Examples
    --------
    >>> from taxi_nb import Thresholds
    >>> Thresholds(max_rmse_increase=0.5)
    Thresholds(max_psi=0.25, max_rmse_increase=0.5)
    """

    max_psi: float = LARGE
    max_rmse_increase: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            require(is_number and value >= 0, name, value, "be a number of 0 or more")


@dataclass(frozen=True)
class Scoring:
    """The result of scoring a month: its drift, its error, and the verdict.

    Attributes
    ----------
    model : ScoredModel
    origin : Provenance
        The records, with what cleaning says of them.
    predicted : int
        How many records were predicted.
    not_predicted : mapping of str to int
        How many could not be, by what is wrong with them.
    drift : tuple of Drift
        Of each feature that the model uses, and last of its predictions; of clean trips.
    error : MonthError or None
        Of clean trips; None where durations are not known yet.
    thresholds : Thresholds
    run_id : str

    Examples
    --------
    >>> scored = score("green", "2021-03", source="sample", sample_rows=1_000)
    >>> scored.should_retrain, scored.most_drifted.name
    (True, 'DOLocationID')
    """

    model: ScoredModel
    origin: Provenance
    predicted: int
    not_predicted: Mapping[str, int]
    drift: tuple[Drift, ...]
    error: MonthError | None
    thresholds: Thresholds
    run_id: str

    @property
    def reasons(self) -> list[str]:
        """Why the model should be trained again, a sentence each; none if it need not be."""
        limits, error = self.thresholds, self.error
        reasons = [
            f"{drift.name} drifted: PSI {drift.index:.3f}, above max_psi {limits.max_psi:g} "
            f"(most at {drift.most_changed})"
            for drift in self.drift
            if self._is_too_far(drift)
        ]
        if error and not error.rmse_increase <= limits.max_rmse_increase:
            reasons.append(
                f"RMSE {error.rmse:.3f} minutes is {error.rmse_increase:.3f} above the "
                f"{error.at_training['rmse']:.3f} at training time, more than max_rmse_increase "
                f"{limits.max_rmse_increase:g}"
            )
        return reasons

    @property
    def should_retrain(self) -> bool:
        """Whether a threshold was passed."""
        return bool(self.reasons)

    @property
    def verdict(self) -> str:
        """One sentence: retrain, with which feature and by how much, or why not."""
        if self.reasons:
            return f"retrain: {'; '.join(self.reasons)}"
        largest, limits = max(self.drift, key=attrgetter("index")), self.thresholds
        error = "durations are not known yet"
        if self.error:
            error = (
                f"RMSE {self.error.rmse:.3f} minutes, {self.error.rmse_increase:+.3f} against "
                f"training time ({limits.max_rmse_increase:+g} is the limit)"
            )
        return (
            f"keep the model: the largest drift is that of {largest.name}, PSI "
            f"{largest.index:.3f} ({limits.max_psi:g} is the limit); {error}"
        )

    @property
    def most_drifted(self) -> Drift:
        """The drift of the feature that changed most."""
        return max(self.drift[:-1], key=attrgetter("index"))

    @property
    def of_predictions(self) -> Drift:
        """The drift of the predictions."""
        return self.drift[-1]

    def drift_table(self) -> pd.DataFrame:
        """Return the drift, one row a feature: index, what chance explains, what changed most."""
        import pandas as pd

        rows = {
            drift.name: {
                "psi": drift.index,
                "by chance below": drift.by_chance,
                "changed most": drift.most_changed,
                "too far": self._is_too_far(drift),
            }
            for drift in self.drift
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def _is_too_far(self, drift: Drift) -> bool:
        # Few trips are apart by chance.
        return drift.index > max(self.thresholds.max_psi, drift.by_chance)

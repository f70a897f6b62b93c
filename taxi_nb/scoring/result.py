"""The result of scoring a month, and the verdict: keep the model, or train it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from taxi_nb.evaluation.day_blocks import MIN_DAYS
from taxi_nb.evaluation.drift import LARGE, Drift
from taxi_nb.evaluation.errors import MonthError
from taxi_nb.scoring.scored_model import ScoredModel
from taxi_nb.tracking.judgements import Judgement
from taxi_nb.trips.arguments import require
from taxi_nb.trips.origin import Provenance

if TYPE_CHECKING:
    import pandas as pd


# Of a number beyond its limit that is no reason.
_BY_CHANCE = ", and no more than chance may explain was found"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The limits beyond which a model is to be trained again.

    Parameters
    ----------
    max_psi : float
        The largest population stability index of a feature or of the predictions.
    max_rmse_increase : float
        Minutes by which the RMSE may be above that of the model's validation.
    max_relative_rmse_increase : float
        The same as a share of that RMSE; passed only by more than chance explains.
    max_relative_bias : float
        The share of the mean duration that predictions may be too long or too short by, on
        average; passed only by more than chance explains.

    Raises
    ------
    ValueError
        If one is not a number of 0 or more.

    Examples
    --------
    >>> from taxi_nb import Thresholds
    >>> Thresholds(max_rmse_increase=0.5)
    Thresholds(max_psi=0.25, max_rmse_increase=0.5, max_relative_rmse_increase=0.1, \
max_relative_bias=0.05)
    """

    max_psi: float = LARGE
    max_rmse_increase: float = 1.0
    max_relative_rmse_increase: float = 0.1
    max_relative_bias: float = 0.05

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
    instead : str or None
        Why it is this month, where another one was asked for.
    checks : tuple of Judgement
        What the checks of the month found, the worst first; empty where none was asked for.

    Examples
    --------
    >>> scored = score("green", "2021-03", source="sample", sample_rows=1_000)
    >>> scored.should_retrain, scored.most_drifted.name
    (False, 'DOLocationID')
    """

    model: ScoredModel
    origin: Provenance
    predicted: int
    not_predicted: Mapping[str, int]
    drift: tuple[Drift, ...]
    error: MonthError | None
    thresholds: Thresholds
    run_id: str
    instead: str | None = None  # Why it is this month, where another one was asked for.
    checks: tuple[Judgement, ...] = ()

    @property
    def not_judged(self) -> str | None:
        """Why the month cannot judge the model, a sentence; None if it can."""
        for role, used in self.model.used.items():
            what = "learned from" if role == "training" else "was chosen by"
            shared = self.origin.months_also_in(used) if used else ()
            if shared:
                return (
                    f"{self.model.title} {what} trips of {', '.join(shared)}, and a month never "
                    "judges itself; score another month, such as the next one"
                )
        return None

    @property
    def reasons(self) -> list[str]:
        """Why the model should be trained again, a sentence each; none if it need not be."""
        if self.not_judged:
            return []
        limits = self.thresholds
        reasons = [
            f"{drift.name} drifted: PSI {drift.index:.3f}, above max_psi {limits.max_psi:g} "
            f"(most at {drift.most_changed})"
            for drift in self.drift
            if self._is_too_far(drift)
        ]
        return reasons + (self._errors_too_large(self.error) if self.error else [])

    def _errors_too_large(self, error: MonthError) -> list[str]:
        limits, before = self.thresholds, error.at_training["rmse"]
        reasons, grown = [], error.rmse_increase
        more = f"RMSE {error.rmse:.3f} minutes is {grown:.3f} above the {before:.3f} at training"
        # The error of the RMSE at training time is not kept: it is taken to be as large.
        chance = 2**0.5 * error.rmse_over_days.reach()
        if not grown <= limits.max_rmse_increase:
            reasons.append(f"{more} time, more than max_rmse_increase {limits.max_rmse_increase:g}")
        elif grown > limits.max_relative_rmse_increase * before and grown > chance:
            reasons.append(
                f"{more} time ({grown / before:.0%}), more than max_relative_rmse_increase "
                f"{limits.max_relative_rmse_increase:g} and than the {chance:.3f} that chance "
                "explains"
            )
        bias, share = error.bias_over_days, abs(error.bias) / error.mean_duration
        if share > limits.max_relative_bias and abs(bias.mean) > bias.reach():
            reasons.append(
                f"trips are predicted {abs(error.bias):.3f} minutes too "
                f"{'short' if error.bias < 0 else 'long'} on average, {share:.1%} of the "
                f"{error.mean_duration:.1f} that they take, more than max_relative_bias "
                f"{limits.max_relative_bias:g} and than the {bias.reach():.3f} that chance explains"
            )
        return reasons

    @property
    def should_retrain(self) -> bool:
        """Whether a threshold was passed."""
        return bool(self.reasons)

    @property
    def verdict(self) -> str:
        """One sentence: retrain, with which feature and by how much, or why not; or no verdict."""
        if self.not_judged:
            return f"no verdict: {self.not_judged}"
        if self.reasons:
            return f"retrain: {'; '.join(self.reasons)}"
        largest, limits = max(self.drift, key=attrgetter("index")), self.thresholds
        error = "durations are not known yet"
        if self.error:
            share = self.error.bias / self.error.mean_duration
            beyond = _BY_CHANCE * (abs(share) > limits.max_relative_bias)
            error = (
                f"RMSE {self.error.rmse:.3f} minutes, {self.error.rmse_increase:+.3f} against "
                f"training time ({limits.max_rmse_increase:+g} is the limit); bias "
                f"{self.error.bias:+.3f} minutes, {share:+.1%} "
                f"(±{limits.max_relative_bias:.1%} is the limit{beyond})"
            )
        return (
            f"keep the model: the largest drift is that of {largest.name}, PSI "
            f"{largest.index:.3f} ({limits.max_psi:g} is the "
            f"limit{_BY_CHANCE * (largest.index > limits.max_psi)}); {error}"
        )

    @property
    def remarks(self) -> list[str]:
        """What is not known, so that the verdict is weaker or none; a sentence each."""
        remarks = [self.instead] if self.instead else []
        if not all(drift.expected.days for drift in self.drift):
            remarks.append(
                "The model keeps no counts by day, as those of older commits: the month is "
                "compared without regard to its calendar, and the days that the model learned from "
                "are taken to scatter as those of this month."
            )
        if self.model.lost_run:
            remarks.append(
                f"The training run {self.model.run_id} of {self.model.title} is no longer in the "
                "store: what the model carries itself is compared with, and it has no intervals."
            )
        if unknown := [role for role, used in self.model.used.items() if used is None]:
            remarks.append(
                f"Its run does not say which {' and '.join(unknown)} trips it used: whether this "
                "month is among them is not known."
            )
        if self.error and (days := self.error.bias_over_days.days) < MIN_DAYS:
            remarks.append(
                f"The month has trips of {days} day{'s' * (days > 1)}: few to tell chance from "
                "change."
            )
        return remarks

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

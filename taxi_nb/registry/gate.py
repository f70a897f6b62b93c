"""The gate: may a challenger replace the champion, judged on the same trips?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taxi_nb.evaluation.slices import SLICES, trip_slices
from taxi_nb.registry.versions import RegistryError, is_synthetic
from taxi_nb.tracking.model_address import ModelAddress
from taxi_nb.training.used_trips import logged_trips
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

# A gain that is smaller than this many of its standard errors may be chance.
_STANDARD_ERRORS = 2.0
# Of fewer trips an RMSE says little, and of a smaller share a user seldom is one.
_SLICE_TRIPS, _SLICE_SHARE = 100, 0.01


@dataclass(frozen=True)
class PromotionDecision:
    """Which version won, and by what numbers.

    Attributes
    ----------
    promoted : bool
        Whether the alias ``champion`` moved to the challenger.
    challenger_rmse, champion_rmse : float or None
        Minutes, on the same validation trips; None if there was no champion.
    margin : float
        Minutes by which the challenger had to be better.
    gain, gain_error : float or None
        Minutes of RMSE by which it is better, and the standard error of that.
    number : int or None
        Its place in the promotion history, if it was promoted.

    Examples
    --------
    >>> print(PromotionDecision("fares", True, "1", 5.2, None, None, 0.05, "there was no champion"))
    fares version 1 promoted: there was no champion
    """

    name: str
    promoted: bool
    challenger_version: str
    challenger_rmse: float
    champion_version: str | None
    champion_rmse: float | None
    margin: float
    reason: str
    gain: float | None = None
    gain_error: float | None = None
    number: int | None = None

    def __str__(self) -> str:
        verdict = "promoted" if self.promoted else "not promoted"
        return f"{self.name} version {self.challenger_version} {verdict}: {self.reason}"


@dataclass(frozen=True)
class Judged:
    """A version, and its predictions of the validation trips in minutes."""

    version: ModelVersion
    validation: pd.DataFrame
    predicted: npt.NDArray[np.float64]

    @cached_property
    def squared_errors(self) -> npt.NDArray[np.float64]:
        """Of each trip, in minutes squared."""
        return (self.predicted - self.validation["duration"].to_numpy(float)) ** 2

    @cached_property
    def rmse(self) -> float:
        """Minutes; no number if it predicts something that is none."""
        return float(self.squared_errors.mean() ** 0.5)

    @property
    def number(self) -> str:
        """The version's number."""
        return str(self.version.version)


def judge(version: ModelVersion, validation: pd.DataFrame) -> Judged:
    """Let a version predict the validation trips; raise `RegistryError` if it cannot be loaded."""
    import mlflow.sklearn
    import numpy as np

    try:
        estimator = mlflow.sklearn.load_model(str(ModelAddress.of(version)))
    except Exception as error:
        raise RegistryError(
            f"{version.name} version {version.version} cannot be loaded "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); "
            "put back its files, or give the alias to another version: "
            f"taxi-nb registry rollback --name {version.name}"
        ) from error
    return Judged(version, validation, np.asarray(estimator.predict(validation), np.float64))


@dataclass(frozen=True)
class Gate:
    """The conditions under which a challenger becomes champion."""

    margin: float  # Minutes of RMSE by which it has to be better.
    # Minutes of RMSE by which it may be worse in a slice: an hour of the day, a band of
    # distances, a borough, of at least 100 trips and 1 % of all.
    slice_margin: float

    def decide(self, challenger: Judged, champion: Judged | None) -> PromotionDecision:
        """Say whether the challenger replaces the champion, and why."""
        gain, gain_error = _gain(challenger, champion) if champion else (None, None)
        objection = next(self._objections(challenger, champion), None)
        reason = f"there was no champion; RMSE {challenger.rmse:.3f} minutes"
        if champion:
            reason = (
                f"{_versus(challenger, champion)}: better by {gain:.3f} ± {gain_error:.3f}, "
                f"more than the margin of {self.margin}"
            )
        return PromotionDecision(
            name=challenger.version.name,
            promoted=objection is None,
            challenger_version=challenger.number,
            challenger_rmse=challenger.rmse,
            champion_version=champion.number if champion else None,
            champion_rmse=champion.rmse if champion else None,
            margin=self.margin,
            reason=objection or reason,
            gain=gain,
            gain_error=gain_error,
        )

    def _objections(self, challenger: Judged, champion: Judged | None) -> Iterator[str]:
        if not math.isfinite(challenger.rmse):
            yield "it predicts durations that are not numbers"
        if champion and challenger.number == champion.number:
            yield "it is the champion already"
        if champion and is_synthetic(challenger.version) and not is_synthetic(champion.version):
            yield f"it learned from synthetic trips, version {champion.number} from real ones"
        yield from _learned_from_these(challenger, "it")
        if champion:
            yield from _learned_from_these(champion, f"version {champion.number}, the champion,")
            yield from self._gain_too_small(challenger, champion)
            yield from self._slices_worse(challenger, champion)

    def _gain_too_small(self, challenger: Judged, champion: Judged) -> Iterator[str]:
        gain, error = _gain(challenger, champion)
        versus = _versus(challenger, champion)
        if not gain > self.margin:
            yield f"{versus}: a gain of {gain:.3f} is not above the margin of {self.margin}"
        if not gain > _STANDARD_ERRORS * error:
            yield (
                f"{versus}: a gain of {gain:.3f} may be chance, its standard error on these "
                f"{len(challenger.validation):,} trips is {error:.3f}"
            )

    def _slices_worse(self, challenger: Judged, champion: Judged) -> Iterator[str]:
        enough = max(_SLICE_TRIPS, _SLICE_SHARE * len(challenger.validation))
        worse = []
        for name, slices in trip_slices(challenger.validation).items():
            for value in slices.dropna().unique():
                rows = (slices == value).to_numpy(bool)
                if rows.sum() < enough:
                    continue
                gain, error = _gain(challenger, champion, rows)
                if -gain > max(self.slice_margin, _STANDARD_ERRORS * error):
                    worse.append((gain, f"{SLICES[name]} {value} by {-gain:.3f}"))
        if worse:
            listed = ", ".join(text for _, text in sorted(worse)[:3])
            yield (
                f"{_versus(challenger, champion)}, but worse in {len(worse)} "
                f"slice{'s' if len(worse) > 1 else ''} by more than {self.slice_margin} minutes: "
                f"{listed}"
            )


def _versus(challenger: Judged, champion: Judged) -> str:
    before = f"{champion.rmse:.3f} minutes of version {champion.number}"
    return f"RMSE {challenger.rmse:.3f} against {before}"


def _gain(challenger: Judged, champion: Judged, rows: Any = slice(None)) -> tuple[float, float]:
    """Return by how many minutes of RMSE the challenger is better, and the standard error.

    Squared errors are compared trip by trip. The difference of two roots is that of the squares
    over the sum of the roots; with that sum held fixed (delta method), the standard error of the
    mean difference carries over.
    """
    theirs, ours = champion.squared_errors[rows], challenger.squared_errors[rows]
    difference = theirs - ours
    roots = float(theirs.mean() ** 0.5 + ours.mean() ** 0.5)
    if roots == 0:
        return 0.0, 0.0
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else math.inf
    return float(difference.mean()) / roots, spread / len(difference) ** 0.5 / roots


def _learned_from_these(judged: Judged, who: str) -> Iterator[str]:
    """Object to a model that has learned from the trips it would be judged on."""
    learned = logged_trips(judged.version.run_id, "training")
    if learned is None:
        return
    validation = provenance(judged.validation)
    shared = {new.month for new in validation.files if any(map(new.has_trips_of, learned.files))}
    if learned.taxi == validation.taxi and not learned.synthetic and not validation.synthetic:
        # The same month, published again, is another file with the same trips.
        shared |= set(learned.months) & set(validation.months)
    if shared:
        yield (
            f"{who} has learned from trips of {', '.join(sorted(shared))}, which both would be "
            "judged on: validate on other months"
        )

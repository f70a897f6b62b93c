"""The gate: may a challenger replace the champion, judged on the same trips?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from taxi_nb.evaluation.day_blocks import MIN_DAYS, DayMean, days_of, rmse_gain, root
from taxi_nb.evaluation.slices import SLICES, trip_slices
from taxi_nb.registry._selection import Selection
from taxi_nb.registry.versions import RegistryError, is_synthetic
from taxi_nb.tracking.model_address import ModelAddress
from taxi_nb.tracking.model_files import place_to_load
from taxi_nb.tracking.names import WAITS
from taxi_nb.training.used_trips import logged_trips
from taxi_nb.trips.origin import provenance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from mlflow.entities.model_registry import ModelVersion

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
        Minutes of RMSE by which it is better, and the standard error of that, days being blocks.
    gain_by_chance : float or None
        The gain that chance alone explains, 39 times of 40, for the best of so many candidates.
    candidates, days : int or None
        From how many models the challenger was chosen on these trips, and their days; None in
        decisions of older commits, which took trips for independent and counted no candidates.
    seeds : str or None
        What other seeds of the challenger say of its error.
    number : int or None
        Its place in the promotion history, if it was promoted.
    waits : bool
        Whether it passed, and the champion is protected: it is promoted once it is signed off.
    withheld : bool
        Whether it passed, and nothing was to be promoted: ``taxi-nb run --no-promote``.
    challenger_rmse_error : float or None
        Minutes, the standard error of its RMSE, days being blocks; None in older decisions.

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
    gain_by_chance: float | None = None
    candidates: int | None = None
    days: int | None = None
    seeds: str | None = None
    waits: bool = False
    withheld: bool = False
    challenger_rmse_error: float | None = None

    def __str__(self) -> str:
        verdict = "promoted" if self.promoted else WAITS if self.waits else "not promoted"
        if self.withheld:
            verdict = "would be promoted, which --no-promote kept it from"
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
    def days(self) -> npt.NDArray[Any]:
        """The day of each trip's pick-up."""
        return days_of(self.validation["pickup_datetime"])

    @cached_property
    def rmse_over_days(self) -> DayMean:
        """Minutes, with the error over days; no number if it predicts something that is none."""
        return root(DayMean.of(self.squared_errors, self.days))

    @property
    def rmse(self) -> float:
        """Minutes; no number if it predicts something that is none."""
        return self.rmse_over_days.mean

    @property
    def number(self) -> str:
        """The version's number."""
        return str(self.version.version)


def judge(version: ModelVersion, validation: pd.DataFrame) -> Judged:
    """Let a version predict the validation trips; raise `RegistryError` if it cannot be loaded."""
    import mlflow.sklearn
    import numpy as np
    from mlflow import MlflowClient

    try:
        place = place_to_load(MlflowClient(), str(ModelAddress.of(version)))
        estimator = mlflow.sklearn.load_model(place)
    except RegistryError:
        raise
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

    def decide(
        self, challenger: Judged, champion: Judged | None, selection: Selection | None = None
    ) -> PromotionDecision:
        """Say whether the challenger replaces the champion, and why."""
        selection = selection or Selection()
        gain = _gain(challenger, champion) if champion else None
        by_chance = gain.reach(selection.candidates) if gain else None
        objection = next(self._objections(challenger, champion, gain, selection), None)
        rmse = challenger.rmse_over_days
        reason = f"there was no champion; RMSE {_with_error(rmse)}"
        if champion and gain:
            reason = (
                f"{_versus(challenger, champion)}: better by {_with_error(gain)}, more than the "
                f"margin of {self.margin} and than the {by_chance:.3f} that chance explains"
                f"{_best_of(selection.candidates)}"
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
            gain=gain.mean if gain else None,
            gain_error=_if_finite(gain.error) if gain else None,
            gain_by_chance=_if_finite(by_chance),
            candidates=selection.candidates,
            days=rmse.days,
            seeds=selection.seeds,
            challenger_rmse_error=_if_finite(rmse.error),
        )

    def _objections(
        self,
        challenger: Judged,
        champion: Judged | None,
        gain: DayMean | None,
        selection: Selection,
    ) -> Iterator[str]:
        if not math.isfinite(challenger.rmse):
            yield "it predicts durations that are not numbers"
        if champion and challenger.number == champion.number:
            yield "it is the champion already"
        if champion and is_synthetic(challenger.version) and not is_synthetic(champion.version):
            yield f"it learned from synthetic trips, version {champion.number} from real ones"
        yield from _learned_from_these(challenger, "it")
        if champion and gain:
            yield from _learned_from_these(champion, f"version {champion.number}, the champion,")
            yield from self._gain_too_small(challenger, champion, gain, selection.candidates)
            yield from self._slices_worse(challenger, champion)

    def _gain_too_small(
        self, challenger: Judged, champion: Judged, gain: DayMean, candidates: int
    ) -> Iterator[str]:
        versus = _versus(challenger, champion)
        if not gain.mean > self.margin:
            yield f"{versus}: a gain of {gain.mean:.3f} is not above the margin of {self.margin}"
        trips = f"these {len(challenger.validation):,} trips"
        if gain.days < MIN_DAYS:
            days = f"{gain.days} day{'s' if gain.days > 1 else ''}"
            yield (
                f"{versus}: a gain of {gain.mean:.3f} may be chance, and {trips} of {days} cannot "
                f"tell: at least {MIN_DAYS} days are needed"
            )
        elif not gain.mean > gain.reach(candidates):
            yield (
                f"{versus}: a gain of {gain.mean:.3f} may be chance, which on {trips} of "
                f"{gain.days} days explains {gain.reach(candidates):.3f}{_best_of(candidates)}"
            )

    def _slices_worse(self, challenger: Judged, champion: Judged) -> Iterator[str]:
        enough = max(_SLICE_TRIPS, _SLICE_SHARE * len(challenger.validation))
        worse = []
        for name, slices in trip_slices(challenger.validation).items():
            for value in slices.dropna().unique():
                rows = (slices == value).to_numpy(bool)
                if rows.sum() < enough:
                    continue
                gain = _gain(challenger, champion, rows)
                # Not corrected for the number of slices: a harm that is missed is the worse error.
                if gain.days >= MIN_DAYS and -gain.mean > max(self.slice_margin, gain.reach()):
                    worse.append((gain.mean, f"{SLICES[name]} {value} by {-gain.mean:.3f}"))
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


def _gain(challenger: Judged, champion: Judged, rows: Any = slice(None)) -> DayMean:
    """Return by how many minutes of RMSE the challenger is better, compared trip by trip."""
    return rmse_gain(
        champion.squared_errors[rows], challenger.squared_errors[rows], challenger.days[rows]
    )


def _with_error(found: DayMean) -> str:
    return f"{found.shown()} minutes" + (f" over {found.days} days" if found.days > 1 else "")


def _best_of(candidates: int) -> str:
    return f" for the best of {candidates}" if candidates > 1 else ""


def _if_finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _learned_from_these(judged: Judged, who: str) -> Iterator[str]:
    """Object to a model that has learned from the trips it would be judged on."""
    learned = logged_trips(judged.version.run_id, "training")
    shared = provenance(judged.validation).months_also_in(learned) if learned else ()
    if shared:
        yield (
            f"{who} has learned from trips of {', '.join(shared)}, which both would be "
            "judged on: validate on other months"
        )

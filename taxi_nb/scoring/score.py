"""Score a month: predict it in batches, compare it with what the model learned on, judge it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from taxi_nb.evaluation.drift import (
    COLUMNS,
    FEATURES,
    LARGE,
    PREDICTIONS,
    Distribution,
    Drift,
    counted,
)
from taxi_nb.scoring.month_records import MonthRecords, PredictableBatch
from taxi_nb.scoring.predictions_file import PredictionsFile
from taxi_nb.scoring.scored_model import ScoredModel, load_scored_model
from taxi_nb.tracking.names import SOURCE_TAG, SYNTHETIC_TAG
from taxi_nb.tracking.run import tracked_run
from taxi_nb.tracking.store import connect
from taxi_nb.trips.cleaning import Cleaning
from taxi_nb.trips.errors import NoTripsError, TripsError
from taxi_nb.trips.loading import MONTH, iter_trips
from taxi_nb.trips.origin import Provenance
from taxi_nb.trips.sources import Source

if TYPE_CHECKING:
    import pandas as pd

CHAMPION_MODEL = "models:/nyc-taxi-duration@champion"
VERDICT_TAG = "verdict"

Floats = npt.NDArray[np.float64]
Bounds = tuple[Floats, Floats]


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """How much change is too much.

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
    """

    max_psi: float = LARGE
    max_rmse_increase: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not value >= 0:
                raise ValueError(f"`{name}` must be a number of 0 or more, got: {value!r}")


@dataclass(frozen=True)
class MonthError:
    """How wrong the predictions of a month turned out to be.

    Attributes
    ----------
    rmse, mae, bias : float
        Minutes; the bias is the mean of predicted minus actual.
    coverage : float or None
        The share of trips inside their intervals; None for a model without.
    at_training : mapping of str to float
        ``rmse`` and ``mae`` of the model's validation.
    by_day : DataFrame, one row a day
        ``trips`` (a count), ``rmse``, ``mae`` and ``bias`` (minutes).
    """

    rmse: float
    mae: float
    bias: float
    coverage: float | None
    at_training: Mapping[str, float]
    by_day: pd.DataFrame

    @property
    def rmse_increase(self) -> float:
        """Minutes by which the RMSE is above that of the model's validation."""
        return self.rmse - self.at_training["rmse"]


@dataclass(frozen=True)
class Scoring:
    """What scoring a month found.

    Attributes
    ----------
    model : ScoredModel
        What predicted.
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
    run_id : str
        Where MLflow has it.
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
        return [*map(self._drifted, filter(self._is_too_far, self.drift)), *self._errs()]

    @property
    def should_retrain(self) -> bool:
        """Whether a threshold was passed."""
        return bool(self.reasons)

    @property
    def verdict(self) -> str:
        """One sentence: retrain, with which feature and by how much, or why not."""
        if self.reasons:
            return f"retrain: {'; '.join(self.reasons)}"
        largest = max(self.drift, key=attrgetter("index"))
        said = f"the largest drift is that of {largest.name}, PSI {largest.index:.3f}"
        limits = f"{self.thresholds.max_psi:g} is the limit"
        return f"keep the model: {said} ({limits}); {self._error_said()}"

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

    def _drifted(self, drift: Drift) -> str:
        return (
            f"{drift.name} drifted: PSI {drift.index:.3f}, above max_psi "
            f"{self.thresholds.max_psi:g} (most at {drift.most_changed})"
        )

    def _errs(self) -> list[str]:
        limit = self.thresholds.max_rmse_increase
        if self.error is None or self.error.rmse_increase <= limit:
            return []
        return [
            f"RMSE {self.error.rmse:.3f} minutes is {self.error.rmse_increase:.3f} above the "
            f"{self.error.at_training['rmse']:.3f} at training time, more than max_rmse_increase "
            f"{limit:g}"
        ]

    def _error_said(self) -> str:
        if self.error is None:
            return "durations are not known yet"
        return (
            f"RMSE {self.error.rmse:.3f} minutes, {self.error.rmse_increase:+.3f} against training "
            f"time ({self.thresholds.max_rmse_increase:+g} is the limit)"
        )


def score(
    taxi: Literal["green", "yellow"],
    month: str,
    output: str | os.PathLike[str] | None = None,
    *,
    source: str | os.PathLike[str] | None = None,
    model: str = CHAMPION_MODEL,
    cleaning: Cleaning | None = None,
    seed: int = 42,
    sample_rows: int = 60_000,
    thresholds: Thresholds | None = None,
) -> Scoring:
    """Predict a month's trips in batches, measure drift and error, and log a scoring run.

    Every record is predicted whose pick-up time, zones and distance are there, in an amount of
    memory that does not grow with the month. Drift and error are those of the clean ones among
    them: only such trips did the model learn from. Where the month has no drop-off times
    there is no error, and the rules on durations are left out.

    Parameters
    ----------
    taxi, source, cleaning, seed, sample_rows
        As in `load_trips`.
    month : str
        The month, such as ``"2021-03"``.
    output : path-like, optional
        A parquet file for the predictions, replaced by a whole one at the end. Its columns:
        ``row`` (of the month's file, from 0), ``pickup_datetime``, ``PULocationID``,
        ``DOLocationID``, ``minutes``, for a model with intervals ``lower`` and ``upper``
        (minutes), and ``clean``. Its metadata name the model's version and the runs.
    model : str
        The model's address in MLflow; its champion without it.
    thresholds : Thresholds, optional
        What is too much; the default ones without it.

    Raises
    ------
    TripsError
        If the month cannot be had.
    ModelError
        If the model cannot be had or used.
    OutputError
        If the predictions cannot be written. The file that was there stays.
    """
    place = check_request(taxi, month, source, seed=seed, sample_rows=sample_rows)
    connect()
    with ExitStack() as closing:
        chosen = load_scored_model(model)
        records = MonthRecords(place, taxi, month, cleaning or Cleaning())
        file = output and closing.enter_context(
            PredictionsFile(output, with_intervals=chosen.intervals is not None)
        )
        limits = thresholds or Thresholds()
        run = closing.enter_context(
            tracked_run(name=f"score {taxi} {month}", kind="scoring", params=vars(limits))
        )
        tally = _Tally(chosen)
        for batch, minutes in _predictions(records, chosen):
            bounds = _bounds(batch, minutes, chosen)
            if file:
                file.write(_columns(batch, minutes, bounds))
            tally.add(batch, minutes, bounds, records.durations_known)
        result = tally.result(records, limits, run.info.run_id)
        if file:
            file.finish(_metadata(result))
        _log(result)
        if file:
            file.publish()
    return result


def check_request(
    taxi: Literal["green", "yellow"],
    month: str,
    source: str | os.PathLike[str] | None = None,
    *,
    seed: int = 42,
    sample_rows: int = 60_000,
) -> Source:
    """Check what `score` is asked for, as far as that needs no data, and return the place.

    Raises
    ------
    TripsError
        If an argument is not as described.
    """
    if not isinstance(month, str) or not MONTH.fullmatch(month):
        raise TripsError(f"`month` must be a month such as '2021-03', got: {month!r}")
    return iter_trips(taxi, [month], source, seed=seed, sample_rows=sample_rows).place


def _predictions(
    records: MonthRecords, model: ScoredModel
) -> Iterator[tuple[PredictableBatch, Floats]]:
    from taxi_nb.progress import progress_bar

    with progress_bar(total=records.rows, unit="record", unit_scale=True) as bar:
        for batch in records.batches():
            if len(batch):
                yield batch, model.predict(batch.columns)
            bar.update(len(batch))


def _bounds(batch: PredictableBatch, minutes: Floats, model: ScoredModel) -> Bounds | None:
    if model.intervals is None:
        return None
    hours = FEATURES["pickup_hour"].read(batch.columns["pickup_datetime"])
    return model.intervals.bounds(minutes, hours)


def _columns(
    batch: PredictableBatch, minutes: Floats, bounds: Bounds | None
) -> dict[str, npt.NDArray[Any]]:
    intervals = dict(zip(("lower", "upper"), bounds, strict=True)) if bounds else {}
    return {
        "row": batch.rows,
        **batch.columns,
        "minutes": minutes,
        **intervals,
        "clean": batch.is_clean,
    }


@dataclass
class _Tally:
    """Sums over batches: what is to be known of a month at the end."""

    model: ScoredModel
    predicted: int = 0
    covered: int = 0
    found: dict[str, Distribution] = field(default_factory=dict)
    days: dict[np.datetime64, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        reference = self.model.reference
        self._expected = {name: reference.features[name] for name in self.model.features}
        self.found = counted({**self._expected, PREDICTIONS: reference.predictions}, ())

    def add(
        self,
        batch: PredictableBatch,
        minutes: Floats,
        bounds: Bounds | None,
        durations_known: bool,
    ) -> None:
        self.predicted += len(batch)
        clean, minutes = batch.clean_columns(), minutes[batch.is_clean]
        seen = counted(self._expected, [{name: clean[name] for name in COLUMNS}])
        seen[PREDICTIONS] = self.model.reference.predictions.of(minutes)
        self.found = {name: self.found[name] + more for name, more in seen.items()}
        if durations_known:
            error = minutes - batch.duration[batch.is_clean]
            self._add_errors(clean["pickup_datetime"].astype("datetime64[D]"), error)
        if durations_known and bounds:
            inside = (bounds[0] <= batch.duration) & (batch.duration <= bounds[1])
            self.covered += int(np.count_nonzero(inside & batch.is_clean))

    def _add_errors(self, days: npt.NDArray[np.datetime64], error: Floats) -> None:
        different, day_of = np.unique(days, return_inverse=True)
        weights = (None, error, np.abs(error), error**2)
        sums = np.array([np.bincount(day_of, each, len(different)) for each in weights])
        for day, more in zip(different, sums.T, strict=True):
            self.days[day] = self.days.get(day, np.zeros(len(weights))) + more

    def result(self, records: MonthRecords, thresholds: Thresholds, run_id: str) -> Scoring:
        origin = records.origin()
        expected = {**self._expected, PREDICTIONS: self.model.reference.predictions}
        if not origin.cleaning.rows_kept:
            raise NoTripsError(_no_clean_trip(origin))
        return Scoring(
            model=self.model,
            origin=origin,
            predicted=self.predicted,
            not_predicted={
                origin.cleaning.rules[rule]: count for rule, count in records.not_predicted.items()
            },
            drift=tuple(
                Drift.between(name, before, self.found[name]) for name, before in expected.items()
            ),
            error=self._error(origin.cleaning.rows_kept) if records.durations_known else None,
            thresholds=thresholds,
            run_id=run_id,
        )

    def _error(self, trips: int) -> MonthError:
        import pandas as pd

        sums = pd.DataFrame.from_dict(
            {pd.Timestamp(day): self.days[day] for day in sorted(self.days)},
            orient="index",
            columns=["trips", "bias", "mae", "rmse"],
        ).rename_axis("day")
        whole = _means(sums.sum().to_frame().T).iloc[0]
        return MonthError(
            rmse=float(whole["rmse"]),
            mae=float(whole["mae"]),
            bias=float(whole["bias"]),
            coverage=self.covered / trips if self.model.intervals else None,
            at_training=self.model.errors,
            by_day=_means(sums)[["trips", "rmse", "mae", "bias"]].astype({"trips": int}),
        )


def _no_clean_trip(origin: Provenance) -> str:
    report = origin.cleaning
    why = ", ".join(f"{n:,} for: {report.rules[rule]}" for rule, n in report.taken_out.items() if n)
    return f"no clean trip is among the {report.rows_in:,} records of {origin.title}: {why}"


def _means(sums: pd.DataFrame) -> pd.DataFrame:
    means = sums.div(sums["trips"], axis=0).assign(trips=sums["trips"])
    return means.assign(rmse=means["rmse"].map(math.sqrt))


def _metadata(result: Scoring) -> dict[str, str]:
    return {
        "taxi_nb.model": result.model.address,
        "taxi_nb.model_run": result.model.run_id,
        "taxi_nb.scoring_run": result.run_id,
        "taxi_nb.month": result.origin.title,
        "taxi_nb.month_sha256": result.origin.files[0].sha256,
        "taxi_nb.synthetic": str(result.origin.synthetic).lower(),
    }


def _log(result: Scoring) -> None:
    import mlflow

    from taxi_nb.tracking.contents import log_tables

    origin = result.origin
    mlflow.log_params(
        {
            "scored_model": result.model.address,
            "scored_model_run": result.model.run_id,
            "scored_months": ",".join(origin.months),
            "scored_data": origin.files[0].path,
            "scored_digest": origin.digest,
        }
    )
    label = f"{origin.source} (synthetic)" if origin.synthetic else origin.source
    mlflow.set_tags(
        {
            SOURCE_TAG: label,
            SYNTHETIC_TAG: str(origin.synthetic).lower(),
            VERDICT_TAG: result.verdict,
        }
    )
    mlflow.log_metrics(_numbers(result))
    mlflow.log_dict(origin.to_dict(), "data/scored.json")
    mlflow.log_text(str(origin.cleaning), "data/scored_cleaning.txt")
    mlflow.log_dict({one.name: one.to_dict() for one in result.drift}, "drift/scored.json")
    log_tables(drift=result.drift_table())
    if result.error:
        log_tables(error_by_day=result.error.by_day)
    _log_input(origin)


def _log_input(origin: Provenance) -> None:
    import mlflow
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]

    path = origin.files[0].path
    # Named, since MLflow finds two kinds of source that a local path could be.
    source = resolve_dataset_source(path) if "://" in path else LocalArtifactDatasetSource(path)
    dataset = MetaDataset(source, name=origin.title, digest=origin.digest)  # type: ignore[abstract]
    mlflow.log_input(dataset, context="scoring")


def _numbers(result: Scoring) -> dict[str, float]:
    numbers = {
        "records": result.origin.cleaning.rows_in,
        "predicted": result.predicted,
        "not_predicted": result.origin.cleaning.rows_in - result.predicted,
        "clean": result.origin.cleaning.rows_kept,
        "retrain": float(result.should_retrain),
        **{f"psi_{drift.name}": drift.index for drift in result.drift},
    }
    if result.error:
        numbers |= {
            "rmse": result.error.rmse,
            "mae": result.error.mae,
            "bias": result.error.bias,
            "rmse_increase": result.error.rmse_increase,
        }
        if result.error.coverage is not None:
            numbers["interval_coverage"] = result.error.coverage
    return numbers

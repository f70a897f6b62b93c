"""Score a month: predict it in batches, compare it with what the model learned on, judge it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Literal

import numpy.typing as npt

from taxi_nb.evaluation.clock import hours_of
from taxi_nb.plain_data import to_json
from taxi_nb.scoring._month_records import MonthRecords, PredictableBatch
from taxi_nb.scoring._tally import Bounds, Floats, Tally
from taxi_nb.scoring.predictions_file import PredictionsFile
from taxi_nb.scoring.result import Scoring, Thresholds
from taxi_nb.scoring.scored_model import ScoredModel, load_scored_model
from taxi_nb.tracking.contents import RunContents
from taxi_nb.tracking.progress_bar import progress_bar
from taxi_nb.tracking.run import tracked_run
from taxi_nb.tracking.store import connect
from taxi_nb.training.used_trips import add_trips
from taxi_nb.trips.arguments import require_month
from taxi_nb.trips.checks import Checks, checks_in_force
from taxi_nb.trips.cleaning import CleaningSettings, cleaning_of
from taxi_nb.trips.errors import NoTripsError
from taxi_nb.trips.judging import judge
from taxi_nb.trips.loading import iter_trips
from taxi_nb.trips.sample import SAMPLE_ROWS
from taxi_nb.trips.sources import Source

CHAMPION_MODEL = "models:/nyc-taxi-duration@champion"
VERDICT_TAG = "verdict"


def score(
    taxi: Literal["green", "yellow"],
    month: str,
    output: str | os.PathLike[str] | None = None,
    *,
    source: str | os.PathLike[str] | None = None,
    model: str | ScoredModel = CHAMPION_MODEL,
    cleaning: CleaningSettings | None = None,
    seed: int = 42,
    sample_rows: int = SAMPLE_ROWS,
    thresholds: Thresholds | None = None,
    checks: Mapping[str, Any] | Checks | None = None,
) -> Scoring:
    """Predict a month's trips in batches, measure drift and error, and log a scoring run.

    Records with a pick-up time, zones and a distance are predicted, in memory that does not grow
    with the month. Drift and error are those of the clean ones: only from such trips did the model
    learn. A month without drop-off times has no error, and no rules on durations.

    Parameters
    ----------
    taxi, source, cleaning, seed, sample_rows, checks
        As in `load_trips`. A month that does not pass a check leaves no predictions.
    month : str
        The month, such as ``"2021-03"``.
    output : path-like, optional
        A parquet file for the predictions, replaced by a whole one at the end. Its columns:
        ``row`` (of the month's file, from 0), ``pickup_datetime``, ``PULocationID``,
        ``DOLocationID``, ``minutes``, for a model with intervals ``lower`` and ``upper``
        (minutes; ``minutes`` is between them and, as they are, within the range of durations that
        the model learned), and ``clean``. Its metadata name the model's version and the runs.
    model : str or ScoredModel
        The model's address in MLflow, or the model where it is loaded already.
    thresholds : Thresholds, optional
        What is too much.

    Returns
    -------
    Scoring

    Raises
    ------
    TripsError
        If the month cannot be had, or does not pass a check.
    ModelError
        If the model cannot be had or used.
    OutputError
        If the predictions cannot be written. The file that was there stays.

    Examples
    --------
    >>> scored = score("green", "2021-03", "predictions.parquet", source="sample")
    >>> scored.predicted, scored.model.title
    (20958, 'nyc-taxi-duration, version 3')
    """
    place = check_request(
        taxi, month, source, cleaning=cleaning, seed=seed, sample_rows=sample_rows
    )
    in_force = checks_in_force(checks)
    connect()
    with ExitStack() as closing:
        chosen = load_scored_model(model) if isinstance(model, str) else model
        records = MonthRecords(place, taxi, month, cleaning_of(cleaning))
        file = output and closing.enter_context(
            PredictionsFile(output, with_intervals=chosen.intervals is not None)
        )
        limits = thresholds or Thresholds()
        run = closing.enter_context(
            tracked_run(name=f"score {taxi} {month}", kind="scoring", params=vars(limits))
        )
        tally = Tally(chosen)
        for batch, minutes in _predictions(records, chosen):
            hours = hours_of(batch.columns["pickup_datetime"])
            bounds = chosen.intervals.bounds(minutes, hours) if chosen.intervals else None
            if file:
                file.write(_columns(batch, minutes, bounds))
            tally.add(batch, minutes, bounds, with_errors=records.durations_known)
        result = _result(tally, chosen, records, limits, in_force, run.info.run_id)
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
    cleaning: CleaningSettings | None = None,
    seed: int = 42,
    sample_rows: int = SAMPLE_ROWS,
) -> Source:
    """Check the arguments of `score` as far as that needs no data, and return the place."""
    require_month(month)
    return iter_trips(
        taxi, [month], source, cleaning=cleaning, seed=seed, sample_rows=sample_rows
    ).place


def _predictions(
    records: MonthRecords, model: ScoredModel
) -> Iterator[tuple[PredictableBatch, Floats]]:
    with progress_bar(total=records.rows, unit="record", unit_scale=True) as bar:
        for batch in records.batches():
            if len(batch):
                yield batch, model.predict(batch.columns)
            bar.update(len(batch))


def _columns(
    batch: PredictableBatch, minutes: Floats, bounds: Bounds | None
) -> dict[str, npt.NDArray[Any]]:
    found = {"row": batch.rows, **batch.columns, "minutes": minutes, "clean": batch.is_clean}
    return found | (dict(zip(("lower", "upper"), bounds, strict=True)) if bounds else {})


def _result(
    tally: Tally,
    model: ScoredModel,
    records: MonthRecords,
    limits: Thresholds,
    checks: Checks,
    run_id: str,
) -> Scoring:
    origin = records.origin()
    report, rules = origin.cleaning, origin.cleaning.rules
    if not report.rows_kept:
        raise NoTripsError(
            f"no clean trip is among the {report.rows_in:,} records of {origin.title}: "
            f"{report.months[0].losses(rules)}"
        )
    judgements = judge(checks, records.place, origin.taxi, records.rules, report.months)
    return Scoring(
        model=model,
        origin=origin,
        predicted=tally.predicted,
        not_predicted={rules[rule]: count for rule, count in records.not_predicted.items()},
        drift=tally.drift(),
        error=tally.error() if records.durations_known else None,
        thresholds=limits,
        run_id=run_id,
        checks=judgements,
    )


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
    params = {"scored_model": result.model.address, "scored_model_run": result.model.run_id}
    contents = RunContents(params, _numbers(result), {VERDICT_TAG: result.verdict})
    add_trips(contents, result.origin, "scored")
    drift = {one.name: one.to_dict() for one in result.drift}
    contents.files["drift/scored.json"] = to_json(drift, indent=2).encode()
    contents.add_table(result.drift_table(), "drift")
    if result.error:
        contents.add_table(result.error.by_day, "error_by_day")
    contents.log(result.run_id)


def _numbers(result: Scoring) -> dict[str, float]:
    numbers = {
        "records": result.origin.cleaning.rows_in,
        "predicted": result.predicted,
        "not_predicted": result.origin.cleaning.rows_in - result.predicted,
        "clean": result.origin.cleaning.rows_kept,
        **{f"psi_{drift.name}": drift.index for drift in result.drift},
    }
    if not result.not_judged:
        numbers["retrain"] = float(result.should_retrain)
    if result.error:
        measured = ("rmse", "mae", "bias", "rmse_increase")
        numbers |= {name: getattr(result.error, name) for name in measured}
        errors = {"rmse": result.error.rmse_over_days, "bias": result.error.bias_over_days}
        # Of one day there is none.
        numbers |= {f"{name}_day_error": e.error for name, e in errors.items() if e.days > 1}
        if result.error.coverage is not None:
            numbers["interval_coverage"] = result.error.coverage
    return numbers

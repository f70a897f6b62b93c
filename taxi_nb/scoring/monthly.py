"""One month after another: scored with the champion, judged, and trained again where it has to be.

What became of a month is written after each stage: a call that was killed is taken up where it
ended, and a month that is done is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from taxi_nb.scoring.judged_months import MonthRecord, Months, MonthScore, Retraining
from taxi_nb.scoring.result import Scoring
from taxi_nb.scoring.scored_model import ModelError
from taxi_nb.trips.errors import TripsError, one_line
from taxi_nb.trips.judging import CheckError


class Steps(Protocol):
    """What the loop calls for a month."""

    def month(self, record: MonthRecord) -> AbstractContextManager[str]:
        """Open the month's run in MLflow, below which all others are; give its id."""

    def score(self, month: str) -> Scoring:
        """Score a month with the champion."""

    def champion(self) -> str | None:
        """Return the version that is champion; None if there is none."""

    def retrain(self, month: str, parent: str) -> tuple[str, str, str | None]:
        """Run the pipeline of a month; return its folder, its run in MLflow and its decision."""

    def keep(self, record: MonthRecord) -> None:
        """Keep page and record in MLflow, before the record says that the month has ended."""


def carry_on(
    months: Months,
    chosen: Sequence[str],
    steps: Steps,
    parameter_file: str,
) -> Iterator[MonthRecord]:
    """Judge months one after another; yield the record of each when it has ended.

    A month that cannot be had or scored is ``failed``, and tried again by the next call; the
    others go on.
    """
    for month in chosen:
        record = months.known.get(month) or MonthRecord(month)
        late = record.late or months.is_late(month)
        record = replace(
            record,
            state="begun",
            error=None,
            failed_checks=(),
            late=late,
            parameter_file=parameter_file,
        )
        with steps.month(record) as run_id:
            record = months.write(replace(record, mlflow_run_id=run_id))
            try:
                for after in _stages(record, steps):
                    record = months.write(after)
                record = replace(record, state="done" if record.scored else "waiting")
            except (TripsError, ModelError, RetrainingError) as error:
                checks = error.checks if isinstance(error, CheckError | RetrainingError) else ()
                why = one_line(error)
                record = replace(record, state="failed", error=why, failed_checks=checks)
            months.known[month] = record
            steps.keep(record)
            record = months.write(replace(record, told=False))
        yield record


class RetrainingError(RuntimeError):
    """The pipeline did not end well; the message says which steps and where to look."""

    def __init__(self, message: str, checks: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.checks = checks  # Those that data did not pass.


def _stages(record: MonthRecord, steps: Steps) -> Iterator[MonthRecord]:
    """Yield the record after each stage that it had not come to yet."""
    if record.scored is None and record.retraining is None and steps.champion() is None:
        record = replace(record, retraining=Retraining("there was no champion", None))
        yield record
    if record.scored is None and record.retraining is not None:
        yield (record := _trained(record, steps))
        if record.waits and record.retraining:
            if (signed_off := steps.champion()) is None:
                return
            made = replace(record.retraining, champion_after=signed_off)
            yield (record := replace(record, retraining=made))
    if record.scored is None:
        yield (record := replace(record, scored=MonthScore.of(steps.score(record.month))))
    scored = record.scored
    assert scored
    if record.late and record.retraining and record.retraining.run is None:
        yield (record := replace(record, retraining=None))  # A newer month was judged meanwhile.
    if scored.should_retrain and record.retraining is None and not record.late:
        why = scored.verdict.removeprefix("retrain: ")
        yield (record := replace(record, retraining=Retraining(why, steps.champion())))
    if record.retraining is None:
        return
    yield (record := _trained(record, steps))
    assert record.retraining
    if record.retraining.promoted and record.retraining.champion_before and not record.scored_again:
        yield replace(record, scored_again=MonthScore.of(steps.score(record.month)))


def _trained(record: MonthRecord, steps: Steps) -> MonthRecord:
    """Let the pipeline train, unless it has."""
    assert record.retraining
    if record.retraining.run is not None:
        return record
    run, run_id, decision = steps.retrain(record.month, str(record.mlflow_run_id))
    ended = replace(
        record.retraining,
        run=run,
        mlflow_run_id=run_id,
        champion_after=steps.champion(),
        decision=decision,
    )
    return replace(record, retraining=ended)

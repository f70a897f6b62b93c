"""What became of each month, in ``runs/monthly/<month>.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from taxi_nb.calendar_months import is_month, months_between
from taxi_nb.evaluation.day_blocks import with_error
from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.project import private_folder, write_whole
from taxi_nb.scoring.result import Scoring
from taxi_nb.tracking.judgements import Judgement
from taxi_nb.tracking.names import WAITS
from taxi_nb.trips.errors import one_line

FOLDER = "monthly"


@dataclass(frozen=True)
class MonthScore:
    """How well a model did in a month; minutes, and their standard errors over days."""

    model: str
    run_id: str
    verdict: str
    should_retrain: bool
    predicted: int
    largest_psi: float
    most_drifted: str
    # None where the month has no drop-off times yet; errors also where it has one day.
    rmse: float | None = None
    rmse_error: float | None = None
    bias: float | None = None
    bias_error: float | None = None
    synthetic: bool = False
    # What checks found that does not simply pass.
    checks: tuple[Judgement, ...] = ()

    @classmethod
    def of(cls, scored: Scoring) -> MonthScore:
        """Return what is kept of a scoring."""
        largest = max(scored.drift, key=lambda drift: drift.index)
        error = scored.error
        days = {"rmse": error.rmse_over_days, "bias": error.bias_over_days} if error else {}
        return cls(
            model=scored.model.title,
            run_id=scored.run_id,
            verdict=scored.verdict,
            should_retrain=scored.should_retrain,
            predicted=scored.predicted,
            largest_psi=largest.index,
            most_drifted=largest.name,
            rmse=error.rmse if error else None,
            bias=error.bias if error else None,
            synthetic=scored.origin.synthetic,
            checks=tuple(one for one in scored.checks if one.verdict != "pass"),
            **{f"{name}_error": one.error for name, one in days.items() if one.days > 1},
        )

    @property
    def shown_error(self) -> str:
        """RMSE and bias in words."""
        if self.rmse is None or self.bias is None:
            return "durations are not known yet"
        bias = with_error(self.bias, self.bias_error, "+")
        return f"RMSE {with_error(self.rmse, self.rmse_error)} minutes, bias {bias}"


@dataclass(frozen=True)
class Retraining:
    """A run of the pipeline, and what it decided."""

    reason: str
    # Kept before anything is trained: after a kill nobody else knows it.
    champion_before: str | None
    # The folder in ``runs/``, and the run in MLflow; None until it has ended.
    run: str | None = None
    mlflow_run_id: str | None = None
    champion_after: str | None = None
    decision: str | None = None

    @property
    def promoted(self) -> bool:
        """Whether another model is champion since."""
        return self.run is not None and self.champion_after != self.champion_before


@dataclass(frozen=True)
class MonthRecord:
    """What became of a month."""

    month: str
    # ``"waiting"`` where there is no champion before somebody has signed one off.
    state: Literal["begun", "done", "failed", "waiting"] = "begun"
    # A month that came after newer ones were judged: it is scored, and no more.
    late: bool = False
    error: str | None = None
    scored: MonthScore | None = None
    retraining: Retraining | None = None
    # With the champion that the re-training made.
    scored_again: MonthScore | None = None
    updated: str = ""
    # The parameter file, and the run in MLflow that the others are below.
    parameter_file: str = ""
    mlflow_run_id: str | None = None
    # Of a month that failed: the checks that it does not pass.
    failed_checks: tuple[str, ...] = ()
    # Whether those who are to be told of it have been: a kill may come between.
    told: bool = True

    @property
    def events(self) -> list[str]:
        """What of it is worth telling people, by the names that `notify` has for it."""
        if self.state == "failed":
            return ["failed", *(["check_failed"] if self.failed_checks else [])]
        if not self.retraining:
            return []
        return ["retrain", "refused" if self.refused else "promoted"]

    @property
    def refused(self) -> bool:
        """Whether a model was trained and not promoted: a person should look."""
        return bool(self.retraining and self.retraining.run and not self.retraining.promoted)

    @property
    def waits(self) -> bool:
        """Whether it was not promoted because a person has to sign it off."""
        said = self.retraining.decision if self.retraining else None
        return self.refused and WAITS in (said or "")

    @property
    def decision(self) -> str:
        """What was decided, in a few words."""
        if self.state == "failed":
            return "failed"
        if self.waits:
            return f"trained, {WAITS}"
        if self.state != "done":
            return "not ended"
        if self.retraining:
            after = self.retraining.champion_after
            return "trained, and refused" if self.refused else f"trained, version {after} promoted"
        if self.late:
            return "scored late"
        if self.scored and self.scored.verdict.startswith("no verdict"):
            return "no verdict"
        return "kept"

    @property
    def lines(self) -> list[str]:
        """What happened, in about ten lines; the decision first."""
        said = [f"{self.month}: {self.decision}"]
        if self.error:
            said.append(f"  why:      {self.error}")
        if self.scored:
            said.append(f"  scored:   {self.scored.model}: {self.scored.shown_error}")
            name, index = self.scored.most_drifted, self.scored.largest_psi
            said.append(f"            largest drift: {name}, PSI {index:.3f}")
            said += [f"  check:    {one}" for one in self.scored.checks]
            said.append(f"  verdict:  {self.scored.verdict}")
        if self.retraining:
            where = f"runs/{self.retraining.run}" if self.retraining.run else "not ended"
            said.append(f"  trained:  {where}")
        if self.retraining and self.retraining.decision:
            said.append(f"  gate:     {self.retraining.decision}")
        if self.scored_again:
            again = self.scored_again
            said.append(f"  now:      {again.model}: {again.shown_error}")
        return said


@dataclass
class Months:
    """The months that were judged, below ``runs/monthly/``."""

    folder: Path
    known: dict[str, MonthRecord] = field(init=False)

    def __post_init__(self) -> None:
        private_folder(self.folder)
        self.known = {}
        for file in sorted(self.folder.glob("*.json")):
            if is_month(file.stem):
                self.known[file.stem] = read_month(file)

    def to_do(self, newest: str) -> list[str]:
        """Return the months that are to be judged, oldest first: new ones and those not done."""
        first = min([*self.known, newest])
        return [
            month
            for month in months_between(first, newest)
            if month not in self.known or self.known[month].state != "done"
        ]

    def is_late(self, month: str) -> bool:
        """Whether a newer month was judged already."""
        return any(other > month and one.scored for other, one in self.known.items())

    def write(self, record: MonthRecord) -> MonthRecord:
        """Keep a record, whole."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        record = replace(record, updated=now)
        write_whole(self.folder / f"{record.month}.json", to_json(record, indent=2) + "\n")
        self.known[record.month] = record
        return record


def read_month(file: Path) -> MonthRecord:
    """Read a month's record; ValueError that names the file if it is none."""
    try:
        return from_plain(MonthRecord, json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not a month's record: {one_line(error)}") from None

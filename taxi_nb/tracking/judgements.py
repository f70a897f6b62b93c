"""What checks of data found: logged to the run that judged, read for the pipeline's record."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from taxi_nb.plain_data import from_plain, to_json
from taxi_nb.tracking.inputs import not_inputs
from taxi_nb.tracking.names import CHECK_METRICS, CHECKS_FILE, CHECKS_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# The worst first.
VERDICTS = ("fail", "accepted", "warn", "not judged", "pass")


@dataclass(frozen=True)
class Judgement:
    """What a check found in some data, against its limit.

    >>> print(Judgement("gaps", "2021-01", "fail", "3 of 31 days of 2021-01", "at most 0", 3.0))
    gaps 3 of 31 days of 2021-01, at most 0: FAIL
    """

    check: str
    # The data that it is about: a check is judged once for each.
    about: str
    verdict: Literal["pass", "warn", "fail", "accepted", "not judged"]
    # The number in words, with what it is a number of.
    says: str
    limit: str
    value: float | None = None
    # Whether less is nearer to the limit, or beyond it.
    is_least: bool = False
    # Why it was accepted, or cannot be judged.
    reason: str | None = None

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.check} {self.says}, {self.limit}: {self.verdict.upper()}{why}"

    @property
    def rank(self) -> int:
        """How much it asks for attention: 0 is most."""
        return VERDICTS.index(self.verdict)


def worst_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Return each judgement once, several steps judge the same data, the worst first."""
    return sorted(dict.fromkeys(judgements), key=lambda one: (one.rank, one.check, one.about))


# Of each run, what it was told: one may load data several times.
_noted: dict[str, dict[tuple[str, str], Judgement]] = {}


def note(judgements: Iterable[Judgement]) -> None:
    """Log judgements to the step's run, elsewhere to the run that is open; without one nowhere."""
    # Records are read where nothing is logged.
    from taxi_nb.tracking.contents import RunContents
    from taxi_nb.tracking.plain_mlflow import StepRun

    mlflow, step = sys.modules.get("mlflow"), StepRun.here()
    active = mlflow.active_run() if mlflow and step is None else None
    run_id = step.run_id if step else active and str(active.info.run_id)
    if not run_id:
        return
    if step:
        step.connect()
    known = _noted.setdefault(run_id, {})
    known |= {(one.check, one.about): one for one in judgements}
    found = worst_first(known.values())
    numbers = {
        f"{CHECK_METRICS}{one.check}/{one.about}": one.value
        for one in found
        if one.value is not None
    }
    says = "; ".join(str(one) for one in found if one.verdict != "pass")
    tag = says or f"all {len(found)} pass"
    file = {CHECKS_FILE: to_json(found, indent=1).encode()}
    with not_inputs():
        # The tag is to be read by people, and stores take no long ones.
        RunContents(metrics=numbers, tags={CHECKS_TAG: tag[:2_000]}, files=file).log(run_id)


def judgements_of(client: MlflowClient, run: Run) -> tuple[Judgement, ...]:
    """Return what the checks of a run found; nothing where none was asked for."""
    if CHECKS_TAG not in run.data.tags:
        return ()
    from taxi_nb.tracking.held_folder import HeldFolder

    with HeldFolder() as folder:
        file = client.download_artifacts(run.info.run_id, CHECKS_FILE, str(folder))
        with open(file, encoding="utf-8") as opened:
            return tuple(from_plain(Judgement, one) for one in json.load(opened))


def without_checks(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return a run's metrics but for those of checks."""
    return {name: value for name, value in metrics.items() if not name.startswith(CHECK_METRICS)}

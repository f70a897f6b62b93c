"""The last lines of a run: what it decided, the best model, and against what that is better."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from taxi_nb.cli._terminal import fact
from taxi_nb.project import command

if TYPE_CHECKING:
    from taxi_nb.pipeline.record import RunRecord
    from taxi_nb.pipeline.report.headline import Best

# What `train` logs, in words; all of it is in minutes.
_MINUTES = {"valid_rmse": "RMSE", "valid_mae": "MAE"}


def ending(record: RunRecord, folder: Path, *, is_new: bool = True) -> Iterator[str]:
    """Yield the lines; of a run that `is_new` also what it is better than."""
    from taxi_nb.pipeline.report.headline import Best

    if record.sources:
        yield fact("data", ", ".join(record.sources))
    yield from _decision(record, is_new=is_new)
    best = Best.of(record) if record.status.is_good else None
    if best:
        number = _number(best.metric, best.value, best.error)
        yield fact("best", f"{best.model.name} of {best.model.step}, {number}")
        if is_new:
            yield from _against(record, folder, best)
    if record.part:
        yield fact("part", record.part)
    for check in record.checks:
        if check.verdict != "pass":
            yield fact("check", str(check))
    # Not broken into lines: they are to be copied.
    yield f"page:     {folder / 'index.html'}"
    yield f"MLflow:   {record.experiment}, run {record.mlflow_run_id} ({command('ui', 'ui')})"


def _decision(record: RunRecord, *, is_new: bool) -> Iterator[str]:
    step = record.deciding
    if record.decision is None:
        return
    made_in = step.reused_from if step else None
    if not is_new:
        made_in = made_in or record.id
    yield fact("decision", f"{record.decision}" + (f" (decided in {made_in})" if made_in else ""))
    if not is_new:  # Who is champion now the record cannot know.
        return
    changed = record.decided is not None and record.decided.promoted and made_in is None
    by_this = "NEW: this run changed it" if changed else "not changed by this run"
    yield fact("champion", f"{record.champion or 'none'}, {by_this}")


def _against(record: RunRecord, folder: Path, best: Best) -> Iterator[str]:
    from taxi_nb.pipeline.report.headline import Since

    step = record.deciding
    numbers = step.metrics if step else {}
    known = [numbers.get(name, math.nan) for name in ("champion_rmse", "gain")]
    if step and not step.reused_from and all(map(math.isfinite, known)):
        champion, gain = known
        by = _number("", abs(gain), numbers.get("gain_error"))
        verdict = f"{'better' if gain > 0 else 'worse'} by {by}" if gain else "the same"
        yield fact("against", f"the champion until now, RMSE {champion:.3f} minutes: {verdict}")
    since = Since.last_good_run(folder, best)
    if since is None:
        yield fact("against", "no good run with this number before this one")
        return
    before = _number(best.metric, since.value, None)
    if not since.same_data:
        says = "not known to be of the same data, so that they are not compared"
    elif since.is_better is None:
        says = "the same"
    else:
        by = _number("", abs(since.value - best.value), None)
        says = f"{'better' if since.is_better else 'worse'} by {by} now"
    yield fact("against", f"{since.run}, the last good run with it, {before}: {says}")


def _number(metric: str, value: float, error: float | None) -> str:
    name = _MINUTES.get(metric, metric)
    number = f"{value:.3f}" + (f" ± {error:.3f}" if error is not None else "")
    return f"{name} {number} minutes" if metric in _MINUTES else f"{name} {number}".strip()

"""What MLflow's own pages show of a pipeline's run: a description, few numbers, columns."""

from __future__ import annotations

import math
from collections.abc import Iterator

from taxi_nb.pipeline.record import RunRecord
from taxi_nb.pipeline.report._metrics import TEST, by_importance, is_judged
from taxi_nb.pipeline.report.headline import Best
from taxi_nb.plain_data import shortened
from taxi_nb.tracking.names import KIND_TAG

# Of a decision about a registered model.
_DECIDED = ("promoted", "gain", "gain_error")
_MOST_COLUMNS = 4
_LONGEST = 500


def numbers(record: RunRecord) -> dict[str, float]:
    """Return the numbers of a good run that come first: its best model's, test's, decision's."""
    if not record.status.is_good:
        return {}
    best = Best.of(record)
    found = {}
    if best:
        found = {name: value for name, value in best.model.metrics.items() if is_judged(name)}
        if best.error is not None:
            found[f"{best.metric}_error"] = best.error
    deciding = record.deciding
    for step in record.steps:
        # A decision that is used again was another run's.
        is_deciding = step is deciding and not step.reused_from
        for name, value in step.metrics.items():
            if name.startswith(TEST) or (is_deciding and name in _DECIDED):
                found[name] = value
    return {name: value for name, value in found.items() if math.isfinite(value)}


def description(record: RunRecord) -> str:
    """Return Markdown that starts with the decision; of a run that failed, with what failed."""
    return "\n\n".join(_paragraphs(record))


def _paragraphs(record: RunRecord) -> Iterator[str]:
    if not record.status.is_good:
        yield record.status.in_words
        errors = {step.name: str(step.error) for step in record.steps if step.error}
        yield from (f"{name}: {shortened(error, _LONGEST)}" for name, error in errors.items())
    elif record.decision is None:
        yield "No decision: no step registers a model"
    else:
        step = record.deciding
        before = f" (decided in {step.reused_from})" if step and step.reused_from else ""
        yield f"{record.decision}{before}"
    if record.status.is_good and (best := Best.of(record)):
        number = f"{best.value:.4g}" + (f" ± {best.error:.2g}" if best.error is not None else "")
        yield f"Best model: {best.model.name} of {best.model.step}, {best.metric} {number}"
    if record.part:
        yield f"Part of the pipeline: {record.part}"
    if record.champion:
        yield f"Champion when it ended: {record.champion}"
    if record.sources:
        yield f"Data: {', '.join(record.sources)}"
    yield f"Page: runs/{record.id}/index.html"


def columns(record: RunRecord) -> list[str]:
    """Return the columns, by MLflow's keys, in which good runs are told apart; of others none."""
    if not record.status.is_good:
        return []
    told = [name for name in by_importance(numbers(record)) if not name.endswith("_error")]
    models = [f"params.`{name}`" for name in ("model",) if record.models]
    return [
        "attributes.`Description`",
        *models,
        *(f"metrics.`{name}`" for name in told[:_MOST_COLUMNS]),
        f"tags.`{KIND_TAG}`",
        "attributes.`Source`",
        "attributes.`Models`",
    ]

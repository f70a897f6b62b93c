"""The front page in a few lines of Markdown, for a comment on a change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from taxi_nb.pipeline.expected import duration
from taxi_nb.pipeline.record import StepResult
from taxi_nb.pipeline.report._front_page import front_page
from taxi_nb.pipeline.report._pages import error_of, number
from taxi_nb.pipeline.report.past import RunOnDisk

# What is punctuation to Markdown and HTML, and what would call a person or name an issue.
_MEANT = re.compile(r"[\\`*_{}\[\]()<>#+!|~&$@:]")
_LONGEST = 300


def summary(folder: Path) -> str:
    """Return how a run ended, its steps, models and decision; raises as `write_site` does.

    What notebooks and people wrote stands there as text: it can neither format nor link.
    """
    return "\n".join(_lines(RunOnDisk.read(folder))) + "\n"


def _lines(run: RunOnDisk) -> Iterator[str]:
    record, page = run.record, front_page(run, [], {})
    commit = f", commit {record.commit[:10]}" if record.commit else ""
    changes = " with changes that are not committed" if record.dirty else ""
    yield f"### {_text(record.pipeline)}: {record.status}"
    yield ""
    yield f"{_text(record.id)}, {duration(record.seconds)}{commit}{changes}"
    for source in run.sources:
        if "synthetic" in source:
            yield ""
            yield f"Data: **{_text(source)}**. These numbers are about made-up records."
    if record.part:
        yield ""
        yield f"Part of the pipeline: {_text(record.part)}."
    attention = [one for one in record.checks if one.verdict != "pass"]
    for check in attention:
        yield ""
        yield f"Check: {_text(str(check))}"
    if record.checks and not attention:
        yield ""
        yield f"All {len(record.checks)} checks of the data pass."
    yield from _table(("Step", "Status", "Took", "Why"), map(_step, record.steps))
    if page["models"]:
        names = page["model_metrics"][:3]
        rows = (
            (
                f"{_text(model.name)}{', champion' if model.champion else ''}",
                *(number(model.metrics[n]) if n in model.metrics else "–" for n in names),
            )
            for model in page["models"]
        )
        yield from _table(("Model", *map(_text, names)), rows)
    if record.decision:
        use = f" The model to use is {_text(record.champion)}." if record.champion else ""
        yield ""
        yield f"**Decision.** {_text(record.decision)}.{use}"
    for step, metrics in page["reported"].items():
        shown = ", ".join(
            f"{_text(one.name)} {number(one.value)}"
            + (f" ± {error_of(one.error, one.value)}" if one.error is not None else "")
            for one in metrics
        )
        yield ""
        yield f"The number to report is that of {_text(step)}: {shown}."


def _step(step: StepResult) -> tuple[str, ...]:
    why = str(step.error) if step.error else step.shared_by or step.reason or ""
    return _text(step.name), step.status.in_words, duration(step.seconds), _text(why)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield ""
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _text(value: str) -> str:
    """Return a text on one line, of which Markdown makes nothing."""
    line = " ".join(value.split())
    shown = line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
    return _MEANT.sub(lambda found: f"&#{ord(found[0])};", shown)

"""The frame of every page: templates, style sheets, scripts, and what they may do."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sized
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from taxi_nb.pipeline.expected import duration
from taxi_nb.pipeline.record import RunRecord
from taxi_nb.pipeline.report._comparison import MetricChange, as_written
from taxi_nb.pipeline.report._metrics import metric_words, unit_of
from taxi_nb.pipeline.report._untrusted import in_words
from taxi_nb.plain_data import shortened
from taxi_nb.project import command
from taxi_nb.tracking.store import run_page

_SOURCES = ("style.css", "cells.css", "page.js", "cells.js")


@cache
def templates() -> Environment:
    found = Environment(
        loader=PackageLoader("taxi_nb.pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = (duration, moment, number, error_of, sortable, difference, unit_of)
    texts = (counted, metric_words, shortened)
    found.filters |= {function.__name__: function for function in (*numbers, *texts)}
    found.filters |= {"value": as_written, "held": in_words}
    # What notebooks and their comparison need beside stays off the front page.
    sources = {name: _source(found, name) for name in _SOURCES}
    found.globals |= {name.replace(".", "_"): Markup(text) for name, text in sources.items()}  # noqa: S704 - our own files
    found.globals |= {
        "policy": _policy(text for name, text in sources.items() if name.endswith(".js")),
        "mlflow_address": mlflow_address,
        "command": command,
    }
    return found


def render(template: str, **context: Any) -> str:
    return templates().get_template(template).render(**context)


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _policy(scripts: Iterable[str]) -> str:
    """Let a page run our scripts alone, and load pictures from its own folder alone.

    The second wall: what the sanitiser overlooked could not run or load either.
    """
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts)
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in digests)
    return (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file: data:; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def moment(iso: str) -> str:
    """Return a time as people write it, ``2026-02-03 14:05 UTC``."""
    try:
        return f"{datetime.fromisoformat(iso):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return iso


def number(given: float) -> str:
    """Return a number with as many digits as tell something."""
    if not math.isfinite(given):
        return "NaN" if math.isnan(given) else ("∞" if given > 0 else "−∞")
    if given == int(given) and abs(given) < 1e15:
        return f"{int(given):,}"
    if abs(given) >= 1000:
        return f"{given:,.1f}"
    return f"{given:.3f}" if abs(given) >= 0.0995 else f"{given:.3g}"


def error_of(error: float, value: float) -> str:
    """Return a standard error with the digits of the value that it is the error of."""
    _, _, digits = number(value).partition(".")
    is_shown = digits.isdecimal() and error >= 0.5 * 10 ** -len(digits)
    return f"{error:.{len(digits)}f}" if is_shown else number(error)


def counted(what: str, of: Sized) -> str:
    """Return ``1 metric``, ``2 metrics``."""
    return f"{len(of)} {what}{'s' if len(of) != 1 else ''}"


def sortable(given: float | str) -> str:
    """Return a number as the page's script reads it; NaN has no place in an order."""
    if isinstance(given, str) or math.isnan(given):
        return ""
    return str(given).replace("inf", "Infinity")


def difference(change: MetricChange) -> str:
    """Return a signed difference, with the digits that the two values are shown with."""
    if math.isnan(change.difference):
        return "–"
    sign = "+" if change.difference > 0 else "−"
    size = abs(change.difference)
    if math.isinf(size):
        return f"{sign}∞"
    if size == int(size) or size >= 1000:
        return f"{sign}{size:,.0f}"
    is_coarse = abs(change.after) >= 0.1 and size >= 0.001
    return f"{sign}{size:.3f}" if is_coarse else f"{sign}{size:.2g}"


def mlflow_address(record: RunRecord, run_id: str | None) -> str | None:
    """Return where MLflow shows a run of a pipeline's; None if it is not known."""
    if run_id is None or record.experiment_id is None:
        return None
    return run_page(record.tracking_uri, record.experiment_id, run_id)

"""The page of the months in a row: error, drift, level, champion, decisions."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from taxi_nb.evaluation.day_blocks import with_error
from taxi_nb.project import write_whole
from taxi_nb.scoring.judged_months import MonthRecord, MonthScore


def write_page(folder: Path, months: Mapping[str, MonthRecord]) -> Path:
    """Write ``index.html`` beside the months' records, newest month first; return its path."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    records = [months[month] for month in sorted(months)]
    environment = Environment(
        loader=PackageLoader("taxi_nb.scoring", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scores = [one for record in records for one in (record.scored, record.scored_again) if one]
    page = folder / "index.html"
    text = environment.get_template("months_page.html.j2").render(
        newest=records[-1] if records else None,
        records=records[::-1],
        synthetic=any(score.synthetic for score in scores),
        picture=_picture(records),
        number=_number,
    )
    write_whole(page, text)
    return page


def _number(score: MonthScore | None, name: str, sign: str = "") -> str:
    value: float | None = getattr(score, name, None)
    if value is None:
        return ""
    return with_error(value, getattr(score, f"{name}_error", None), sign)


def _picture(records: list[MonthRecord]) -> str | None:
    """Return the error of the months in a row as a PNG in base64; None of fewer than two."""
    known = [record for record in records if record.scored and record.scored.rmse is not None]
    if len(known) < 2:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    months = [record.month for record in known]
    for label, marker, scores in (
        ("champion when the month came", "o-", [record.scored for record in known]),
        ("trained again", "s", [record.scored_again for record in known]),
    ):
        shown = [(m, s) for m, s in zip(months, scores, strict=True) if s and s.rmse is not None]
        if shown:
            axes.errorbar(
                [month for month, _ in shown],
                [float(score.rmse or 0) for _, score in shown],
                yerr=[score.rmse_error or 0 for _, score in shown],
                fmt=marker,
                capsize=3,
                label=label,
            )
    axes.set_ylabel("RMSE (minutes)")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return base64.b64encode(content.getvalue()).decode()

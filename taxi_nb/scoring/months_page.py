"""The page of the months in a row: error, drift, level, champion, decisions."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from pathlib import Path

from taxi_nb.evaluation.day_blocks import with_error
from taxi_nb.project import write_whole
from taxi_nb.scoring.judged_months import MonthRecord, MonthScore

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid #8886 }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
img { max-width: 100%; background: white }
pre { white-space: pre-wrap }
td.number, tbody th { white-space: nowrap }
.attention { font-weight: bold }
"""


def write_page(folder: Path, months: Mapping[str, MonthRecord]) -> Path:
    """Write ``index.html`` beside the months' records, newest month first; return its path."""
    page = folder / "index.html"
    write_whole(page, _page([months[month] for month in sorted(months)]))
    return page


def _page(records: list[MonthRecord]) -> str:
    newest = records[-1] if records else None
    title = f"{newest.month}: {newest.decision}" if newest else "No month yet"
    rows = "".join(map(_row, reversed(records)))
    scores = [one for record in records for one in (record.scored, record.scored_again) if one]
    synthetic = any(score.synthetic for score in scores)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
{"<p><strong>sample (synthetic)</strong>: these are no real trips.</p>" if synthetic else ""}
<pre>{escape(chr(10).join(newest.lines[1:]) if newest else "")}</pre>
{_figure(records)}
<table><thead><tr><th>Month<th>Decision<th>Champion<th class="number">RMSE, minutes
<th class="number">Bias, minutes<th class="number">Largest PSI<th>of<th>Run</tr></thead>
<tbody>{rows}</tbody></table>
<p>± is one standard error, days being blocks. Bias: predicted minus actual. The champion is the one
that the month was scored with when it came.</p>
</body></html>
"""


def _row(record: MonthRecord) -> str:
    score = record.scored
    run = record.retraining.run if record.retraining else None
    link = f'<a href="../{escape(run)}/index.html">{escape(run)}</a>' if run else ""
    asks = record.refused or record.state == "failed"
    cells = [
        f"<th>{escape(record.month)}",
        f"<td{' class=attention' if asks else ''}>{escape(record.decision)}",
        f"<td>{escape(score.model) if score else ''}",
        f'<td class="number">{_number(score, "rmse")}',
        f'<td class="number">{_number(score, "bias", "+")}',
        f'<td class="number">{f"{score.largest_psi:.3f}" if score else ""}',
        f"<td>{escape(score.most_drifted) if score else escape(record.error or '')}",
        f"<td>{link}",
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _number(score: MonthScore | None, name: str, sign: str = "") -> str:
    value: float | None = getattr(score, name, None)
    if value is None:
        return ""
    return with_error(value, getattr(score, f"{name}_error", None), sign)


def _figure(records: list[MonthRecord]) -> str:
    """Return the error of the months in a row as a picture; nothing of fewer than two."""
    known = [record for record in records if record.scored and record.scored.rmse is not None]
    if len(known) < 2:
        return ""
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
    encoded = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="RMSE of each month" src="data:image/png;base64,{encoded}">'

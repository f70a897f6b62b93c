"""What a cell shows, as text: to be compared and to be searched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import unescape
from typing import Any

from taxi_nb.pipeline.report.executed import joined_streams, settled
from taxi_nb.pipeline.report.figures import IMAGES, alt_text

# A longer text is cut before markup is taken out of it.
_MOST = 60_000
# A terminal's colours, which count as no difference.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def shown_text(outputs: Sequence[Any]) -> str:
    """Return a cell's outputs as one text; of a figure its title, where it has one."""
    texts = (_COLOURS.sub("", _text(output)) for output in joined_streams(outputs))
    return "\n".join(text.strip("\n") for text in texts if text.strip())


def _text(output: Mapping[str, Any]) -> str:
    if output["output_type"] == "stream":
        return settled(output["text"])
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    data = output.get("data", {})
    if kind := next((kind for kind in IMAGES if kind in data), None):
        return alt_text(output, kind) or ""  # Figures are compared by eye, side by side.
    html = data.get("text/html", "")
    if isinstance(html, str) and "<table" in html[:_MOST]:
        return _tables(html[:_MOST])
    for kind in ("text/markdown", "text/plain"):
        if kind in data:
            return str(data[kind])
    return ", ".join(data)


def _tables(html: str) -> str:
    """Return a table's rows as lines, its columns below each other."""
    html = re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", r, re.DOTALL) for r in html.split("</tr>"))
    rows = [[unescape(re.sub(r"<[^>]*>", "", c)).strip() for c in row] for row in cells if row]
    widths = [
        max(len(row[column]) for row in rows if column < len(row))
        for column in range(max(map(len, rows), default=0))
    ]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=False)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

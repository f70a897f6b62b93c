"""Two executed notebooks, compared by nbdime, as lines that a person can read."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from html import unescape
from typing import Any

from taxi_nb.pipeline._notebook_file import INJECTED, tags_of
from taxi_nb.pipeline.report.executed import ExecutedNotebook
from taxi_nb.pipeline.report.figures import IMAGES

# A longer text is compared by its beginning and its digest.
_TEXT_LIMIT = 20_000
_MOST_LINES = 400
# Lines that nbdime prints of a whole output beside its text.
_STRUCTURE = ("output:", "output_type:", "name: stdout", "text:", "execution_count:")


@dataclass(frozen=True)
class Line:
    """A line of a difference; `kind` is ``del``, ``ins``, ``head`` or ``same``."""

    kind: str
    text: str


@dataclass(frozen=True)
class NotebookDiff:
    step: str
    lines: tuple[Line, ...]
    left_out: int = 0


def notebook_diff(
    step: str, before: ExecutedNotebook, after: ExecutedNotebook
) -> NotebookDiff | None:
    """Compare two executions of a step; None if they show the same."""
    if after.path.samefile(before.path):
        return None
    old, new = _readable(before.content), _readable(after.content)
    if old == new:
        return None
    lines = _lines(_printed(old, new))
    return NotebookDiff(step, tuple(lines[:_MOST_LINES]), max(0, len(lines) - _MOST_LINES))


def _readable(notebook: dict[str, Any]) -> Any:
    """Return a copy with each output as text: no markup beside it, figures as digests."""
    import nbformat

    reduced = nbformat.v4.new_notebook()
    for cell in notebook["cells"]:
        kept = {"cell_type": cell["cell_type"], "source": cell["source"]}
        if INJECTED in tags_of(cell):
            kept["source"] = "# parameters given by the pipeline"
        # One id for all: cells are matched by what is in them.
        kept |= {"metadata": {}, "id": "cell"}
        if cell["cell_type"] == "code":
            outputs = [_readable_output(output) for output in cell["outputs"]]
            kept |= {"outputs": outputs, "execution_count": None}
        reduced.cells.append(nbformat.from_dict(kept))
    return reduced


def _readable_output(output: Any) -> dict[str, Any]:
    if output["output_type"] == "stream":
        text = output["text"]
    elif output["output_type"] == "error":
        text = f"{output['ename']}: {output['evalue']}"
    else:
        text = _readable_data(output.get("data", {}))
    return {"output_type": "stream", "name": "stdout", "text": _bounded(text)}


def _readable_data(data: Any) -> str:
    if any(kind in data for kind in IMAGES):
        return "figure\n"  # Figures are compared by eye, side by side.
    if "<table" in data.get("text/html", "")[:_TEXT_LIMIT]:
        return _table_text(data["text/html"])
    for kind in ("text/markdown", "text/plain"):
        if kind in data:
            return str(data[kind])
    return ", ".join(data)


def _table_text(html: str) -> str:
    """Return a table's rows as lines: what wide frames print is broken into blocks."""
    html = re.sub(r"<style.*?</style>", "", html[:_TEXT_LIMIT], flags=re.DOTALL)
    rows = re.split(r"</tr>", html)
    cells = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows)
    return "\n".join(
        "  ".join(unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in row)
        for row in cells
        if row
    )


def _bounded(text: str) -> str:
    if len(text) <= _TEXT_LIMIT:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{text[:_TEXT_LIMIT]}\n… {len(text):,} characters, digest {digest}\n"


def _printed(old: Any, new: Any) -> str:
    from nbdime import diff_notebooks
    from nbdime.prettyprint import PrettyPrintConfig, pretty_print_diff

    out = io.StringIO()
    settings = PrettyPrintConfig(out=out, use_git=False, use_diff=False, use_color=False)
    pretty_print_diff(old, diff_notebooks(old, new), "", settings)
    return out.getvalue()


def _lines(printed: str) -> list[Line]:
    found = []
    for text in printed.splitlines():
        if text.startswith("## "):
            found.append(Line("head", _place(text.removeprefix("## ").rstrip(":"))))
        elif text.startswith(("-  ", "+  ")):
            shown = text[3:]
            if not shown.strip().startswith(_STRUCTURE):
                found.append(Line("del" if text[0] == "-" else "ins", shown))
        elif text.strip() and not text.startswith(("@@", "---", "+++")):
            found.append(Line("same", text[3:]))
    return found


def _place(head: str) -> str:
    """Say ``cell 3, source: modified`` for ``modified /cells/2/source``."""
    match = re.match(r"(.+?) /cells/(\d+(?:-\d+)?)(/[a-z]+)?", head)
    if match is None:
        return head
    first, dash, last = match[2].partition("-")
    number = f"cells {int(first) + 1} to {int(last) + 1}" if dash else f"cell {int(first) + 1}"
    part = {"/outputs": ", output", "/source": ", source"}.get(match[3] or "", "")
    return f"{number}{part}: {match[1]}"

"""A cell's outputs as HTML, in bounds and harmless; a note says what is not shown."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from typing import Any

from nbconvert.filters.ansi import ansi2html

from taxi_nb.pipeline.report import _untrusted as untrusted
from taxi_nb.pipeline.report._prose import Prose
from taxi_nb.pipeline.report._tables import legible
from taxi_nb.pipeline.report._untrusted import Safe, in_words
from taxi_nb.pipeline.report.executed import joined_streams, settled
from taxi_nb.pipeline.report.figures import IMAGES, alt_text, encoded_image

# Of one output, in characters; more is a file to open, not a page to read.
TEXT_LIMIT = 60_000
TAIL = 5_000
IMAGE_LIMIT = 6_000_000
# Of one page.
PAGE_LIMIT = 16_000_000
OUTPUTS_LIMIT = 100


_FRAME = (
    "<!doctype html><meta charset=utf-8><style>:root{{color-scheme:light}}"
    "body{{font:15px/1.5 system-ui,sans-serif;margin:.5rem}}"
    "td,th{{padding:.2rem .6rem;text-align:right}}</style>{}"
)

# ``Cell In[3]`` in a traceback, ``Input In [3]`` in one of an older Jupyter, in any colours.
_EXECUTED = re.compile(
    r"(?:Cell|Input)(?P<between>(?:<[^>]*>|\s)*)In(?:<[^>]*>|\s)*\[(?P<count>\d{1,6})\]"
)


class OutputHtml:
    """Renders the outputs of the notebook at an address and counts what it held back of them.

    `words` are for raw names in tables; `places` says of a cell's execution count which cell of
    the page that was, and its anchor.
    """

    def __init__(
        self,
        prose: Prose,
        notebook: str | None,
        words: Mapping[str, str],
        places: Mapping[int, tuple[int, str]],
    ) -> None:
        self.prose = prose
        self.notebook = notebook
        self.words = words
        self.places = places
        self.tables = 0
        self.held: untrusted.Held = Counter()
        self.written = 0

    def cell(self, outputs: list[Any], title: str) -> str:
        """Render a cell's outputs; `title` names its figures that have no title of their own."""
        outputs = joined_streams(outputs)
        shown = [self._within_page(output, title) for output in outputs[:OUTPUTS_LIMIT]]
        if len(outputs) > OUTPUTS_LIMIT:
            shown.append(self._left_out(f"{len(outputs) - OUTPUTS_LIMIT:,} more outputs are"))
        return "\n".join(shown)

    def _within_page(self, output: Any, title: str) -> str:
        if self.written > PAGE_LIMIT:
            return self._left_out("This output, for which the page would grow too large, is")
        html = self._output(output, title)
        self.written += len(html)
        return html

    def _output(self, output: Any, title: str) -> str:
        match output.output_type:
            case "stream":
                kind = "stderr" if output.name == "stderr" else "stdout"
                return self._bounded(settled(output.text), lambda text: _pre(text, kind))
            case "error":
                return self._error(output)
        return self._data(output, title)

    def _data(self, output: Any, title: str) -> str:
        data = output.get("data", {})
        for kind in IMAGES:
            if kind in data:
                return self._image(kind, data[kind], alt_text(output, kind) or title)
        beside = ""
        if any("widget-view" in kind for kind in data):
            self.held["widget"] += 1
            beside = _held_note("an interactive widget; this is its text")
        renderers: dict[str, Callable[[str], str]] = {
            "text/html": partial(self._html, title=title),
            "text/markdown": lambda text: self.noted(self.prose.output(text)),
            "text/latex": lambda text: self.noted(self.prose.output(text)),
            "application/javascript": lambda _: self.noted(Safe("", Counter({"script": 1}))),
            "text/plain": _pre,
        }
        for kind, render in renderers.items():
            if kind in data:
                with_end = kind == "text/plain"
                return self._bounded(data[kind], render, with_end=with_end) + beside
        found = next(iter(data.values()), "")
        text = found if isinstance(found, str) else json.dumps(found, indent=2)
        return self._bounded(text, _pre) + beside

    def _image(self, kind: str, data: str, title: str) -> str:
        encoded = encoded_image(kind, data)
        if encoded is None:
            return self._left_out("A figure that is not one is")
        if len(encoded) > IMAGE_LIMIT:
            return self._left_out(f"A figure of {len(encoded) * 3 // 4 / 1e6:.1f} MB is")
        # An image cannot run the scripts that an SVG file may hold, nor load anything.
        held = untrusted.held_back(data) if kind == "image/svg+xml" else Counter()
        self.held += held
        source = f"data:{kind};base64,{encoded}"
        figure = f'<figure><img src="{source}" alt="{escape(title)}"></figure>'
        return figure + (_held_note(in_words(held)) if held else "")

    def _html(self, text: str, title: str) -> str:
        if not untrusted.needs_frame(text):
            return self.noted(untrusted.sanitised(text))
        safe = untrusted.sanitised(text, keep_styles=True)
        rows = len(re.findall(r"<(?:tr|p|li|div|h\d)\b", text))
        frame = (
            f'<iframe sandbox loading="lazy" title="{escape(title)}" '
            f'style="height:{min(36, 4 + 2 * rows)}rem" '
            f'srcdoc="{escape(_FRAME.format(safe.html))}"></iframe>'
        )
        return self.noted(Safe(frame, safe.held))

    def noted(self, safe: Safe) -> str:
        """Return the HTML with a note on what was taken out of it."""
        self.held += safe.held
        above = self.prose.headings[-1].text if self.prose.headings else ""
        shown, tables = legible(safe.html, above, self.words, first=self.tables + 1)
        self.tables += tables
        html = f'<div class="rich">{shown}</div>' if shown.strip() else ""
        return html + (_held_note(in_words(safe.held)) if safe.held else "")

    def _error(self, output: Any) -> str:
        traceback = "\n".join(map(str, output.get("traceback", [])))
        name, value = escape(str(output.ename)), escape(str(output.evalue)[:2_000])
        return (
            f'<div class="failure-text" role="group" aria-label="Error">'
            f"<p><strong>{name}</strong>: {value}</p>"
            f"{self._bounded(traceback, lambda text: self._with_cells(_pre(text)))}</div>"
        )

    def _with_cells(self, traceback: str) -> str:
        """Call cells by their numbers on the page: Jupyter counts executions."""

        def called(found: re.Match[str]) -> str:
            if (place := self.places.get(int(found["count"]))) is None:
                return found[0]
            number, anchor = place
            return f'Cell{found["between"]}<a href="#{escape(anchor)}">{number}</a>'

        return _EXECUTED.sub(called, traceback)

    def _bounded(self, text: str, render: Callable[[str], str], *, with_end: bool = True) -> str:
        """Render the beginning of what is too long; of plain text the end, too."""
        if len(text) <= TEXT_LIMIT + TAIL:
            return render(text)
        size = len(text) / 1e6
        if not with_end:
            return render(text[:TEXT_LIMIT]) + self._left_out(f"The rest of {size:.1f} MB is")
        note = self._left_out(f"The middle of an output of {size:.1f} MB is")
        return render(text[:TEXT_LIMIT]) + note + _pre(text[-TAIL:])

    def _left_out(self, what: str) -> str:
        self.held["output cut short"] += 1
        where = "the executed notebook"
        if self.notebook:
            where = f'<a href="{escape(self.notebook)}">{where}</a>'
        return (
            f'<p class="held-back" role="note">{escape(what)} left out; {where} has everything.</p>'
        )


def _held_note(what: str) -> str:
    return f'<p class="held-back" role="note">Held back: {escape(what)}.</p>'


def _pre(text: str, kind: str = "plain") -> str:
    # Exact colours would not be readable in the dark.
    label = ' aria-label="standard error"' if kind == "stderr" else ""
    coloured = re.sub(r'<span([^>]*) style="[^"]*"', r"<span\1 data-colour", ansi2html(text))
    return f'<pre class="{kind}" tabindex="0"{label}>{coloured}</pre>'

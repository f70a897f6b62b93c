"""Markdown with formulas -> HTML that needs neither a script nor the network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from taxi_nb.pipeline.report._untrusted import Safe, sanitised
from taxi_nb.pipeline.report.figures import IMAGES, encoded_image


@dataclass(frozen=True)
class Heading:
    """A heading of a notebook: where a table of contents leads."""

    level: int
    text: str
    id: str


class Prose:
    """Turns a notebook's markdown into HTML and collects its headings.

    `prefix` comes before every id, so that several notebooks can share a page. Pictures in
    `folder`, the source notebook's, are put into the page.
    """

    def __init__(self, prefix: str, folder: Path) -> None:
        self.prefix = prefix
        self.folder = folder
        # Whether a file beside the notebook was put in, or looked for: it may be another later.
        self.reads_files = False
        self.headings: list[Heading] = []

    def cell(self, source: str, attachments: Mapping[str, Any]) -> Safe:
        """Render a markdown cell; its headings count for the table of contents."""
        renderer = _Renderer(self, dict(attachments))
        html = _with_ticks(MarkdownWithMath(renderer=renderer).render(source))
        return sanitised(html, ids={heading.id for heading in self.headings})

    def output(self, source: str) -> Safe:
        """Render markdown that code displayed; its headings are not the notebook's."""
        html = _with_ticks(MarkdownWithMath(renderer=_Renderer(None, {})).render(source))
        return sanitised(html)

    def with_links(self, html: str) -> str:
        """Lead links within the notebook to its headings, by the names that editors give them.

        JupyterLab's anchor of "Data loading" is ``Data-loading``; others write ``data-loading``.
        """
        places: dict[str, str] = {}
        for heading in self.headings:
            anchor = heading.text.replace(" ", "-")
            for name in (anchor, anchor.lower(), re.sub(r"[^\w-]", "", anchor.lower())):
                places.setdefault(name, heading.id)

        def led(found: re.Match[str]) -> str:
            name = unquote(unescape(found[1]))
            place = places.get(name) or places.get(name.lower())
            return f'href="#{place}"' if place else found[0]

        return self._with_places(re.sub(r'(?<=<a )href="#([^"]+)"', led, html))

    def _with_places(self, html: str) -> str:
        """Put a link to itself beside each heading: an address that can be sent."""
        known = {heading.id: heading.text for heading in self.headings}

        def placed(found: re.Match[str]) -> str:
            if (text := known.get(found[2])) is None:
                return found[0]
            link = f'<a class="here" href="#{found[2]}" aria-label="Link to {escape(text)}"></a>'
            return f'<div class="heading">{found[0]}{link}</div>'

        return re.sub(r'<h([1-6]) id="([^"]+)">.*?</h\1>', placed, html, flags=re.DOTALL)

    def add_heading(self, level: int, html: str) -> Heading:
        """Give a heading an id of its own."""
        text = unescape(re.sub(r"<[^>]*>", "", html)).strip()
        base = f"{self.prefix}{re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-') or 'section'}"
        taken = {heading.id for heading in self.headings}
        id_, number = base, 2
        while id_ in taken:
            id_, number = f"{base}-{number}", number + 1
        self.headings.append(Heading(level, text, id_))
        return self.headings[-1]


class _Renderer(IPythonRenderer):
    """nbconvert's renderer, with formulas as MathML and headings that can be linked to."""

    def __init__(self, prose: Prose | None, attachments: dict[str, Any]) -> None:
        super().__init__(
            escape=False,
            exclude_anchor_links=True,
            embed_images=prose is not None,
            path=str(prose.folder) if prose else "",
            attachments=attachments,
        )
        self.prose = prose

    def heading(self, text: str, level: int, **_: Any) -> str:
        if self.prose is None:
            return f"<h{level}>{text}</h{level}>\n"
        return f'<h{level} id="{self.prose.add_heading(level, text).id}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        return _mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def latex_environment(self, name: str, body: str) -> str:
        return _mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def _embed_image_or_attachment(self, src: str) -> str:
        found = self._src_to_base64(src) if self.embed_images else None
        return src if found is None else found

    def _src_to_base64(self, src: str) -> str | None:
        """Return a picture's data; nothing of an attachment that the cell does not have."""
        kind, _, name = src.partition(":")
        if kind != "attachment":
            if self.prose:
                self.prose.reads_files = True
            embedded: str | None = super()._src_to_base64(src)
            return embedded
        attached = self.attachments.get(name) or self.attachments.get(unquote(name)) or {}
        for kind in (kind for kind in IMAGES if kind in attached):
            data = "".join(map(str, attached[kind]))
            if kind == "image/svg+xml" and not data.lstrip().startswith("<"):
                return f"data:{kind};base64,{data}"
            return f"data:{kind};base64,{encoded_image(kind, data) or ''}"
        return ""

    def _html_embed_images(self, html: str) -> str:
        """Put pictures in; only their addresses change, since a piece may be half an element."""

        def embedded(found: re.Match[str]) -> str:
            source = self._src_to_base64(unescape(found["src"]))
            return found[0] if source is None else f'{found["tag"]}"{source}"'

        return _IMAGE_SOURCE.sub(embedded, html)


_IMAGE_SOURCE = re.compile(
    r"""(?P<tag><img\b[^>]*?\bsrc\s*=\s*)(?P<quote>["']?)(?P<src>[^"'>]*?)(?P=quote)(?=[\s/>])""",
    re.IGNORECASE,
)


def _with_ticks(html: str) -> str:
    """Write the boxes of a list of tasks as signs: a page has nothing to fill in."""
    box = r'<input class="task-list-item-checkbox" type="checkbox" disabled( checked)?\s*/?>'
    return re.sub(box, lambda found: "☑ " if found[1] else "☐ ", html)


def _mathml(formula: str, display: str) -> str:
    """Convert LaTeX; a formula that cannot be converted is shown as it was written."""
    from latex2mathml.converter import convert

    numberless = re.sub(r"\\(begin|end)\{(align|equation|gather)\}", r"\\\1{\2*}", formula)
    try:
        return str(convert(numberless.strip(), display=display))
    except Exception:  # Its errors have no common ancestor.
        return f"<code>{escape(formula.strip())}</code>"

"""HTML from a notebook, made harmless: what is kept, and a count of what is held back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

Held = Counter[str]

_MATHML = {
    *("math", "mi", "mn", "mo", "ms", "mtext", "mspace", "mrow", "mfrac", "msqrt", "mroot"),
    *("msub", "msup", "msubsup", "munder", "mover", "munderover", "mtable", "mtr", "mtd"),
    *("mpadded", "mphantom", "menclose", "mstyle", "mmultiscripts", "mprescripts"),
}
_EXTRA_TAGS = {"details", "summary", "figure", "figcaption", "section", "caption"}
_ATTRIBUTES = {
    "*": {"class", "id", "style", "title", "lang", "dir"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "details": {"open"},
    "ol": {"start"},
    "th": {"colspan", "rowspan", "scope"},
    "td": {"colspan", "rowspan"},
    "math": {"display", "xmlns"},
    "mo": {"stretchy", "fence", "separator", "form", "lspace", "rspace", "minsize", "maxsize"},
    "mi": {"mathvariant"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "mfrac": {"linethickness"},
    "mspace": {"width"},
    "mtable": {"displaystyle", "rowspacing", "columnspacing", "columnalign"},
    "mtd": {"columnalign", "columnspan"},
    "mstyle": {"displaystyle", "scriptlevel"},
}
_STYLES = {"text-align", "color", "background-color", "font-weight", "font-style", "white-space"}
_INLINE_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*\Z")
# A highlighter's classes are short; ours are longer, so that none of them can be imitated.
_HARMLESS_CLASS = re.compile(r"[a-z]{1,2}\d?|highlight|dataframe|task-list-item\S*|language-[\w-]+")

# The kind that a tag is counted as.
_KINDS = {
    "script": "script",
    **dict.fromkeys(("iframe", "frame", "object", "embed", "applet", "portal"), "frame"),
    **dict.fromkeys(("form", "input", "button", "textarea", "select"), "form field"),
    **dict.fromkeys(("base", "meta"), "page instruction"),
}
_LOADING = ("img", "video", "audio", "source", "track", "link", "image", "use")
_ADDRESSES = ("href", "src", "action", "formaction", "xlink:href", "data")


@dataclass(frozen=True)
class Safe:
    """HTML that can stand in a page, and how many scripts, frames and so on it lacks."""

    html: str
    held: Held = field(default_factory=Counter)


def sanitised(html: str, *, ids: Collection[str] = (), keep_styles: bool = False) -> Safe:
    """Keep of some HTML the parts that cannot run, load or pose as part of the page.

    Elements may keep `ids`. ``<style>`` is kept for HTML that goes into a frame of its own.
    """
    import nh3

    def kept(tag: str, attribute: str, value: str) -> str | None:
        if attribute == "id":
            return value if keep_styles or value in ids else None
        if attribute == "class" and not keep_styles:
            return " ".join(c for c in value.split() if _HARMLESS_CLASS.fullmatch(c)) or None
        if attribute == "src":
            return value if _INLINE_IMAGE.match(value) else None
        if attribute == "href" and value.lower().startswith("data:"):
            return None
        return value

    styles = {"style"} if keep_styles else set()
    clean = nh3.clean(
        html,
        tags={*nh3.ALLOWED_TAGS, *_MATHML, *_EXTRA_TAGS, *styles},
        clean_content_tags={"script", "style", "title", "textarea", "noscript"} - styles,
        attributes=_ATTRIBUTES,
        attribute_filter=kept,
        url_schemes={"http", "https", "mailto", "data"},
        filter_style_properties=None if keep_styles else _STYLES,
    )
    return Safe(re.sub(r"<img[^>]*>", _described, clean), held_back(html))


def _described(image: re.Match[str]) -> str:
    """Give a picture words; one that would have been loaded leaves nothing but them."""
    words = re.search(r'\balt="([^"]+)"', image[0])
    if 'src="' not in image[0]:
        return f"[{words[1]}]" if words else ""
    return image[0] if words else image[0].replace("<img", '<img alt="a picture without words"')


def held_back(html: str) -> Held:
    """Count what `sanitised` does not let through."""
    counter = _HeldCounter()
    counter.feed(html)
    counter.close()
    return counter.held


def needs_frame(html: str) -> bool:
    """Whether some HTML brings a style sheet of its own, which must not reach the page.

    pandas' scoped one only aligns its table, and the page does that itself.
    """
    return re.search(r"<style(?![^>]*\bscoped)", html, re.IGNORECASE) is not None


def in_words(held: Mapping[str, int]) -> str:
    """Return ``2 scripts, 1 event handler``."""
    return ", ".join(
        f"{n} {kind if n == 1 else _PLURALS.get(kind, f'{kind}s')}"
        for kind, n in sorted(held.items())
    )


_PLURALS = {
    "cell without its code": "cells without their code",
    "cell without its outputs": "cells without their outputs",
    "load from elsewhere": "loads from elsewhere",
    "output cut short": "outputs cut short",
    "script address": "script addresses",
}


class _HeldCounter(HTMLParser):
    """Counts by kind; it informs, the sanitiser decides."""

    def __init__(self) -> None:
        super().__init__()
        self.held: Held = Counter()

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        given = [(name, (value or "").strip()) for name, value in attrs]
        self._count_tag(tag, dict(given))
        self.held["event handler"] += sum(name.startswith("on") for name, _ in given)
        addresses = [re.sub(r"\s", "", value) for name, value in given if name in _ADDRESSES]
        self.held["script address"] += sum(
            address.lower().startswith(("javascript:", "vbscript:")) for address in addresses
        )
        self.held = +self.held

    def _count_tag(self, tag: str, given: dict[str, str]) -> None:
        if tag in _KINDS:
            self.held[_KINDS[tag]] += 1
        elif tag in _LOADING:
            address = given.get("src") or given.get("href") or given.get("xlink:href") or ""
            if address and not _INLINE_IMAGE.match(address) and not address.startswith("#"):
                self.held["load from elsewhere"] += 1

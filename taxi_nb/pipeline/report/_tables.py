"""Tables that a notebook shows: numbers to the right, one format a column, headings with words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape, unescape
from itertools import takewhile

_TAG = re.compile(r'<(?P<end>/?)(?P<name>[a-zA-Z][\w-]*)(?P<attributes>(?:[^>"]|"[^"]*")*)>')
_NUMBER = re.compile(
    r"(?P<sign>[-−+]?)(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<decimals>\d*))?"
    r"(?P<exponent>e[-+]?\d+)?(?P<percent>\s?%)?",
    re.IGNORECASE,
)
_NO_VALUE = re.compile(r"|nan|nat|none|null|<na>|[-–—]|[-−+]?(inf|∞)", re.IGNORECASE)
# Digits that each number of a column keeps where the column gets one format.
_DIGITS = 4
# More columns than these are broken within words to fit on paper.
_MANY = 12


@dataclass
class _Cell:
    """A cell, by the places of its tags among a table's pieces."""

    start: int
    end: int
    is_heading: bool
    column: int
    span: int
    classes: list[str] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class _Row:
    start: int
    end: int
    in_head: bool
    cells: list[_Cell] = field(default_factory=list)


def legible(html: str, name: str, words: Mapping[str, str], *, first: int = 1) -> tuple[str, int]:
    """Make the tables in sanitised HTML legible; return it and how many there are.

    A table can be scrolled by key, as what is preformatted can, and is called by its number, from
    `first`, and `name`. Columns of numbers stand to the right with one format. Headings that
    `words` has get its words.
    """
    pieces = _pieces(html)
    depth, begun, number, written = 0, 0, first, []
    for place, piece in enumerate(pieces):
        tag = _TAG.fullmatch(piece)
        if tag is None or tag["name"].lower() != "table":
            if depth == 0:
                written.append(piece)
            continue
        if not tag["end"]:
            begun = place if depth == 0 else begun
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                label = escape(f"Table {number}: {name}" if name else f"Table {number}")
                written.append(_table(pieces[begun : place + 1], label, words))
                number += 1
    return "".join([*written, *(pieces[begun:] if depth else ())]), number - first


def _pieces(html: str) -> list[str]:
    """Cut HTML into tags and what stands between them."""
    found, last = [], 0
    for tag in _TAG.finditer(html):
        is_pre = tag["name"].lower() == "pre" and not tag["end"]
        by_key = f'<pre tabindex="0"{tag["attributes"]}>'
        found += [html[last : tag.start()], by_key if is_pre else tag[0]]
        last = tag.end()
    return [*found, html[last:]]


def _table(pieces: list[str], label: str, words: Mapping[str, str]) -> str:
    rows = list(_rows(pieces))
    if not any(row.in_head for row in rows):
        # Headings alone at the top are a head, whether it is called one or not.
        for row in takewhile(lambda row: all(cell.is_heading for cell in row.cells), rows):
            row.in_head = True
    _join_heads(pieces, rows)
    columns: dict[int, list[_Cell]] = {}
    for row in rows:
        for cell in row.cells:
            if not row.in_head and cell.span == 1:
                columns.setdefault(cell.column, []).append(cell)
    numeric = {column for column, cells in columns.items() if _format(pieces, cells)}
    for row in rows:
        for cell in row.cells:
            _mark(pieces, cell, in_head=row.in_head, numeric=numeric, words=words)
    width = 1 + max((cell.column for row in rows for cell in row.cells), default=0)
    classes = "table many" if width > _MANY else "table"
    return (
        f'<div class="{classes}" role="region" tabindex="0" aria-label="{label}" '
        f'style="--columns:{width}">{"".join(pieces)}</div>'
    )


def _rows(pieces: Sequence[str]) -> Iterator[_Row]:
    """Yield the rows of a table without those of tables within it."""
    depth, in_head = 0, False
    row: _Row | None = None
    # Columns that a cell above still covers, and for how many rows.
    covered: dict[int, int] = {}
    for place, piece in enumerate(pieces):
        tag = _TAG.fullmatch(piece)
        if tag is None:
            continue
        name, is_end = tag["name"].lower(), bool(tag["end"])
        if name == "table":
            depth += -1 if is_end else 1
        elif depth != 1:
            continue
        elif name == "thead":
            in_head = not is_end
        elif name == "tr" and not is_end:
            row = _Row(place, place, in_head)
        elif name == "tr" and row is not None:
            row.end = place
            yield row
            row = None
        elif name in ("td", "th") and row is not None:
            if is_end and row.cells:
                row.cells[-1].end = place
            elif not is_end:
                row.cells.append(_cell(place, tag, row, covered))


def _cell(place: int, tag: re.Match[str], row: _Row, covered: dict[int, int]) -> _Cell:
    last = row.cells[-1] if row.cells else None
    column = last.column + last.span if last else 0
    while covered.get(column, 0):
        covered[column] -= 1
        column += 1
    span, down = (_spanned(tag["attributes"], name) for name in ("colspan", "rowspan"))
    for right in range(column, column + span):
        covered[right] = down - 1
    return _Cell(place, place, tag["name"].lower() == "th", column, span)


def _spanned(attributes: str, name: str) -> int:
    found = re.search(rf'\b{name}="(\d{{1,3}})"', attributes)
    return max(1, int(found[1])) if found else 1


def _inside(pieces: Sequence[str], cell: _Cell) -> str:
    return "".join(pieces[cell.start + 1 : cell.end])


def _text(pieces: Sequence[str], cell: _Cell) -> str | None:
    """Return a cell's text; None if there is more in it."""
    inside = _inside(pieces, cell)
    return None if "<" in inside else unescape(inside).strip()


def _write(pieces: list[str], cell: _Cell, inside: str) -> None:
    pieces[cell.start + 1 : cell.end] = [inside, *[""] * (cell.end - cell.start - 2)]


def _join_heads(pieces: list[str], rows: Sequence[_Row]) -> None:
    """Put the names of a frame's index, which pandas gives a row of their own, beside the others.

    That is a last row of headings that fills only places which the row above it leaves empty.
    """
    heads = [row for row in rows if row.in_head]
    if len(heads) < 2:
        return
    above, last = heads[-2:]
    room = {cell.column: cell for cell in above.cells if not _inside(pieces, cell).strip()}
    named = [cell for cell in last.cells if _inside(pieces, cell).strip()]
    if not named or any(cell.column not in room or cell.span > 1 for cell in named):
        return
    for cell in named:
        _write(pieces, room[cell.column], _inside(pieces, cell))
    pieces[last.start : last.end + 1] = [""] * (last.end + 1 - last.start)
    last.cells.clear()


def _format(pieces: list[str], cells: Sequence[_Cell]) -> bool:
    """Give a column of numbers one format; return whether it is one."""
    texts = [_text(pieces, cell) for cell in cells]
    found = [None if text is None else _NUMBER.fullmatch(text) for text in texts]
    others = (text for text, number in zip(texts, found, strict=True) if number is None)
    if not any(found) or not all(text is not None and _NO_VALUE.fullmatch(text) for text in others):
        return False
    numbers = [number for number in found if number]
    places = 0 if any(number["exponent"] for number in numbers) else _places(numbers)
    for cell, number in zip(cells, found, strict=True):
        if number is None:
            cell.classes.append("none")
        elif places and len(number["decimals"] or "") != places:
            _give_places(pieces, cell, number, places)
    return True


def _places(numbers: Sequence[re.Match[str]]) -> int:
    """Return how many decimals a column shall have: as many as tell something of each number.

    A column that has one format already keeps it.
    """
    given = {len(number["decimals"] or "") for number in numbers}
    most = max(given)
    if len(given) == 1:
        return most
    values = [_value(number) for number in numbers if number["decimals"]]
    told = max((_DIGITS - 1 - value.adjusted() for value in values if value), default=0)
    return min(most, max(told, 1))


def _value(number: re.Match[str]) -> Decimal:
    whole = number["whole"].replace(",", "")
    return Decimal(f"{number['sign'].replace('−', '-')}{whole}.{number['decimals'] or 0}")


def _give_places(pieces: list[str], cell: _Cell, number: re.Match[str], places: int) -> None:
    if not number["decimals"]:
        # A count stays a count: the point's place is kept free beside it.
        if not number["percent"]:
            cell.attributes["data-pad"] = "." + "0" * places
        return
    comma = "," if "," in number["whole"] else ""
    sign = "+" if number["sign"] == "+" else ""
    shown = f"{_value(number):{sign}{comma}.{places}f}"
    if "−" in number["sign"]:
        shown = shown.replace("-", "−")
    if len(number["decimals"]) > places:
        cell.attributes["title"] = number[0]
    _write(pieces, cell, shown + (number["percent"] or ""))


def _mark(
    pieces: list[str], cell: _Cell, *, in_head: bool, numeric: set[int], words: Mapping[str, str]
) -> None:
    """Give a cell its classes, a heading its scope and its words."""
    text = _text(pieces, cell)
    # A heading without words is none.
    name = "th" if cell.is_heading and text != "" else "td"
    if cell.is_heading and text in words:
        inside = _inside(pieces, cell)
        _write(pieces, cell, f'{inside} <span class="meaning">{escape(words[text or ""])}</span>')
    if cell.column in numeric and cell.span == 1:
        cell.classes.append("number")
    if cell.column == 0:
        cell.classes.append("first")
    given = _TAG.fullmatch(pieces[cell.start])
    attributes = re.sub(r'\sclass="[^"]*"', "", given["attributes"]) if given else ""
    if name == "th" and "scope=" not in attributes:
        groups = "group" if cell.span > 1 else ""
        cell.attributes["scope"] = f"{'col' if in_head else 'row'}{groups if in_head else ''}"
    if cell.classes:
        cell.attributes["class"] = " ".join(cell.classes)
    added = "".join(f' {key}="{escape(value)}"' for key, value in cell.attributes.items())
    pieces[cell.start] = f"<{name}{attributes}{added}>"
    pieces[cell.end] = f"</{name}>"

"""Two executions of a notebook, cell by cell: which cells differ, and where in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from taxi_nb.pipeline._notebook_file import INJECTED, tags_of
from taxi_nb.pipeline.report._texts import shown_text
from taxi_nb.pipeline.report.executed import ExecutedNotebook, hidden_parts, what_varies
from taxi_nb.pipeline.report.figures import Figure

# A longer text is compared by its beginning and its digest.
_TEXT_LIMIT = 20_000
# Rows of a part of a cell, and cells of a notebook; more is a file to open, not a page to read.
_MOST_ROWS = 200
_MOST_CELLS = 200
# Lines without a change that are shown around one.
_AROUND = 2
# How much of its words a cell has to share with one that it is taken to be, if it has no id.
_ALIKE = 0.5
# The most pairs of cells whose words are compared.
_MOST_PAIRS = 2_500
# Of a longer line only the beginning is compared word by word.
_LONG_LINE = 1_000
_GAP = re.compile(r" {2,}")
_WORD = re.compile(r"\d(?:[\d.,]*\d)?|\w+|\s+|.", re.DOTALL)


# A line on one side, cut where words begin and end to be others: text, and whether it is other.
Side = tuple[tuple[str, bool], ...]


# The places of a cell in both notebooks; None where it is not.
_Places = tuple[int | None, int | None]
_Opcode = tuple[str, int, int, int, int]


@dataclass(frozen=True)
class Row:
    """A line of both sides; a side that does not have it is None. `skipped` lines are the same."""

    before: Side | None
    after: Side | None
    changed: bool = False
    skipped: int = 0


@dataclass(frozen=True)
class Part:
    """A cell's code, prose or output that differs."""

    name: str
    rows: tuple[Row, ...]
    left_out: int


@dataclass(frozen=True)
class FigurePair:
    """A figure of a cell in both runs; a side that does not have it is None."""

    title: str
    before: Figure | None
    after: Figure | None


@dataclass(frozen=True)
class CellChange:
    """A cell that differs; its number on a side that does not have it is None.

    `varies` is what its author says of an output that is never the same.
    """

    before: int | None
    after: int | None
    kind: str
    parts: tuple[Part, ...]
    figures: tuple[FigurePair, ...]
    varies: str | None


@dataclass(frozen=True)
class NotebookChange:
    """The cells of a step that differ, of `compared` ones; a `note` says why none was compared.

    `hidden` counts differences in what its author hides, which no page shows.
    """

    step: str
    cells: tuple[CellChange, ...] = ()
    compared: int = 0
    same_figures: int = 0
    hidden: int = 0
    left_out: int = 0
    note: str | None = None

    @property
    def differs(self) -> bool:
        return bool(self.cells or self.hidden or self.note)


def notebook_change(
    step: str, before: ExecutedNotebook, after: ExecutedNotebook, *, figures_alone: bool = False
) -> NotebookChange:
    """Compare two executions of a step, or nothing but their figures."""
    if after.path.samefile(before.path):
        return NotebookChange(step, same_figures=len(after.figures))
    sides = before.content["cells"], after.content["cells"]
    figures = [_by_cell(notebook) for notebook in (before, after)]
    changes, compared, same_figures, hidden = [], 0, 0, 0
    for old, new in _aligned(*sides):
        cells = [None if n is None else side[n] for n, side in zip((old, new), sides, strict=True)]
        known = next(cell for cell in reversed(cells) if cell is not None)
        numbers = [None if place is None else place + 1 for place in (old, new)]
        shown = [by.get(number, []) for by, number in zip(figures, numbers, strict=True)]
        pairs = [_pair(*pair) for pair in zip_longest(*shown)]
        changed = tuple(pair for pair in pairs if not _is_same(pair))
        same_figures += len(pairs) - len(changed)
        compared += 1
        parts: tuple[Part, ...] = ()
        if not figures_alone:
            parts, hides = _parts(*cells)
            hidden += hides
        if parts or changed:
            kind = known["cell_type"]
            varies = what_varies(known) if kind == "code" else None
            changes.append(CellChange(numbers[0], numbers[1], kind, parts, changed, varies))
    left_out = max(0, len(changes) - _MOST_CELLS)
    kept = tuple(changes[:_MOST_CELLS])
    return NotebookChange(step, kept, compared, same_figures, hidden, left_out)


def _by_cell(notebook: ExecutedNotebook) -> dict[int | None, list[Figure]]:
    found: dict[int | None, list[Figure]] = {}
    for figure in notebook.figures:
        found.setdefault(figure.cell, []).append(figure)
    return found


def _pair(before: Figure | None, after: Figure | None) -> FigurePair:
    named = after or before
    return FigurePair(named.key if named else "", before, after)


def _is_same(pair: FigurePair) -> bool:
    return bool(pair.before and pair.after and pair.before.digest == pair.after.digest)


def _opcodes(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[_Opcode]:
    return list(SequenceMatcher(None, before, after, autojunk=False).get_opcodes())


def _aligned(before: Sequence[Any], after: Sequence[Any]) -> Iterator[_Places]:
    """Pair the places of cells that are the same cell, in their order."""
    keys = [[(cell["cell_type"], _source(cell)) for cell in side] for side in (before, after)]
    for kind, old, old_end, new, new_end in _opcodes(*keys):
        olds, news = range(old, old_end), range(new, new_end)
        if kind == "equal":
            yield from zip(olds, news, strict=True)
        else:
            yield from _alike(olds, news, before, after)


def _alike(
    olds: range, news: range, before: Sequence[Any], after: Sequence[Any]
) -> Iterator[_Places]:
    """Pair cells that were edited: those of one id, or of many words in common."""
    may_compare = len(olds) * len(news) <= _MOST_PAIRS
    waiting = list(olds)
    for new in news:
        of_kind = [old for old in waiting if before[old]["cell_type"] == after[new]["cell_type"]]
        found = next((old for old in of_kind if _same_id(before[old], after[new])), None)
        if found is None and len(olds) == len(news) == 1:
            found = next(iter(of_kind), None)
        if found is None and may_compare:
            alike = ((_likeness(before[old], after[new]), -old) for old in of_kind)
            best, place = max(alike, default=(0.0, 0))
            found = -place if best >= _ALIKE else None
        if found is not None:
            # What stands before it and was not paired is gone.
            yield from ((old, None) for old in waiting[: waiting.index(found)])
            waiting = waiting[waiting.index(found) + 1 :]
        yield found, new
    yield from ((old, None) for old in waiting)


def _same_id(before: Any, after: Any) -> bool:
    return bool(before.get("id")) and before.get("id") == after.get("id")


def _likeness(before: Any, after: Any) -> float:
    return SequenceMatcher(None, before["source"].split(), after["source"].split()).ratio()


def _source(cell: Any) -> str:
    # Parameters are compared as such; where they are given, one cell has them.
    return "" if INJECTED in tags_of(cell) else str(cell["source"])


def _parts(before: Any | None, after: Any | None) -> tuple[tuple[Part, ...], int]:
    """Return the parts of a cell that differ and may be shown, and how many may not."""
    both = [cell for cell in (before, after) if cell is not None]
    hides = frozenset[str]().union(*map(hidden_parts, both))
    kind = both[-1]["cell_type"]
    if any(INJECTED in tags_of(cell) for cell in both):
        return (), 0
    sources = [cell["source"] if cell else "" for cell in (before, after)]
    shown = [shown_text(cell.get("outputs", ())) if cell else "" for cell in (before, after)]
    found, hidden = [], 0
    for name, part, texts in (("code", "code", sources), ("output", "outputs", shown)):
        if texts[0] == texts[1]:
            continue
        if {part, "cell"} & hides:
            hidden += 1
            continue
        rows = list(_rows(*map(_bounded, texts), exact=name == "code"))
        if not any(row.changed for row in rows):
            continue
        title = "prose" if name == "code" and kind == "markdown" else name
        found.append(Part(title, tuple(rows[:_MOST_ROWS]), max(0, len(rows) - _MOST_ROWS)))
    return tuple(found), hidden


def _bounded(text: str) -> list[str]:
    if len(text) <= _TEXT_LIMIT:
        return text.splitlines()
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return [*text[:_TEXT_LIMIT].splitlines(), f"… {len(text):,} characters, digest {digest}"]


def _rows(before: Sequence[str], after: Sequence[str], *, exact: bool) -> Iterator[Row]:
    """Put lines beside each other, of the same ones those around a change.

    Where it is not `exact`, the width of a gap is no difference: a table's columns give way.
    """
    keys = [[line if exact else _GAP.sub("  ", line) for line in side] for side in (before, after)]
    codes = _opcodes(*keys)
    for place, (kind, old, old_end, new, new_end) in enumerate(codes):
        if kind != "equal":
            for left, right in zip_longest(before[old:old_end], after[new:new_end]):
                yield _row(left, right, exact=exact)
            continue
        both = zip(before[old:old_end], after[new:new_end], strict=True)
        same = [Row(((left, False),), ((right, False),)) for left, right in both]
        first = 0 if place == 0 else _AROUND
        last = 0 if place == len(codes) - 1 else _AROUND
        if len(same) - first - last < 2:
            yield from same
            continue
        yield from same[:first]
        yield Row(None, None, skipped=len(same) - first - last)
        yield from same[len(same) - last :]


def _row(before: str | None, after: str | None, *, exact: bool) -> Row:
    if before is None or after is None:
        old_side, new_side = (line if line is None else ((line, True),) for line in (before, after))
        return Row(old_side, new_side, changed=True)
    words = [_WORD.findall(line[:_LONG_LINE]) for line in (before, after)]
    keys = [[" " if not exact and w.isspace() else w for w in side] for side in words]
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for kind, old, old_end, new, new_end in _opcodes(*keys):
        for side, found in ((left, words[0][old:old_end]), (right, words[1][new:new_end])):
            if found:
                side.append(("".join(found), kind != "equal"))
    rest = before[_LONG_LINE:], after[_LONG_LINE:]
    for side, text in zip((left, right), rest, strict=True):
        if text:
            side.append((text, rest[0] != rest[1]))
    return Row(tuple(left), tuple(right), changed=True)

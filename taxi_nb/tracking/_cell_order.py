"""Whether what a person ran in a notebook is what running it from the top would do."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import pairwise

from taxi_nb.tracking.origin import Origin, executed_sources, stored_cells

# A cell among all of a notebook, from 1, and its source.
Numbered = tuple[int, str]

# Magics of ours that only show something.
_SHOWING = ("%load_ext", "%reload_ext", "%plan", "%report", "%to_step", "?")
_REOPEN = "%reopen"
_MOST_NAMES = 5


def top_to_bottom(origin: Origin) -> str | None:
    """Return "yes", or "no: " and why, of the notebook that this kernel runs; None elsewhere.

    The notebook is compared as it is on disk, since that is what a run keeps of it.
    """
    executed = executed_sources()
    if executed is None or origin.kind != "NOTEBOOK" or origin.file is None:
        return None
    try:
        cells = enumerate(stored_cells(origin.file), 1)
        code = [(n, "".join(cell["source"])) for n, cell in cells if cell["cell_type"] == "code"]
    except (ImportError, OSError, ValueError, KeyError, TypeError):
        return None
    why = next(_reasons(executed, code), None)
    return f"no: {why}" if why else "yes"


def _reasons(executed: Sequence[str], cells: Sequence[Numbered]) -> Iterator[str]:
    """Yield why the state may be another than from the top down, the weightiest first."""
    cells = [(number, source.strip()) for number, source in cells if _changes_state(source)]
    ran = [source.strip() for source in executed if _changes_state(source)]
    if any(source.startswith(_REOPEN) for source in ran):
        yield f"{_REOPEN} has brought a step's cells into this kernel"
    places = _places(ran, cells)
    if ran and places[-1] is None:
        yield "the notebook on disk has no such cell as the one that ran last: save it before"
    if None in places:
        gone = [source for source, place in zip(ran, places, strict=True) if place is None]
        names = sorted(_bound(gone) - _bound([source for _, source in cells]))
        shown = ", ".join(names[:_MOST_NAMES]) + (" and more" if len(names) > _MOST_NAMES else "")
        came = f", and {shown} came from there" if names else ""
        yield f"a cell ran that has been changed or deleted since{came}"
    known = [place for place in places if place is not None]
    for before, place in pairwise(known):
        if place == before:
            yield f"cell {place} ran twice"
        elif place < before:
            yield f"cell {place} ran after cell {before}"
    for number, _ in cells:
        if number not in known and number < max(known, default=0):
            yield f"cell {number} did not run"


def _changes_state(source: str) -> bool:
    lines = [line.strip() for line in source.splitlines() if line.strip()]
    return not all(line.startswith((*_SHOWING, "#")) or line.endswith("?") for line in lines)


def _places(ran: Sequence[str], cells: Sequence[Numbered]) -> list[int | None]:
    """Return the number of the cell that each source is of; of equal cells the next one down."""
    found: list[int | None] = []
    last = 0
    for source in ran:
        same = [number for number, cell in cells if cell == source]
        place = next((number for number in same if number > last), same[0] if same else None)
        last = place or last
        found.append(place)
    return found


def _bound(sources: Sequence[str]) -> set[str]:
    """Return the names that sources give values to; of one with magics none is known."""
    found = set()
    for source in sources:
        try:
            nodes = list(ast.walk(ast.parse(source)))
        except SyntaxError:
            continue
        found |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        found |= {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return found

"""Which cells of a notebook logged a run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# What a cell calls that opens a run of each kind; where the notebook has no times.
_OPENERS = {
    "training": {"train", "tune"},
    "registration": {"promote_if_better", "promote"},
    "scoring": {"score"},
}
_ALWAYS = {"tracked_run", "start_run"}


@dataclass(frozen=True)
class LoggingCell:
    """A cell that logged a run.

    Attributes
    ----------
    number : int
        Among all cells of the notebook that was looked at, from 1.
    evidence : str
        How that is known.
    source : str
        Its code.
    """

    number: int
    evidence: str
    source: str

    @property
    def first_line(self) -> str:
        """Return the first line of code that is no comment."""
        lines = [line for line in self.source.splitlines() if line.strip()]
        return next((line for line in lines if not line.startswith("#")), "").strip()


def cells_by_time(
    notebook: Mapping[str, Any], moments: Mapping[str, int]
) -> tuple[LoggingCell, ...]:
    """Find the cells that were executing when something was logged.

    Parameters
    ----------
    moments : mapping
        What was logged -> when: milliseconds since 1970.
    """
    found = []
    for number, cell in enumerate(notebook["cells"], 1):
        times = _began_and_ended(cell)
        if times is None or cell["cell_type"] != "code":
            continue
        names = [name for name, at in moments.items() if times[0] <= at <= times[1]]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            evidence = f"was executing when {', '.join(names[:3])}{more} came into the store"
            found.append(LoggingCell(number, evidence, cell["source"]))
    return tuple(found)


def cells_by_call(notebook: Mapping[str, Any], kind: str | None) -> tuple[LoggingCell, ...]:
    """Find the cells that call what opens runs of a kind."""
    openers = _OPENERS.get(kind or "", set()) or _ALWAYS
    return tuple(
        LoggingCell(number, f"calls {', '.join(sorted(calls))}", cell["source"])
        for number, cell in enumerate(notebook["cells"], 1)
        if cell["cell_type"] == "code" and (calls := openers & set(_calls(cell["source"])))
    )


def _calls(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # IPython's own syntax.
        return
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                yield name


def _began_and_ended(cell: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return when papermill had a cell executed, in milliseconds, both borders within."""
    told = cell["metadata"].get("papermill", {})
    try:
        began, ended = (
            datetime.fromisoformat(told[name]).timestamp() for name in ("start_time", "end_time")
        )
    except (KeyError, TypeError, ValueError):
        return None
    return int(began * 1000), int(ended * 1000) + 1


def joined(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notebook's content with each source in one piece."""
    cells: Sequence[Mapping[str, Any]] = notebook["cells"]
    return {"cells": [{**cell, "source": "".join(cell["source"])} for cell in cells]}

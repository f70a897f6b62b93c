"""Finds the cells of a notebook that logged a run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from taxi_nb.pipeline.report.executed import started_and_ended
from taxi_nb.review.trace.nodes import Node

# The functions that open a run of each kind, for notebooks without times.
_OPENERS = {
    "training": {"train", "tune"},
    "registration": {"promote_if_better", "promote"},
    "scoring": {"score"},
}
_ALWAYS = {"tracked_run", "start_run"}


def cells_by_time(notebook: Mapping[str, Any], moments: Mapping[str, int]) -> tuple[Node, ...]:
    """Find the cells that were executing when metrics came in, at milliseconds since 1970."""
    found = []
    for number, cell in enumerate(notebook["cells"], 1):
        times = started_and_ended(cell["metadata"])
        if times is None or cell["cell_type"] != "code":
            continue
        # In whole milliseconds, as MLflow's, both ends included.
        began, ended = int(times[0].timestamp() * 1000), int(times[1].timestamp() * 1000) + 1
        names = [name for name, at in moments.items() if began <= at <= ended]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            evidence = f"was executing when {', '.join(names[:3])}{more} came into the store"
            found.append(_cell_node(number, cell["source"], evidence))
    return tuple(found)


def cells_by_call(notebook: Mapping[str, Any], kind: str) -> tuple[Node, ...]:
    """Find the cells that call a function which opens runs of a kind."""
    openers = _OPENERS.get(kind, set()) or _ALWAYS
    return tuple(
        _cell_node(number, cell["source"], f"calls {', '.join(sorted(calls))}")
        for number, cell in enumerate(notebook["cells"], 1)
        if cell["cell_type"] == "code" and (calls := openers & set(_calls(cell["source"])))
    )


def _cell_node(number: int, source: str, evidence: str) -> Node:
    """Name a cell by its first line of code that is no comment."""
    lines = (line for line in source.splitlines() if line.strip() and not line.startswith("#"))
    return Node("cell", f"{number}: {next(lines, '').strip()}", {"known by": evidence})


def _calls(source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # IPython's own syntax.
        return
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                yield name

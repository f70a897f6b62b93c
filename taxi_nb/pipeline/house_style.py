"""The house style of notebooks that are committed.

A notebook starts with a title, has one parameters cell whose every line has a type and a comment,
ends in a conclusion, and carries no outputs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taxi_nb.pipeline._annotations import parsed
from taxi_nb.pipeline._notebook_file import (
    PARAMETERS,
    NotebookError,
    code_cells,
    notebook_files,
    read_notebook,
)


def notebooks_in(folder: Path) -> list[Path]:
    """Return the notebooks in a folder and those below it."""
    return list(notebook_files(folder))


def complaints_about(path: Path) -> Iterator[str]:
    """Yield what is not in the style of a notebook's file, or that it is none."""
    try:
        yield from complaints(read_notebook(path))
    except NotebookError as error:
        yield str(error)


def complaints(notebook: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not in the style of a notebook that was read, a sentence each."""
    cells = notebook["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    for number, cell in enumerate(cells, start=1):
        if cell.get("outputs") or cell.get("execution_count"):
            yield f"cell {number} has outputs or an execution count"
    if not sources or not sources[0].startswith("# ") or cells[0]["cell_type"] != "markdown":
        yield "the first cell is not a title"
    if not any("**Conclusion.**" in source for source in sources[-1:]):
        yield "the last cell draws no conclusion"
    if sources[-2:-1] != ["## Conclusion"]:
        yield "the last section is not called Conclusion"
    tagged = [source for _, source, tags in code_cells(notebook) if PARAMETERS in tags]
    if len(tagged) != 1:
        yield f"{len(tagged)} cells have the tag {PARAMETERS!r}, not one"
    for source in tagged:
        yield from _untidy_parameters(source)


def _untidy_parameters(source: str) -> Iterator[str]:
    lines = source.splitlines()
    try:
        statements = parsed(source).body
    except SyntaxError as error:
        yield f"parameters line {error.lineno}: {error.msg}"
        return
    for statement in statements:
        if isinstance(statement, ast.ImportFrom):  # Of the types.
            continue
        if not isinstance(statement, ast.AnnAssign):
            yield f"parameters line {statement.lineno} has no type"
        if " # " not in lines[statement.lineno - 1]:
            yield f"parameters line {statement.lineno} has no comment"

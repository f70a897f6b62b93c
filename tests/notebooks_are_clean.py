"""Hold committed notebooks to the house style; `make lint` runs this on them.

A notebook starts with a title, has one parameters cell whose every line has a
type and a comment, ends in a conclusion, and carries no outputs.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat


def complaints(path: Path) -> Iterator[str]:
    """Yield what is wrong with a notebook, a line each."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.get("outputs") or cell.get("execution_count"):
            yield f"{path}: cell {number} has outputs or an execution count"
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        yield f"{path}: the first cell is not a title"
    if not any("**Conclusion.**" in cell.source for cell in notebook.cells[-1:]):
        yield f"{path}: the last cell draws no conclusion"
    if [cell.source for cell in notebook.cells[-2:-1]] != ["## Conclusion"]:
        yield f"{path}: the last section is not called Conclusion"
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        yield f"{path}: {len(tagged)} cells have the tag 'parameters', not one"
    for cell in tagged:
        yield from (f"{path}: {line}" for line in _untidy_parameters(cell.source))


def _untidy_parameters(source: str) -> Iterator[str]:
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom):  # Of the types.
            continue
        if not isinstance(statement, ast.AnnAssign):
            yield f"parameters line {statement.lineno} has no type"
        if " # " not in lines[statement.lineno - 1]:
            yield f"parameters line {statement.lineno} has no comment"


def main(paths: list[str]) -> int:
    """Print all complaints; return 1 if there are any."""
    found = [line for path in paths for line in complaints(Path(path))]
    print("\n".join(found) or f"{len(paths)} notebooks are clean")
    return 1 if found or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A notebook as it is to be committed: parameters in one cell, nothing that a run has left."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taxi_nb.pipeline._notebook_file import PARAMETERS, code_cells, notebook_of, tags_of
from taxi_nb.pipeline._parameter_candidates import Candidate

# Lines for a person in JupyterLab, which mean nothing in a pipeline or would give other values.
_FOR_LAB = re.compile(
    r"^[ \t]*%(load_ext[ \t]+taxi_nb|(params|plan|report|reopen|to_step)\b).*(\n|\Z)", re.MULTILINE
)
_NO_PARAMETERS = "# No parameters."
# What one run leaves in a cell's metadata, and in the notebook's.
_OF_RUNS = ("papermill", "execution", "ExecuteTime")
_OF_WHOLE_RUNS = ("papermill", "widgets")


def has_parameters(content: Mapping[str, Any]) -> bool:
    """Return whether a notebook has a parameters cell."""
    return any(PARAMETERS in tags for _, _, tags in code_cells(content))


def with_parameters(content: Mapping[str, Any], chosen: Sequence[Candidate]) -> dict[str, Any]:
    """Return a notebook that was read as it is to be committed, `chosen` in its parameters cell."""
    cells = list(_cells(content, chosen))
    _give_ids(cells)
    metadata = {key: one for key, one in content["metadata"].items() if key not in _OF_WHOLE_RUNS}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def without_questions(source: str) -> str:
    """Return a cell's code without lines that only a person in JupyterLab needs."""
    return _FOR_LAB.sub("", source)


def skeleton(title: str) -> dict[str, Any]:
    """Return a notebook in the house style that asks nothing yet."""
    cells = [
        _cell("markdown", f"# {title}?\n\nWhat this notebook asks, and why."),
        _cell("code", "seed: int = 42  # of whatever draws random numbers", [PARAMETERS]),
        _cell("code", "from IPython.display import Markdown"),
        _cell("markdown", "## Conclusion"),
        _cell("code", 'Markdown(f"**Conclusion.** What was found with the seed {seed}.")'),
    ]
    _give_ids(cells)
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cells(content: Mapping[str, Any], chosen: Sequence[Candidate]) -> Iterator[dict[str, Any]]:
    """Yield the cells as they are to be committed, the chosen names in the parameters cell."""
    lines = "\n".join(candidate.line for candidate in chosen)
    is_due = not has_parameters(content)
    for number, cell in enumerate(content["cells"], 1):
        if cell["cell_type"] != "code":
            yield _fresh(cell, cell["source"])
            continue
        if is_due:
            yield _cell("code", lines or _NO_PARAMETERS, tags=[PARAMETERS])
            is_due = False
        source = _without(cell["source"], [one for one in chosen if one.cell == number])
        source = without_questions(source)
        if PARAMETERS in tags_of(cell) and lines:
            source = f"{source.rstrip()}\n{lines}".lstrip()
        if source.strip() or not cell["source"].strip() or PARAMETERS in tags_of(cell):
            yield _fresh(cell, source if source == cell["source"] else source.strip("\n"))
    if is_due:
        yield _cell("code", lines or _NO_PARAMETERS, tags=[PARAMETERS])


def _without(source: str, taken: Sequence[Candidate]) -> str:
    lines = source.splitlines(keepends=True)
    gone = {line for one in taken for line in range(one.first, one.last + 1)}
    return "".join(line for number, line in enumerate(lines, 1) if number not in gone)


def _fresh(cell: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return a cell without what running it has left."""
    metadata = {key: value for key, value in cell["metadata"].items() if key not in _OF_RUNS}
    if not metadata.get("tags"):
        metadata.pop("tags", None)
    kept = {key: cell[key] for key in ("cell_type", "id", "attachments") if cell.get(key)}
    is_code = cell["cell_type"] == "code"
    own: dict[str, Any] = {"outputs": [], "execution_count": None} if is_code else {}
    return {**kept, "metadata": metadata, "source": source, **own}


def _cell(kind: str, source: str, tags: Sequence[str] = ()) -> dict[str, Any]:
    metadata = {"tags": list(tags)} if tags else {}
    return _fresh({"cell_type": kind, "metadata": metadata}, source)


def _give_ids(cells: Sequence[dict[str, Any]]) -> None:
    """Give cells the ids that format 4.5 has; those that are there stay."""
    taken = {cell.get("id") for cell in cells}
    names = (name for number in range(1, 10**6) if (name := f"cell-{number}") not in taken)
    seen: set[str] = set()
    for cell in cells:
        if not cell.get("id") or cell["id"] in seen:
            cell["id"] = next(names)
        seen.add(cell["id"])


def written(content: Mapping[str, Any]) -> bytes:
    """Return a notebook's file, as Jupyter writes it."""
    import nbformat

    notebook = nbformat.from_dict(content)
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)
    return f"{text.rstrip()}\n".encode()


def as_lines(content: bytes) -> list[str]:
    """Return a notebook as lines of prose and code, for a person to compare."""
    shown = []
    for cell in notebook_of(content)["cells"]:
        tags = f" {', '.join(tags_of(cell))}" if tags_of(cell) else ""
        kind = "" if cell["cell_type"] == "code" else f" [{cell['cell_type']}]"
        outputs = " (with outputs)" if cell.get("outputs") else ""
        shown += [f"# %%{kind}{tags}{outputs}", *cell["source"].splitlines(), ""]
    return shown
